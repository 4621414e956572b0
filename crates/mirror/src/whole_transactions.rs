//! Cuts published histories so that every transaction over several tables is complete or absent.
//!
//! The tables of a transaction are published one by one, so when a catalog is lost, `_delta_log` of one table may have
//! its part of a transaction that another one lacks. A part that was not published cannot be restored, and the other
//! parts alone would be a state that no reader of the catalog ever saw. So these tables are cut before their parts,
//! which removes later versions, too, and with them perhaps parts of other transactions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use deltalakedb_log::stamp::is_ahead;
use deltalakedb_log::{TableId, TableName, Version};
use uuid::Uuid;

use crate::published::PublishedPart;

/// The parts of a table in transactions over several tables.
#[derive(Clone, Debug)]
pub(crate) struct PublishedParts<'a> {
    /// Its id; `None` if no commit says it.
    pub(crate) id: Option<TableId>,
    pub(crate) name: TableName,
    pub(crate) base: Version,
    /// The time of its newest version, in milliseconds since 1970.
    pub(crate) newest_ms: i64,
    /// In the order of versions.
    pub(crate) parts: &'a [PublishedPart],
}

/// Why the history of a table ends before its newest published version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The first version that is left out.
    pub version: Version,
    /// The table whose part of the same transaction was not published, or is left out as well.
    pub because: TableName,
}

/// The cuts, and what they could not take into account.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// By the index of the table.
    pub(crate) cuts: BTreeMap<usize, Cut>,
    /// Tables that transactions changed, and that are not among the given ones.
    pub(crate) absent: BTreeSet<TableName>,
}

impl PublishedParts<'_> {
    /// Whether this table was changed by the transaction of a part, and has not published its own.
    fn lacks(&self, part: &PublishedPart, now_ms: i64) -> bool {
        let group = &part.group;
        if self.parts.iter().any(|own| own.group.id == group.id) {
            return false;
        }
        // All parts have one time, except those of tables ahead of the clock.
        let ends_before = self.newest_ms < part.ms;
        if group.tables.is_empty() {
            // A table that was published later under this name was not changed under it.
            group.participants.contains(&self.name) && (ends_before || is_ahead(self.newest_ms, now_ms))
        } else {
            // A part before the oldest version has expired.
            self.id.is_some_and(|id| group.tables.contains(&id)) && (self.base == 0 || ends_before)
        }
    }
}

/// The cuts of these tables, of which transactions of this catalog are complete or absent.
pub(crate) fn cuts(tables: &[PublishedParts<'_>], catalog: Uuid, now_ms: i64) -> Cuts {
    let catalog = catalog.to_string();
    let mut parts: HashMap<&str, Vec<(usize, &PublishedPart)>> = HashMap::new();
    for (index, table) in tables.iter().enumerate() {
        for part in table.parts.iter().filter(|part| part.group.catalog == catalog) {
            parts.entry(&part.group.id).or_default().push((index, part));
        }
    }
    let mut found = Cuts::default();
    let mut incomplete = Vec::new();
    for (id, there) in &parts {
        let [(_, first), ..] = there.as_slice() else { continue };
        let lacking = tables.iter().find(|table| table.lacks(first, now_ms));
        incomplete.extend(lacking.map(|table| (*id, table.name.clone())));
        found.absent.extend(absent(first, there, tables));
    }
    incomplete.sort();
    let mut known: HashSet<&str> = incomplete.iter().map(|(id, _)| *id).collect();
    while let Some((id, because)) = incomplete.pop() {
        for (index, part) in parts.get(id).into_iter().flatten() {
            let end = found.cuts.get(index).map_or(Version::MAX, |cut| cut.version);
            if part.version >= end {
                continue;
            }
            found.cuts.insert(*index, Cut { version: part.version, because: because.clone() });
            let table = &tables[*index];
            let removed = table.parts.iter().filter(|part| part.group.catalog == catalog);
            for removed in removed.filter(|removed| (part.version + 1..end).contains(&removed.version)) {
                if known.insert(&removed.group.id) {
                    incomplete.push((&removed.group.id, table.name.clone()));
                }
            }
        }
    }
    found
}

/// The tables that a transaction changed and that are not among the given ones.
fn absent(first: &PublishedPart, there: &[(usize, &PublishedPart)], tables: &[PublishedParts<'_>]) -> Vec<TableName> {
    let is_known = |n: usize, name: &TableName| match first.group.tables.get(n) {
        Some(id) => tables.iter().any(|table| table.id == Some(*id)),
        None => there.iter().any(|(_, part)| part.name == *name) || tables.iter().any(|table| table.name == *name),
    };
    let names = first.group.participants.iter().enumerate().filter(|(n, name)| !is_known(*n, name));
    names.map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::commit::{COMMIT_INFO_KEY, Group};
    use deltalakedb_log::{Commit, Object};

    use super::*;

    const CATALOG: Uuid = Uuid::from_u128(9);

    /// The parts of a table: the version, the group and the tables of the group.
    fn parts(table: &str, of: &[(Version, u8, &str)], with_ids: bool) -> Vec<PublishedPart> {
        let part = |(version, group, tables): &(Version, u8, &str)| {
            let names: Vec<_> = tables.chars().map(|name| format!("default.{name}")).collect();
            let mut member = Object::default();
            member.set("catalogId", CATALOG.to_string());
            member.set("groupId", group.to_string());
            member.set("participants", names);
            if with_ids {
                member.set("participantIds", tables.chars().map(|name| id(name).to_string()).collect::<Vec<_>>());
            }
            let mut info = Object::default();
            info.set(COMMIT_INFO_KEY, member);
            let commit = Commit::parse(format!("{{\"commitInfo\":{}}}", info.to_json()).into(), "a commit").unwrap();
            let group_of = Group::of(commit.info().unwrap()).unwrap();
            PublishedPart {
                version: *version,
                ms: i64::from(*group) * 10,
                group: group_of,
                name: table.parse().unwrap(),
            }
        };
        of.iter().map(part).collect()
    }

    fn id(name: char) -> TableId {
        TableId(Uuid::from_u128(name as u128))
    }

    /// A table: its name, the time of its newest version, and its parts.
    type TableOf<'a> = (&'a str, i64, &'a [(Version, u8, &'a str)]);

    /// Tables, and the expected cuts and absent tables.
    fn check(tables: &[TableOf<'_>], cut: &[(&str, Version, &str)], absent: &[&str]) {
        for with_ids in [false, true] {
            let parts: Vec<_> = tables.iter().map(|(name, _, of)| parts(name, of, with_ids)).collect();
            let all: Vec<_> = tables
                .iter()
                .zip(&parts)
                .map(|((name, newest_ms, _), parts)| PublishedParts {
                    id: name.chars().next().map(id),
                    name: name.parse().unwrap(),
                    base: 0,
                    newest_ms: *newest_ms,
                    parts,
                })
                .collect();
            let found = cuts(&all, CATALOG, 1_000_000);
            let name = |name: &TableName| name.name.clone();
            let of: Vec<_> =
                found.cuts.iter().map(|(n, cut)| (name(&all[*n].name), cut.version, name(&cut.because))).collect();
            let expected: Vec<_> = cut.iter().map(|(n, v, why)| (n.to_string(), *v, why.to_string())).collect();
            assert_eq!(of, expected, "{tables:?}, with ids: {with_ids}");
            assert_eq!(found.absent.iter().map(name).collect::<Vec<_>>(), absent, "{tables:?}, with ids: {with_ids}");
        }
    }

    #[test]
    fn incomplete_transactions_are_cut_and_complete_ones_kept() {
        check(&[("a", 50, &[(3, 4, "ab")]), ("b", 45, &[(2, 4, "ab")])], &[], &[]);
        check(&[("a", 50, &[(3, 4, "ab")]), ("b", 39, &[])], &[("a", 3, "b")], &[]);
        check(&[("a", 50, &[(3, 4, "ab")])], &[], &["b"]);
    }

    #[test]
    fn a_cut_removes_later_parts_and_so_cuts_other_tables() {
        let (a, b, c) = ([(1, 1, "ab"), (2, 2, "ac"), (3, 3, "ad")], [(1, 1, "ab")], [(7, 4, "cd"), (9, 5, "ce")]);
        let c_without = [(6, 2, "ac"), c[0], c[1]];
        let d = [(2, 3, "ad"), (3, 4, "cd")];
        let e = [(8, 5, "ce")];
        let whole: [TableOf<'_>; 5] =
            [("a", 60, &a), ("b", 60, &b), ("c", 60, &c_without), ("d", 60, &d), ("e", 60, &e)];
        check(&whole, &[], &[]);
        // Of `c` nothing is published but its beginning.
        let lost: [TableOf<'_>; 5] = [("a", 60, &a), ("b", 60, &b), ("c", 15, &[]), ("d", 60, &d), ("e", 60, &e)];
        check(&lost, &[("a", 2, "c"), ("d", 2, "a"), ("e", 8, "c")], &[]);
    }

    #[test]
    fn expired_parts_and_renamed_tables_cut_nothing() {
        let of_a = parts("a", &[(3, 4, "ab")], true);
        let table = |name: &str, base, newest_ms, parts| PublishedParts {
            id: name.chars().next().map(id),
            name: name.parse().unwrap(),
            base,
            newest_ms,
            parts,
        };
        let cut = |tables: &[PublishedParts<'_>]| cuts(tables, CATALOG, 1_000_000).cuts.len();
        assert_eq!(cut(&[table("a", 0, 50, &of_a), table("b", 5, 70, &[])]), 0, "the part of b has expired");
        assert_eq!(cut(&[table("a", 0, 50, &of_a), table("b", 5, 30, &[])]), 1);
        let renamed = PublishedParts { name: "z".parse().unwrap(), ..table("b", 0, 30, &[]) };
        assert_eq!(cut(&[table("a", 0, 50, &of_a), renamed]), 1, "the id counts, not the name");
        let without_ids = parts("a", &[(3, 4, "ab")], false);
        assert_eq!(cut(&[table("a", 0, 50, &without_ids), table("b", 0, 70, &[])]), 0, "a later table of that name");
        assert_eq!(cuts(&[table("a", 0, 50, &of_a), table("b", 0, 30, &[])], Uuid::nil(), 0).cuts.len(), 0);
    }
}
