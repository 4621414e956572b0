//! Where settings come from: options, variables, profiles, and the configuration in its usual place.

use crate::bad_input::check;
use crate::test_folder::{Ran, TestFolder};

const CONFIG: &str = r#"
catalog = "deltasql://sqlite/usual.db"
output.rows = 3
[profiles.other]
catalog = "deltasql://sqlite/other.db"
"#;

/// Runs `dl` without its catalog in the environment, with these variables.
fn run(place: &TestFolder, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = place.command(args);
    command.env_remove("DELTALAKEDB_CATALOG").envs(variables.iter().copied());
    Ran::of(command.output().unwrap())
}

fn with_config(text: &str) -> TestFolder {
    let place = TestFolder::new();
    std::fs::create_dir_all(place.path("config/deltalakedb")).unwrap();
    place.write("config/deltalakedb/config.toml", text);
    place
}

#[test]
fn an_option_wins_over_a_variable_a_profile_and_the_file() {
    let place = with_config(CONFIG);
    let catalog = |variables: &[(&str, &str)], args: &[&str]| {
        let document: serde_json::Value = run(&place, variables, &[args, &["init", "--json"]].concat()).json();
        let described = document["catalog"].as_str().unwrap().to_string();
        described.rsplit('/').next().unwrap().to_string()
    };
    let profile = ("DELTALAKEDB_PROFILE", "other");
    let variable = ("DELTALAKEDB_CATALOG", "deltasql://sqlite/variable.db");
    assert_eq!(catalog(&[], &[]), "usual.db");
    assert_eq!(catalog(&[], &["--profile", "other"]), "other.db");
    assert_eq!(catalog(&[profile], &[]), "other.db");
    assert_eq!(catalog(&[profile, variable], &[]), "variable.db");
    let option = ["--catalog", "deltasql://sqlite/option.db"];
    assert_eq!(catalog(&[profile, variable], &option), "option.db");
}

#[test]
fn a_given_configuration_replaces_the_usual_one() {
    let place = with_config("this is not TOML");
    check(run(&place, &[], &["tables"]), 1, &["config.toml is not TOML"]);
    let script = run(&place, &[], &["completions", "bash"]).good();
    assert!(script.contains("copy-catalog"), "a shell that starts with it has completions: {script}");
    place.write("given.toml", CONFIG);
    for (variables, args) in
        [(&[][..], &["--config", "given.toml", "init"][..]), (&[("DELTALAKEDB_CONFIG", "given.toml")], &["init"])]
    {
        let said = run(&place, variables, args).good();
        assert!(said.contains("usual.db"), "{said}");
    }
    check(run(&place, &[], &["--config", "none.toml", "tables"]), 1, &["none.toml cannot be read"]);
}

#[test]
fn an_empty_variable_is_not_set() {
    let place = with_config(CONFIG);
    let names = ["DELTALAKEDB_CATALOG", "DELTALAKEDB_CONFIG", "DELTALAKEDB_PROFILE"];
    let said = run(&place, &names.map(|name| (name, "")), &["init"]).good();
    assert!(said.contains("usual.db"), "{said}");
}

#[test]
fn unknown_profiles_and_keys_are_refused() {
    let place = with_config(CONFIG);
    check(run(&place, &[], &["--profile", "nosuch", "tables"]), 1, &["has no profile \"nosuch\"", "[profiles.nosuch]"]);
    let place = with_config("[profiles.other]\ncatalogue = \"x\"\n");
    check(run(&place, &[], &["tables"]), 1, &["unknown setting \"catalogue\" of the profile \"other\"", "catalog?"]);
    let place = TestFolder::new();
    check(run(&place, &[], &["--profile", "p", "tables"]), 1, &["no configuration for the profile \"p\"", "--config"]);
}
