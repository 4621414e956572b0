//! Folders and buckets that have moved, and files that are lost.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{WRITE, begin, newest_version, newest_version_by, section};
use crate::bad_input::check;
use crate::databases::Database;
use crate::metrics::Watch;
use crate::programs::{moto, variables_of_moto};
use crate::test_folder::{Ran, TestFolder, copy};

#[test]
fn a_table_whose_folder_has_moved_continues_behind_a_link() {
    let place = begin(Database::Sqlite);
    std::fs::create_dir(place.path("disk")).unwrap();
    std::fs::rename(place.path("t"), place.path("disk/t")).unwrap();
    check(place.dl(WRITE), 1, &["t/_delta_log is empty", "check that the disk is mounted"]);
    assert!(!place.path("t").exists(), "nothing is written to the old place");

    std::os::unix::fs::symlink(place.path("disk/t"), place.path("t")).unwrap();
    place.dl(WRITE).good();
    place.dl(&["optimize", "t"]).good();
    place.dl(&["vacuum", "t"]).good();
    place.dl(&["mirror", "run"]).good();
    assert_eq!(newest_version(&place, "t"), 3);
    place.dl(&["verify", "--every-version", "--data"]).good();
    check(place.dl(&["import", "disk/t", "--as", "u"]), 1, &["is the location of the table default.t"]);
}

#[test]
fn a_catalog_is_rebuilt_for_a_bucket_that_has_moved() {
    let Some(server) = moto() else { return };
    for bucket in ["old", "new"] {
        let made = server.request("PUT", &format!("/{bucket}"));
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    }
    let place = TestFolder::on(Database::Sqlite);
    place.write("rows.csv", "id\n1\n");
    let dl = |args: &[&str]| {
        let mut command = place.command(args);
        Ran::of(command.envs(variables_of_moto(&server)).output().unwrap())
    };
    dl(&["create", "t", "--location", "s3://old/lake/t", "--schema", "id long"]).good();
    dl(&["create", "sales.orders", "--location", "s3://old/lake/orders", "--schema", "id long"]).good();
    dl(&["--set", "mirror.mode=background", "write", "t", "--input", "rows.csv"]).good();
    let published = dl(&["mirror", "run"]).good();
    assert!(published.contains("1 published, up to version 1"), "{published}");
    let ids = |dl: &dyn Fn(&[&str]) -> Ran| {
        ["t", "sales.orders"].map(|name| dl(&["show", name, "--format", "json"]).json()["id"].clone())
    };
    let before = ids(&dl);
    assert!(before[0].is_string(), "{before:?}");

    let listed = server.request("GET", "/old?list-type=2");
    let keys: Vec<_> = listed.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    assert!(keys.len() > 4, "{listed}");
    for key in keys {
        let header = format!("x-amz-copy-source: /old/{key}\r\n");
        let copied = server.request_with("PUT", &format!("/new/{key}"), &header);
        assert!(copied.starts_with("HTTP/1.1 200"), "{copied}");
    }
    let command = "dl rebuild s3://new --from-mirror";
    assert!(section("## A bucket has moved, or is lost").replace('\n', " ").contains(command), "{command}");
    std::fs::rename(place.path("meta.db"), place.path("lost.db")).unwrap();
    let words: Vec<_> = command.split(' ').skip(1).collect();
    dl(&words).good();
    assert_eq!(ids(&dl), before);
    let shown = dl(&["tables"]).good();
    assert!(shown.contains("s3://new/lake/t") && !shown.contains("s3://old"), "{shown}");
    dl(&["verify", "--every-version", "--data"]).good();
    dl(WRITE).good();
    assert_eq!(newest_version_by(dl, "t"), 2);
}

/// The replica has neither the newest commit nor its data file.
#[test]
fn a_bucket_that_is_restored_from_an_older_replica_is_repaired() {
    let place = begin(Database::Sqlite);
    copy(&place.path("t"), &place.path("replica"));
    place.dl(WRITE).good();
    std::fs::remove_dir_all(place.path("t")).unwrap();
    std::fs::rename(place.path("replica"), place.path("t")).unwrap();
    let repaired = place.dl(&["mirror", "repair", "t"]).good();
    assert!(repaired.contains("version 2 of default.t was missing"), "{repaired}");
    let found = place.dl(&["verify", "--data"]);
    assert!(found.code == Some(3) && found.out.contains("restore the file from a backup"), "{found:?}");

    place.dl(&["restore", "t", "--version", "1"]).good();
    place.dl(&["verify", "--data"]).good();
    place.dl(WRITE).good();
}

#[test]
fn rows_of_a_lost_file_are_written_again_or_left_to_an_earlier_version() {
    let place = TestFolder::on(Database::Sqlite);
    place.write("a.csv", "id,day\n1,a\n");
    place.write("b.csv", "id,day\n2,b\n");
    let schema = ["--schema", "id long, day string", "--partition-by", "day"];
    place.dl(&[&["create", "t", "--location", "t"][..], &schema].concat()).good();
    place.dl(&["write", "t", "--input", "a.csv"]).good();
    place.dl(&["write", "t", "--input", "b.csv"]).good();
    let lose = || {
        let files = place.dl(&["files", "t", "--where", "day = 'b'", "--format", "csv"]).good();
        let file = files.lines().nth(1).unwrap().split(',').next().unwrap().to_string();
        std::fs::remove_file(place.path("t").join(&file)).unwrap();
        let found = place.dl(&["verify", "--data"]);
        assert!(found.code == Some(3) && found.out.contains(&file), "{found:?}");
    };
    lose();
    place.dl(&["delete", "t", "--where", "day = 'b'"]).good();
    place.dl(&["verify", "--data"]).good();
    place.dl(&["write", "t", "--input", "b.csv"]).good();
    assert_eq!(newest_version(&place, "t"), 4);

    lose();
    let needs_it = place.dl(&["restore", "t", "--version", "2"]);
    check(needs_it, 1, &["cannot be restored", "no longer exists"]);
    assert_eq!(newest_version(&place, "t"), 4);
    place.dl(&["restore", "t", "--version", "1"]).good();
    place.dl(&["verify", "--data"]).good();
    assert_eq!(place.dl(&["read", "t", "--format", "csv"]).good(), "id,day\n1,a\n");
}

/// Everything that `docs/operating.md` gives to systemd, with other folders and another port.
#[test]
fn the_service_of_the_page_publishes_until_it_is_ended() {
    let place = begin(Database::Sqlite);
    std::fs::create_dir(place.path("etc")).unwrap();
    let folder = |below: &str| place.path(below).to_string_lossy().into_owned();
    let page = section("### The watch as a service");
    let page = page.replace("/var/lib/lake", folder("").trim_end_matches('/')).replace("/etc/lake", &folder("etc"));
    let setting = |name: &str| {
        let values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.map(str::to_string).collect::<Vec<_>>()
    };
    place.write("etc/dl.toml", "[mirror]\nlag_alert = \"1s\"\n");
    place.write("later.csv", "id\n2\n");
    let start = setting("ExecStart").remove(0).replace("127.0.0.1:9184", "127.0.0.1:0");
    let words: Vec<_> = start.split(' ').collect();
    assert_eq!(Path::new(words[0]).file_name().unwrap(), "dl");
    let mut command = place.command(&words[1..]);
    command.current_dir("/");
    for variable in setting("Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        assert!(value.contains(&folder("")), "{variable}");
        command.env(name, value);
    }
    let mut service = Watch::start(command);
    // It is printed when the catalog is open.
    service.line("metrics at ");
    place.dl(&["--set", "mirror.mode=background", "write", "t", "--input", "later.csv"]).good();
    let (began, published) = (Instant::now(), place.path(&format!("t/_delta_log/{:020}.json", 2)));
    while !published.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not publish");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(service.terminate().code(), Some(0));
}
