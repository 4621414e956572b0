//! A flush for which there is no space: it says so, all rows are there, and it is done as soon as there is space.

use super::crashes::{EVERY_NOTE, ROWS, STATEMENTS, no_unnamed_files};
use super::full_stores::NoSpaceFor;
use super::resolution::check_resolution;
use super::*;

/// Where there is no space.
#[derive(Clone, Copy, Debug)]
enum Full {
    /// On the disk of the files with this extension; whether they are there nevertheless.
    For(&'static str, bool),
    /// On the disk of the catalog.
    Catalog,
    /// Perhaps on that of the catalog, which does not answer.
    CatalogOrNot,
}

const FULL: [Full; 6] = [
    Full::For(".parquet", false),
    Full::For(".parquet", true),
    Full::For(".bin", false),
    Full::For(".bin", true),
    Full::Catalog,
    Full::CatalogOrNot,
];

impl Full {
    fn begin(self, fixture: &Fixture) {
        match self {
            Self::For(extension, is_written) => {
                *fixture.stores.full.lock() = Some(NoSpaceFor { extension, is_written });
            }
            Self::Catalog => *fixture.commits.lock() = Some(CatalogFailure::DiskIsFull),
            Self::CatalogOrNot => *fixture.commits.lock() = Some(CatalogFailure::AnswersAreLost),
        }
    }

    fn end(fixture: &Fixture) {
        *fixture.stores.full.lock() = None;
        *fixture.commits.lock() = None;
    }

    /// A flush fails in words.
    async fn fails(self, session: &mut SqlSession) {
        let says = match self {
            Self::For(..) => "No space left on device",
            Self::Catalog => "the disk of the catalog is full: free some space",
            Self::CatalogOrNot => "the catalog does not answer",
        };
        let e = error(session, "FLUSH ALL").await;
        assert!(e.to_string().contains(says), "{self:?}: {e}");
        assert_eq!(e.kind(), ErrorKind::Unavailable, "{self:?}: {e}");
    }
}

#[tokio::test]
async fn a_flush_without_space_loses_nothing_and_is_done_when_there_is_space() {
    for (full, is_opened_again) in FULL.into_iter().flat_map(|full| [(full, false), (full, true)]) {
        eprintln!("{full:?}, opened again: {is_opened_again}");
        let mut fixture = Fixture::new().await;
        let mut session = fixture.session();
        for sql in STATEMENTS {
            ask(&mut session, sql).await.unwrap();
        }
        let before = "SELECT id, body, stars FROM app.notes VERSION AS OF 1";
        let flushed = ["1|a|1", "2|b|2", "3|c|3"];
        check(&mut fixture.delta_session(), before, &flushed).await;
        full.begin(&fixture);
        full.fails(&mut session).await;
        // Reads continue, and so do changes, which are on another disk.
        check(&mut session, EVERY_NOTE, &ROWS).await;
        check_resolution(&fixture, &mut session, "app.notes").await;
        check(&mut session, "UPDATE app.notes SET stars = 9 WHERE id = 4", &["UPDATE 1"]).await;
        check(&mut session, "DELETE FROM app.notes WHERE id = 2", &["DELETE 1"]).await;
        let want = ["1|a|1", "4|d|9"];
        check(&mut session, EVERY_NOTE, &want).await;
        check(&mut fixture.delta_session(), before, &flushed).await;
        Full::end(&fixture);
        if is_opened_again {
            drop(session);
            fixture.reopen().await.unwrap();
            session = fixture.session();
            check(&mut session, EVERY_NOTE, &want).await;
            no_unnamed_files(&fixture, "app.notes").await;
        }
        check(&mut session, "FLUSH TABLE app.notes", &["FLUSH TABLE"]).await;
        check(&mut session, EVERY_NOTE, &want).await;
        check_resolution(&fixture, &mut session, "app.notes").await;
        let all = "SELECT id, body, stars FROM app.notes";
        check(&mut fixture.delta_session(), all, &want).await;
        check(&mut fixture.delta_session(), before, &flushed).await;
        no_unnamed_files(&fixture, "app.notes").await;
    }
}

#[tokio::test]
async fn a_flush_that_finds_no_space_again_and_again_leaves_no_files() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    for sql in STATEMENTS {
        ask(&mut session, sql).await.unwrap();
    }
    for extension in [".parquet", ".bin", ".bin", ".parquet"] {
        let full = Full::For(extension, true);
        full.begin(&fixture);
        for _ in 0..2 {
            full.fails(&mut session).await;
            check(&mut session, EVERY_NOTE, &ROWS).await;
            no_unnamed_files(&fixture, "app.notes").await;
        }
        Full::end(&fixture);
    }
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    check(&mut fixture.delta_session(), "SELECT id, body, stars FROM app.notes", &ROWS).await;
    check_resolution(&fixture, &mut session, "app.notes").await;
    no_unnamed_files(&fixture, "app.notes").await;
}
