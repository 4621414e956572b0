//! Files of deletion vectors: how many vectors one has, and what of it is read.

use super::*;
use crate::delta_rs::{LogView, MaskedFile, load_masks, write_vectors};

/// A table without anything.
fn nothing(fixture: &Fixture) -> LogView {
    let table = fixture.new_table("t").location;
    std::fs::create_dir_all(table.local_path().unwrap()).unwrap();
    LogView::nothing_yet(&table, &WriteOptions::default().stores)
}

/// A data file, which need not exist, with these rows to be hidden.
fn masked(name: &str, hidden: impl IntoIterator<Item = u64>) -> MaskedFile {
    let add = serde_json::json!({
        "path": name, "partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": true,
    });
    MaskedFile { add: Add::from_json(&add.to_string()).unwrap(), hidden: hidden.into_iter().collect() }
}

#[tokio::test]
async fn vectors_go_to_one_file_until_it_is_large() {
    let fixture = Fixture::new();
    let state = nothing(&fixture);
    let files = vec![masked("a", (0..17_000_000).step_by(16)), masked("b", [1, 2]), masked("c", [3])];
    let written = write_vectors(&state, files.clone()).await.unwrap();
    assert_eq!(written.files.paths().len(), 2);
    let file_of = |add: &Add| add.deletion_vector.as_ref().unwrap().path_or_inline_dv.clone();
    let of: Vec<_> = written.adds.iter().map(file_of).collect();
    assert!(of[0] != of[1] && of[1] == of[2], "{of:?}");
    let read = load_masks(written.adds, &state.location, &state.options.stores).await.unwrap();
    for (read, file) in read.iter().zip(&files) {
        assert!(read.add.path == file.add.path && read.hidden == file.hidden, "{}", read.add.path);
    }
    assert_eq!(read.len(), 3);
}

#[tokio::test]
async fn of_a_file_of_vectors_only_the_part_with_the_wanted_ones_is_read() {
    let fixture = Fixture::new();
    let state = nothing(&fixture);
    let files = vec![masked("a", [0]), masked("b", [1, 5]), masked("c", [2])];
    let written = write_vectors(&state, files).await.unwrap();
    let path = state.location.local_path().unwrap().join(written.files.paths()[0].filename().unwrap());
    let whole = std::fs::read(&path).unwrap();
    let start =
        |n: usize| -> usize { written.adds[n].deletion_vector.as_ref().unwrap().offset.unwrap().try_into().unwrap() };
    let load = async |n: usize| load_masks(vec![written.adds[n].clone()], &state.location, &state.options.stores).await;
    // The third vector is missing or cut off.
    for end in [start(2), start(2) + 3] {
        let mut damaged = whole[..end].to_vec();
        damaged[..start(1)].fill(0xff);
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(load(1).await.unwrap()[0].hidden.iter().collect::<Vec<_>>(), [1, 5]);
        for (n, says) in [(0, "Invalid version 255"), (2, "its file ends before it does")] {
            let e = load(n).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
            assert!(e.to_string().contains(says), "{e}");
        }
    }
}
