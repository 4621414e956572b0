//! The table that a load continues, as it is stored.

use deltalakedb_log::action::Metadata;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Location, Result, SetHash, TableId, TableName, TableOwner, TxnLogError, Version};

use crate::bounds::BoundsSlots;
use crate::codec::{self, METADATA_COLUMNS, qualified};
use crate::database::DatabaseTransaction;
use crate::table_lookup::owner;

/// A table that is there already, half loaded, or live and about to get more history; or a new one, which has no version yet.
pub(super) struct StoredTable {
    /// Its id: an unfinished load keeps the one it has.
    pub(super) id: TableId,
    pub(super) name: TableName,
    pub(super) owner: Option<TableOwner>,
    pub(super) is_loading: bool,
    pub(super) head: Option<Version>,
    /// The time of the head, in milliseconds since 1970.
    pub(super) newest_ms: Option<i64>,
    pub(super) set_hash: SetHash,
    pub(super) metadata: Option<Metadata>,
    pub(super) slots: BoundsSlots,
}

impl StoredTable {
    pub(super) async fn find(tx: &mut dyn DatabaseTransaction, table: TableId, new: &NewTable) -> Result<Option<Self>> {
        let sql = format!(
            "SELECT t.location, t.table_id, t.namespace, t.name, t.owner, t.state, t.current_version, t.current_ts, \
             v.set_hash, {}, m.version, {} FROM dl_tables t \
             LEFT JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.current_version \
             LEFT JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
             WHERE t.location_key = ? AND (t.state = 'loading' OR t.table_id = ?)",
            BoundsSlots::subquery("t"),
            qualified("m", &METADATA_COLUMNS)
        );
        let params = vec![new.location.key().as_str().into(), table.0.into()];
        let Some(mut row) = tx.query(&sql, params).await?.pop() else { return Ok(None) };
        if !Location::stored(&row.text()?)?.is_same_location(&new.location) {
            return Ok(None);
        }
        let (id, name) = (TableId(row.uuid()?), TableName { namespace: row.text()?, name: row.text()? });
        let owner = owner(&mut row)?;
        let is_loading = row.text()? == "loading";
        let (head, newest_ms, hash) = (row.opt_version()?, row.opt_int()?, row.opt_blob()?);
        let set_hash = match hash {
            Some(hash) => SetHash::from_bytes(&hash)
                .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of {} is not 32 bytes", new.name)))?,
            None => SetHash::default(),
        };
        let slots = BoundsSlots::read(row.opt_text()?.as_deref())?;
        let metadata = row.opt_version()?.map(|_| codec::read_metadata(&mut row)).transpose()?;
        Ok(Some(Self { id, name, owner, is_loading, head, newest_ms, set_hash, metadata, slots }))
    }

    /// A table that a load begins.
    pub(super) fn nothing_yet(id: TableId, new: &NewTable) -> Self {
        Self {
            id,
            name: new.name.clone(),
            owner: new.owner.clone(),
            is_loading: true,
            head: None,
            newest_ms: None,
            set_hash: SetHash::default(),
            metadata: None,
            slots: BoundsSlots::default(),
        }
    }
}
