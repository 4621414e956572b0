//! A folder with a catalog, in which `dl` runs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::databases::Database;

/// A folder that is removed after the test.
pub(crate) struct TestFolder {
    dir: tempfile::TempDir,
    catalog: String,
}

/// The result of a run of `dl`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The output of a run that must have succeeded.
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> serde_json::Value {
        let out = self.good();
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }
}

impl TestFolder {
    /// With the catalog `meta.db`, created by the first command that needs it.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), catalog: "deltasql://sqlite/meta.db".into() }
    }

    /// With an empty catalog in that database.
    pub(crate) fn on(database: Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { catalog: database.uri(dir.path(), "meta"), dir };
        place.dl(&["init"]).good();
        place
    }

    /// The URI of its catalog.
    pub(crate) fn catalog(&self) -> &str {
        &self.catalog
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// `dl` in this folder, with its catalog.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.with_program(Path::new(env!("CARGO_BIN_EXE_dl")), args)
    }

    pub(crate) fn with_program(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).env("DELTALAKEDB_CATALOG", &self.catalog);
        command.env_remove("DELTALAKEDB_CONFIG").env_remove("DELTALAKEDB_PROFILE").env_remove("RUST_LOG");
        // The configuration of the user who runs the tests has no influence on them.
        command.env("XDG_CONFIG_HOME", self.path("config")).env("RUST_BACKTRACE", "0");
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        command
    }

    pub(crate) fn dl(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// The table `events` of the examples, copied to `events` and imported under that name.
    pub(crate) fn with_events() -> Self {
        let place = Self::new();
        place.copy_events("events");
        place.dl(&["import", "events", "--as", "events"]).good();
        place
    }

    pub(crate) fn copy_events(&self, to: &str) {
        copy(
            &Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../examples/data/events"),
            &self.path(to),
        );
    }

    /// Every file with its length and a hash of its content, except the catalog's and a `dl` that was put here.
    pub(crate) fn content(&self) -> Vec<(PathBuf, usize, u64)> {
        let mut files = Vec::new();
        collect(self.dir.path(), &mut files);
        files.sort();
        files
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, usize, u64)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            collect(&path, files);
        } else if name != "dl" && !name.ends_with(".so") && !name.starts_with("meta.db") {
            let bytes = std::fs::read(&path).unwrap();
            let mut hash = DefaultHasher::new();
            bytes.hash(&mut hash);
            files.push((path, bytes.len(), hash.finish()));
        }
    }
}
