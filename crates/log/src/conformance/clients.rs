//! Many clients that commit to one table at once.

use tokio::task::JoinHandle;

use super::*;

/// Clients that append to one table until an append is rejected.
pub(super) struct Clients {
    table: TestTable,
    /// Each ends with the number of its commits and the error that rejected the next one.
    clients: Vec<JoinHandle<(u64, TxnLogError)>>,
}

impl Clients {
    const COUNT: u64 = 4;

    pub(super) fn start(table: &TestTable) -> Self {
        let client = |w| {
            let t = table.clone();
            tokio::spawn(async move {
                for n in 0_u64.. {
                    let request = t.request(Base::RebaseFrom(0), vec![Action::add(file(&format!("w{w}n{n}"), 0, 9))]);
                    match t.try_commit(request).await {
                        Ok(outcome) => _ = outcome.committed().unwrap(),
                        Err(e) => return (n, e),
                    }
                    // An in-memory catalog never waits, so yield to let the other clients run.
                    tokio::task::yield_now().await;
                }
                unreachable!()
            })
        };
        Self { table: table.clone(), clients: (0..Self::COUNT).map(client).collect() }
    }

    /// Waits until the clients have made some commits.
    pub(super) async fn have_begun(&self) {
        while self.table.head().await < 2 * Self::COUNT {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until each client was rejected with an error of this kind and text; returns how many commits they made.
    pub(super) async fn are_refused(self, kind: ErrorKind, says: &str) -> u64 {
        let mut commits = 0;
        for client in self.clients {
            let (made, error) = client.await.unwrap();
            refused(Err::<(), _>(error), kind, &[says]);
            commits += made;
        }
        commits
    }
}

pub(super) async fn many_writers_leave_no_gap(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    const WRITERS: usize = 64;
    const EACH: usize = 2;
    let writers = (0..WRITERS).map(|w| {
        let t = t.clone();
        tokio::spawn(async move {
            let mut got = Vec::new();
            for n in 0..EACH {
                let request = t.request(Base::RebaseFrom(0), vec![Action::add(file(&format!("w{w}n{n}"), 0, 9))]);
                got.push(t.try_commit(request).await.unwrap().committed().unwrap()[0]);
            }
            got
        })
    });
    let mut all: Vec<Committed> =
        futures::future::join_all(writers).await.into_iter().flat_map(|r| r.unwrap()).collect();
    all.sort_by_key(|c| c.version);
    let versions: Vec<_> = all.iter().map(|c| c.version).collect();
    let newest = (WRITERS * EACH) as Version;
    assert_eq!(versions, (1..=newest).collect::<Vec<_>>(), "each version once, none missing");
    assert!(all.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
    assert_eq!(t.paths(newest).await.len(), WRITERS * EACH);
    // Exactly one of many removes of a file is committed.
    let removes = (0..WRITERS).map(|n| {
        let t = t.clone();
        let request =
            t.request(Base::RebaseFrom(newest), vec![remove(&file("w0n0", 0, 9)), txn(&format!("app{n}"), 1)]);
        tokio::spawn(async move { t.try_commit(request).await.unwrap() })
    });
    let outcomes = futures::future::join_all(removes).await;
    let won = outcomes.iter().filter(|o| matches!(o, Ok(Outcome::Committed(_)))).count();
    let lost = outcomes.iter().filter(|o| matches!(o, Ok(Outcome::Conflict(_)))).count();
    assert_eq!((won, lost), (1, WRITERS - 1), "{outcomes:?}");
}
