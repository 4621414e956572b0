//! The modules of a crate form layers: no two import each other, and none is too large.

use std::collections::BTreeSet;

use deltalakedb_tests::repository;

use crate::module_graph::{Modules, circles};

/// The crates that are checked.
const CRATES: &[&str] = &[
    "crates/log/src/lib.rs",
    "crates/catalog/src/lib.rs",
    "crates/mirror/src/lib.rs",
    "crates/rows/src/lib.rs",
    "crates/table/src/lib.rs",
    "crates/engine/src/lib.rs",
    "crates/cli/src/main.rs",
    "python/src/lib.rs",
];

/// The maximum number of code lines in a file, without tests, comments and blank lines.
const MOST_LINES: usize = 500;

#[test]
fn modules_have_no_import_cycles() {
    let (mut wrong, mut edges) = (Vec::new(), 0);
    for root in CRATES {
        let modules = Modules::read(&repository().join(root));
        let graph = modules.edges();
        edges += graph.values().map(BTreeSet::len).sum::<usize>();
        for circle in circles(&graph) {
            let names: Vec<_> = circle.iter().map(|name| name.join("::")).collect();
            wrong.push(format!("{root}: {} import each other: move what they share below them", names.join(", ")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(edges > 150, "only {edges} imports were found");
}

#[test]
fn files_are_short() {
    let mut wrong = Vec::new();
    for root in CRATES {
        for module in Modules::read(&repository().join(root)).0.values().filter(|module| module.lines > MOST_LINES) {
            let file = module.file.strip_prefix(repository()).unwrap().display();
            wrong.push(format!("{file} has {} lines of code: split it", module.lines));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Every form of import and path is found.
#[test]
fn an_import_cycle_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
    write("lib.rs", "mod a; mod b; mod c; pub use a::A;");
    write("a.rs", "pub struct A; fn f() { println!(\"{:?}\", crate::b::g()); }");
    write("c.rs", "use super::*; fn h(_: A) {}");
    let circles_with = |b: &str| {
        write("b.rs", b);
        let modules = Modules::read(&dir.path().join("lib.rs"));
        circles(&modules.edges())
    };
    assert_eq!(circles_with("pub fn g() {}"), Vec::<Vec<Vec<String>>>::new());
    assert_eq!(circles_with("pub fn g() {} #[cfg(test)] mod tests { use crate::A; }"), Vec::<Vec<Vec<String>>>::new());
    let both = vec![vec![vec!["a".to_string()], vec!["b".to_string()]]];
    assert_eq!(circles_with("use crate::A; pub fn g() {}"), both);
    assert_eq!(circles_with("pub fn g() -> crate::a::A { loop {} }"), both);
}
