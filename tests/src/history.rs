//! Says which anomalies a history of transactions shows.
//!
//! Transactions append ids of their own to lists and read lists, so that what was read says in which order it was
//! written (Kingsbury and Alvaro, "Elle", 2020). From these orders come the dependencies between transactions of Adya's
//! "Weak Consistency" (1999): *ww*, one wrote on top of the other; *wr*, one read what the other wrote; *rw*, one read
//! what the other overwrote. An isolation level is the kinds of cycles that it does not have.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What one transaction did, as its client knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its name: no other has it.
    pub id: u64,
    /// In order.
    pub ops: Vec<Op>,
    /// How it ended.
    pub end: End,
}

/// One thing a transaction did.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// It read the list of a key.
    Read(String, Vec<u64>),
    /// It appended an id to the list of a key; no two appends have the same.
    Append(String, u64),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is in the log.
    Committed,
    /// It is not.
    Aborted,
    /// Nobody was told.
    Unknown,
}

/// What must not be, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// Something was read that nobody wrote, or twice.
    Garbage,
    /// Two read one list in two orders.
    Order,
    /// What was committed is in no list at the end.
    Lost,
    /// A transaction does not see what it did, or sees two states of a list.
    Internal,
    /// A cycle of writes.
    G0,
    /// What was read was never committed.
    G1a,
    /// What was read was not the last of what a transaction wrote.
    G1b,
    /// A cycle of writes and of reads of what was written.
    G1c,
    /// A cycle with one read of what was overwritten.
    GSingle,
    /// A cycle in which no two reads of what was overwritten follow one another.
    GNonadjacent,
    /// Any other cycle: each read what the next one overwrote.
    G2Item,
}

/// An anomaly, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its kind.
    pub anomaly: Anomaly,
    /// The transactions and keys.
    pub what: String,
}

/// Looks for every anomaly. The lists of the last read of each key are taken for what is there at the end, so a history
/// should end with one transaction that reads them all.
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

/// A transaction on a way, and whether the last step to it was one of *rw*.
type Place = (u64, bool);

#[derive(Default)]
struct Checker<'a> {
    writers: BTreeMap<(&'a str, u64), &'a Recorded>,
    /// The list of each key, as long as anybody saw it.
    lists: BTreeMap<&'a str, &'a [u64]>,
    edges: BTreeMap<u64, BTreeSet<(u64, Edge)>>,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn find(&mut self, anomaly: Anomaly, what: String) {
        self.findings.push(Finding { anomaly, what });
    }

    /// Each read by itself: what is in it, and whether it goes with what its transaction did before.
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

    /// One order of all ids of a key.
    fn order(&mut self, history: &'a [Recorded]) {
        for transaction in history.iter().filter(|t| t.end != End::Aborted) {
            for op in &transaction.ops {
                let Op::Read(key, saw) = op else { continue };
                // What it appended itself may have been in vain.
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

    /// What was there of a list before the transaction appended to it.
    fn before<'b>(&self, transaction: &Recorded, key: &str, saw: &'b [u64]) -> &'b [u64] {
        let own = |id: &u64| self.writers.get(&(key, *id)).is_some_and(|w| w.id == transaction.id);
        &saw[..saw.iter().position(own).unwrap_or(saw.len())]
    }

    /// Who depends on whom.
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

    /// Each cycle by the mildest rule that forbids it: one finding for each edge that closes one.
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

    /// A way from one to another along such edges, in words; with `apart`, no *rw* next to another, and none at the
    /// ends.
    fn path(&self, from: u64, to: u64, along: &[Edge], apart: bool) -> Option<String> {
        let mut came: BTreeMap<Place, Option<(Place, Edge)>> = [((from, true), None)].into();
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
    fn one_after_the_other_is_no_anomaly() {
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
        // 1 misses what 2 wrote, 3 saw what 2 wrote and misses what 4 wrote, 1 saw what 4 wrote.
        found("T1 a= d=4; T2 a+2 b+2; T3 b=2 c=; T4 c+4 d+4; T5 a=2 b=2 c=4 d=4", &[GNonadjacent]);
    }

    #[test]
    fn what_no_order_explains_is_found_first() {
        use Anomaly::*;
        found("T1 a+1; T2 a+2; T3 a=1,2; T4 a=2,1", &[Order]);
        found("T1 a+1; T2 a=", &[Lost]);
        found("T1 a+1; T2 a=1,7", &[Garbage]);
        found("T1 a+1; T2 a=1,1", &[Garbage]);
        found("T1 a+1 a=; T2 a=1", &[Internal]);
        found("T1 a+1; T2 a= a=1; T3 a=1", &[Internal, GSingle]);
    }
}
