//! Dependencies between the crates point to lower layers only.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use deltalakedb_tests::repository;
use serde_json::Value;

/// The layers, from the top; crates of one layer do not depend on each other.
const LAYERS: &[&[&str]] = &[
    &["deltalakedb-cli", "deltalakedb-python"],
    &["deltalakedb-engine"],
    &["deltalakedb-table"],
    &["deltalakedb-catalog", "deltalakedb-mirror", "deltalakedb-rows"],
    &["deltalakedb-log"],
];

/// They may depend on every crate, and no crate depends on them.
const OUTSIDE: &[&str] = &["deltalakedb-tests", "deltalakedb-benches"];

/// The dependencies that violate the rules, as pairs of a crate and its dependencies.
fn wrong(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|crates| crates.contains(&name));
    let mut wrong = Vec::new();
    for (from, all) in arrows.iter().filter(|(from, _)| !OUTSIDE.contains(&from.as_str())) {
        let Some(here) = layer(from) else {
            wrong.push(format!("{from} has no floor: give it one here"));
            continue;
        };
        // A crate may depend on itself for its tests.
        for to in all.iter().filter(|to| *to != from) {
            if layer(to).is_none_or(|there| there <= here) {
                wrong.push(format!("{from} depends on {to}, which is not below it"));
            }
        }
    }
    wrong
}

#[test]
fn crates_depend_only_on_lower_layers() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let name = |v: &Value| v["name"].as_str().unwrap().to_string();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages.iter().map(name).collect();
    let arrows = packages.iter().map(|package| {
        let all = package["dependencies"].as_array().unwrap();
        (name(package), all.iter().map(name).filter(|to| ours.contains(to)).collect())
    });
    let arrows: BTreeMap<String, BTreeSet<String>> = arrows.collect();
    assert!(arrows["deltalakedb-catalog"].contains("deltalakedb-log"), "the arrows are found at all: {arrows:?}");
    assert_eq!(wrong(&arrows), Vec::<String>::new());
}

#[test]
fn a_dependency_on_a_higher_layer_is_found() {
    let check = |from: &str, to: &str, good: bool| {
        let arrow = [(from.to_string(), [to.to_string()].into())].into();
        assert_eq!(wrong(&arrow).is_empty(), good, "{from} -> {to}");
    };
    check("deltalakedb-cli", "deltalakedb-log", true);
    check("deltalakedb-table", "deltalakedb-mirror", true);
    check("deltalakedb-log", "deltalakedb-log", true);
    check("deltalakedb-tests", "deltalakedb-cli", true);
    check("deltalakedb-catalog", "deltalakedb-mirror", false);
    check("deltalakedb-mirror", "deltalakedb-catalog", false);
    check("deltalakedb-log", "deltalakedb-catalog", false);
    check("deltalakedb-mirror", "deltalakedb-tests", false);
    check("deltalakedb-new", "deltalakedb-log", false);
}
