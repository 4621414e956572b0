//! What the engine is about to do outside the row store, stored before it does it.

use bytes::Bytes;
use deltalakedb_log::action::{Action, Commit, Version};
use deltalakedb_log::{ErrorKind, Location, Result, TableId, TxnLogError};
use deltalakedb_rows::row_store::Intent;
use deltalakedb_rows::seq::SeqId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of the stored form.
const FORMAT: u32 = 1;

/// What is not finished.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EngineIntent {
    Flush(FlushIntent),
    Create(CreateIntent),
}

/// A table that is being created.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CreateIntent {
    pub(crate) id: Uuid,
    /// The place of the new cold table. The catalog assigns its id.
    pub(crate) location: Location,
}

/// A flush of a table that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlushIntent {
    /// The id of the flush, and of its commit.
    pub(crate) id: Uuid,
    pub(crate) table: TableId,
    /// What it commits; None while it writes files, which no commit names yet.
    pub(crate) commit: Option<FlushCommit>,
}

/// The commit of a flush. Once it is stored, the flush is finished by this process or the next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlushCommit {
    /// The version of the cold table that it follows.
    pub(crate) base: Version,
    pub(crate) cut: SeqId,
    pub(crate) actions: Vec<Action>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    /// Of a flush.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<Uuid>,
    /// Of a flush.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit: Option<StoredCommit>,
    /// Of a creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creates: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCommit {
    base: Version,
    cut: i64,
    /// A line each.
    actions: String,
}

impl EngineIntent {
    pub(crate) fn from_stored(intent: &Intent) -> Result<Self> {
        let id = intent.id;
        let origin = format!("the stored intent {id}");
        let damaged = |what: &str| TxnLogError::corrupt(format!("{origin} is damaged: {what}"));
        let stored: Stored =
            serde_json::from_slice(&intent.content).map_err(|e| damaged("it is not readable").with_source(e))?;
        if stored.format != FORMAT {
            let format = stored.format;
            return Err(TxnLogError::invalid(format!(
                "{origin} has the format {format}: use a newer version of this program"
            )));
        }
        let commit = stored.commit.map(|StoredCommit { base, cut, actions }| {
            let actions = Commit::parse(Bytes::from(actions), &origin)?.into_actions();
            Ok::<_, TxnLogError>(FlushCommit {
                base,
                cut: SeqId::try_from(cut).map_err(|e| damaged("its cut").with_source(e))?,
                actions,
            })
        });
        match (stored.table, commit.transpose()?, stored.creates) {
            (Some(table), commit, None) => Ok(Self::Flush(FlushIntent { id, table: TableId(table), commit })),
            (None, None, Some(location)) => {
                let location = Location::stored(&location).map_err(|e| damaged("its location").with_source(e))?;
                Ok(Self::Create(CreateIntent { id, location }))
            }
            _ => Err(damaged("it is neither a flush nor the creation of a table")),
        }
    }
}

impl CreateIntent {
    pub(crate) fn to_stored(&self) -> Result<Intent> {
        let creates = Some(self.location.url().to_string());
        stored(self.id, &Stored { format: FORMAT, table: None, commit: None, creates })
    }
}

impl FlushIntent {
    pub(crate) fn to_stored(&self) -> Result<Intent> {
        let commit = self.commit.as_ref().map(|FlushCommit { base, cut, actions }| StoredCommit {
            base: *base,
            cut: cut.as_i64(),
            actions: String::from_utf8_lossy(&Commit::render(actions)).into_owned(),
        });
        stored(self.id, &Stored { format: FORMAT, table: Some(self.table.0), commit, creates: None })
    }
}

fn stored(id: Uuid, content: &Stored) -> Result<Intent> {
    let content = serde_json::to_vec(content)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "an intent cannot be written as JSON").with_source(e))?;
    Ok(Intent { id, content })
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::Object;
    use deltalakedb_log::action::Txn;

    use super::*;

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let txn = Txn { app_id: "a".into(), version: 3, last_updated: None, extra: Object::default() };
        let commit = FlushCommit { base: 7, cut: SeqId::try_from(9).unwrap(), actions: vec![Action::Txn(txn)] };
        for commit in [None, Some(commit)] {
            let intent = FlushIntent { id: Uuid::from_u128(1), table: TableId(Uuid::from_u128(2)), commit };
            let stored = intent.to_stored().unwrap();
            assert_eq!(EngineIntent::from_stored(&stored).unwrap(), EngineIntent::Flush(intent));
        }
        let location = Location::of_folder(std::path::Path::new("/data/app/a b")).unwrap();
        let intent = CreateIntent { id: Uuid::from_u128(1), location };
        let stored = intent.to_stored().unwrap();
        assert_eq!(EngineIntent::from_stored(&stored).unwrap(), EngineIntent::Create(intent));
    }

    #[test]
    fn damaged_and_newer_intents_are_refused() {
        let read = |content: &str| {
            EngineIntent::from_stored(&Intent { id: Uuid::nil(), content: content.into() }).unwrap_err().to_string()
        };
        assert!(read("{").contains("is damaged"));
        let table = Uuid::nil();
        assert!(read(&format!(r#"{{"format":2,"table":"{table}"}}"#)).contains("newer version"));
        let bad_cut = format!(r#"{{"format":1,"table":"{table}","commit":{{"base":1,"cut":-1,"actions":""}}}}"#);
        assert!(read(&bad_cut).contains("is damaged"));
        assert!(read(r#"{"format":1}"#).contains("is damaged"));
        assert!(read(&format!(r#"{{"format":1,"table":"{table}","creates":"file:///a"}}"#)).contains("is damaged"));
    }
}
