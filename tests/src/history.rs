//! Finds the anomalies in a history of transactions.
//!
//! Transactions append unique ids to lists and read lists, so that a read shows the order of the writes (Kingsbury and
//! Alvaro, "Elle", 2020). From these orders follow the dependencies between transactions of Adya's "Weak Consistency"
//! (1999): *ww*, one overwrote the other; *wr*, one read what the other wrote; *rw*, one read what the other overwrote.
//! An isolation level excludes certain kinds of cycles.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One transaction as recorded by its client.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its unique name.
    pub id: u64,
    /// Its operations, in order.
    pub ops: Vec<Op>,
    /// Its outcome.
    pub end: End,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// It read the list of a key.
    Read(String, Vec<u64>),
    /// It appended a unique id to the list of a key.
    Append(String, u64),
}

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is in the log.
    Committed,
    /// It is not in the log.
    Aborted,
    /// The client does not know.
    Unknown,
}

/// An anomaly, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// A read of an id that was never written, or of one twice.
    Garbage,
    /// Two reads of one list in different orders.
    Order,
    /// A committed write is in no list at the end.
    Lost,
    /// A transaction does not see its own writes, or sees two states of a list.
    Internal,
    /// A cycle of writes.
    G0,
    /// A read of a write that was never committed.
    G1a,
    /// A read of an intermediate write of a transaction.
    G1b,
    /// A cycle of *ww* and *wr*.
    G1c,
    /// A cycle with one *rw*.
    GSingle,
    /// A cycle without two consecutive *rw*.
    GNonadjacent,
    /// Any other cycle.
    G2Item,
}

/// An anomaly with its details.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its kind.
    pub anomaly: Anomaly,
    /// The transactions and keys.
    pub what: String,
}

/// Finds every anomaly. The lists of the last read of each key are taken as the final state, so a history should end
/// with one transaction that reads all keys.
pub fn check(history: &[Recorded]) -> Vec<Finding> {
    let mut checker = Checker::default();
    for transaction in history {
        for op in &transaction.ops {
            if let Op::Append(key, id) = op {
                checker.writers.insert((key.as_str(), *id), transaction);
            }
        }
    }
    checker.reads(history);
    checker.order(history);
    checker.depend(history);
    checker.cycles();
    checker.findings.sort_by_key(|finding| finding.anomaly);
    checker.findings
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Ww,
    Wr,
    Rw,
}

/// A transaction on a path, and whether the last step to it was an *rw*.
type PathNode = (u64, bool);

#[derive(Default)]
struct Checker<'a> {
    writers: BTreeMap<(&'a str, u64), &'a Recorded>,
    /// The longest list of each key that was read.
    lists: BTreeMap<&'a str, &'a [u64]>,
    edges: BTreeMap<u64, BTreeSet<(u64, Edge)>>,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn find(&mut self, anomaly: Anomaly, what: String) {
        self.findings.push(Finding { anomaly, what });
    }

    /// Checks each read: its content, and its consistency with earlier operations of its transaction.
    fn reads(&mut self, history: &'a [Recorded]) {
        for transaction in history {
            let mut known: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            let mut own: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            for op in &transaction.ops {
                match op {
                    Op::Append(key, id) => {
                        own.entry(key).or_default().push(*id);
                        known.entry(key).and_modify(|list| list.push(*id));
                    }
                    Op::Read(key, saw) => {
                        let own = own.get(key.as_str()).cloned().unwrap_or_default();
                        let at_odds = known.get(key.as_str()).is_some_and(|known| known != saw) || !saw.ends_with(&own);
                        if at_odds {
                            let (known, id) = (known.get(key.as_str()), transaction.id);
                            self.find(
                                Anomaly::Internal,
                                format!("{id} reads {key} = {saw:?} after {known:?} and appends {own:?}"),
                            );
                        }
                        known.insert(key, saw.clone());
                        self.read(transaction, key, saw);
                    }
                }
            }
        }
    }

    fn read(&mut self, reader: &Recorded, key: &str, saw: &[u64]) {
        let distinct: BTreeSet<_> = saw.iter().collect();
        if distinct.len() < saw.len() {
            self.find(Anomaly::Garbage, format!("{} reads {key} = {saw:?}, one id twice", reader.id));
        }
        for (n, id) in saw.iter().enumerate() {
            let Some(writer) = self.writers.get(&(key, *id)).copied() else {
                self.find(Anomaly::Garbage, format!("{} reads {id} in {key}, which nobody wrote", reader.id));
                continue;
            };
            if writer.id == reader.id {
                continue;
            }
            if writer.end == End::Aborted {
                self.find(Anomaly::G1a, format!("{} reads {id} in {key} of {}, which aborted", reader.id, writer.id));
            }
            let last = writer.ops.iter().rev().find_map(|op| match op {
                Op::Append(k, id) if k == key => Some(*id),
                _ => None,
            });
            if n + 1 == saw.len() && last != Some(*id) {
                let what = format!("{} reads {key} up to {id}, and {} wrote more", reader.id, writer.id);
                self.find(Anomaly::G1b, what);
            }
        }
    }

    /// Checks that all reads of a key agree on the order of its ids.
    fn order(&mut self, history: &'a [Recorded]) {
        for transaction in history.iter().filter(|t| t.end != End::Aborted) {
            for op in &transaction.ops {
                let Op::Read(key, saw) = op else { continue };
                // Its own appends may not have been committed.
                let saw = match transaction.end {
                    End::Committed => &saw[..],
                    _ => self.before(transaction, key, saw),
                };
                let longest = self.lists.entry(key).or_insert(saw);
                let (short, long) = if saw.len() < longest.len() { (saw, *longest) } else { (*longest, saw) };
                if long.starts_with(short) {
                    *longest = long;
                } else {
                    let what = format!("{key} is {short:?} and {long:?}, says {}", transaction.id);
                    self.find(Anomaly::Order, what);
                }
            }
        }
        let lost = self.writers.iter().filter(|((key, id), writer)| {
            let list = self.lists.get(key).copied().unwrap_or_default();
            writer.end == End::Committed && !list.contains(id)
        });
        let lost: Vec<_> = lost.map(|((key, id), writer)| format!("{id} in {key} of {} is lost", writer.id)).collect();
        lost.into_iter().for_each(|what| self.find(Anomaly::Lost, what));
    }

    /// The list before the transaction appended to it.
    fn before<'b>(&self, transaction: &Recorded, key: &str, saw: &'b [u64]) -> &'b [u64] {
        let own = |id: &u64| self.writers.get(&(key, *id)).is_some_and(|w| w.id == transaction.id);
        &saw[..saw.iter().position(own).unwrap_or(saw.len())]
    }

    /// Computes the dependencies.
    fn depend(&mut self, history: &[Recorded]) {
        let mut edges: Vec<(u64, u64, Edge)> = Vec::new();
        let writer = |key: &str, id: &u64| self.writers.get(&(key, *id)).map(|w| w.id);
        for (key, list) in &self.lists {
            let pairs = list.windows(2).filter_map(|w| Some((writer(key, &w[0])?, writer(key, &w[1])?, Edge::Ww)));
            edges.extend(pairs);
        }
        for transaction in history.iter().filter(|t| t.end == End::Committed) {
            for op in &transaction.ops {
                let Op::Read(key, saw) = op else { continue };
                let saw = self.before(transaction, key, saw);
                let list = self.lists.get(key.as_str()).copied().unwrap_or_default();
                let wrote = saw.last().and_then(|id| writer(key, id));
                edges.extend(wrote.map(|from| (from, transaction.id, Edge::Wr)));
                let next = list.get(saw.len()).and_then(|id| writer(key, id));
                edges.extend(next.map(|to| (transaction.id, to, Edge::Rw)));
            }
        }
        for (from, to, edge) in edges.into_iter().filter(|(from, to, _)| from != to) {
            self.edges.entry(from).or_default().insert((to, edge));
        }
    }

    /// Reports each cycle by the weakest rule that forbids it: one finding for each edge that closes a cycle.
    fn cycles(&mut self) {
        let all: Vec<_> =
            self.edges.iter().flat_map(|(from, to)| to.iter().map(|(to, edge)| (*from, *to, *edge))).collect();
        for (from, to, edge) in all {
            let (ww, known): (&[Edge], &[Edge]) = (&[Edge::Ww], &[Edge::Ww, Edge::Wr]);
            let tries: &[(Anomaly, &[Edge], bool)] = match edge {
                Edge::Ww => &[(Anomaly::G0, ww, false)],
                Edge::Wr => &[(Anomaly::G1c, known, false)],
                Edge::Rw => &[
                    (Anomaly::GSingle, known, false),
                    (Anomaly::GNonadjacent, &[Edge::Ww, Edge::Wr, Edge::Rw], true),
                    (Anomaly::G2Item, &[Edge::Ww, Edge::Wr, Edge::Rw], false),
                ],
            };
            let found = tries.iter().find_map(|(anomaly, along, apart)| {
                let back = self.path(to, from, along, *apart)?;
                Some((*anomaly, format!("{from} -{edge:?}-> {to}{back}")))
            });
            if let Some((anomaly, what)) = found {
                self.find(anomaly, what);
            }
        }
    }

    /// A path between two transactions along such edges, as text; with `apart`, without consecutive *rw*, and without
    /// one at the ends.
    fn path(&self, from: u64, to: u64, along: &[Edge], apart: bool) -> Option<String> {
        let mut came: BTreeMap<PathNode, Option<(PathNode, Edge)>> = [((from, true), None)].into();
        let mut next = VecDeque::from([(from, true)]);
        while let Some(at) = next.pop_front() {
            if at.0 == to && !(apart && at.1) {
                let (mut words, mut at) = (String::new(), at);
                while let Some(Some((before, edge))) = came.get(&at) {
                    words = format!(" -{edge:?}-> {}{words}", at.0);
                    at = *before;
                }
                return Some(words);
            }
            for (node, edge) in self.edges.get(&at.0).into_iter().flatten() {
                if !along.contains(edge) || (apart && at.1 && *edge == Edge::Rw) {
                    continue;
                }
                let there = (*node, apart && *edge == Edge::Rw);
                if let Entry::Vacant(new) = came.entry(there) {
                    new.insert(Some((at, *edge)));
                    next.push_back(there);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T1 a=1,2 b+3` : transaction 1 read a list and appended to another; `!` aborts, `?` is unknown.
    fn history(text: &str) -> Vec<Recorded> {
        let transaction = |line: &str| {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap();
            let end = match name.chars().last().unwrap() {
                '!' => End::Aborted,
                '?' => End::Unknown,
                _ => End::Committed,
            };
            let number = |text: &str| text.parse::<u64>().unwrap();
            let ops = words.map(|word| match word.split_once('+') {
                Some((key, id)) => Op::Append(key.into(), number(id)),
                None => {
                    let (key, list) = word.split_once('=').unwrap();
                    Op::Read(key.into(), list.split(',').filter(|id| !id.is_empty()).map(number).collect())
                }
            });
            Recorded { id: number(name.trim_matches(['T', '!', '?'])), ops: ops.collect(), end }
        };
        text.split(';').map(|line| transaction(line.trim())).collect()
    }

    fn found(text: &str, want: &[Anomaly]) {
        let findings = check(&history(text));
        let kinds: BTreeSet<_> = findings.iter().map(|f| f.anomaly).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), want, "{text}: {findings:#?}");
    }

    #[test]
    fn serial_histories_have_no_anomaly() {
        found("T1 a+1 b+2; T2 a=1 a+3 a=1,3 b=2; T3! a=1,3 a+4; T4 a=1,3 b=2", &[]);
        found("T1 a+1; T2? a=1 a+2; T3 a=1,2", &[]);
        found("T1 a+1; T2? a=1 a+2; T3 a=1", &[]);
        found("T1 a= b=; T2 a+1; T3 b+1 a=; T4 a=1 b=1", &[]);
    }

    #[test]
    fn each_anomaly_is_found_and_named() {
        use Anomaly::*;
        found("T1 a+1 b+1; T2 a+2 b+2; T3 a=1,2 b=2,1", &[G0]);
        found("T1! a+1; T2 a=1", &[G1a]);
        found("T1 a+1 a+2; T2 a=1; T3 a=1,2", &[G1b, GSingle]);
        found("T1 a+1 b=2; T2 b+2 a=1; T3 a=1 b=2", &[G1c]);
        found("T1 a+1 b+1; T2 a=1 b=; T3 a=1 b=1", &[GSingle]);
        found("T1 a= a+1; T2 a= a+2; T3 a=1,2", &[GSingle]);
        found("T1 a= b+1; T2 b= a+2; T3 a=2 b=1", &[G2Item]);
        // 1 misses a write of 2, 3 saw a write of 2 and misses one of 4, 1 saw a write of 4.
        found("T1 a= d=4; T2 a+2 b+2; T3 b=2 c=; T4 c+4 d+4; T5 a=2 b=2 c=4 d=4", &[GNonadjacent]);
    }

    #[test]
    fn impossible_reads_are_found_first() {
        use Anomaly::*;
        found("T1 a+1; T2 a+2; T3 a=1,2; T4 a=2,1", &[Order]);
        found("T1 a+1; T2 a=", &[Lost]);
        found("T1 a+1; T2 a=1,7", &[Garbage]);
        found("T1 a+1; T2 a=1,1", &[Garbage]);
        found("T1 a+1 a=; T2 a=1", &[Internal]);
        found("T1 a+1; T2 a= a=1; T3 a=1", &[Internal, GSingle]);
    }
}
