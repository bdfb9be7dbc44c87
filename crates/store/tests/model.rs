//! Both stores against a naive model: a map per revision.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use trinic_store::{Change, MemoryStore, RedbStore, Revision, Snapshot, Store, StoreError, Transaction};

type Rows = BTreeMap<(String, String), Vec<u8>>;

/// One step of a test.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Change>),
    /// Expects a revision that is this far behind.
    CommitExpecting(u64, Vec<Change>),
    Compact(u64),
    Reopen,
}

fn name() -> impl Strategy<Value = String> {
    // Prefixes of each other, and an order in which bytes and characters agree.
    prop::sample::select(vec!["a", "ab", "abc", "b", "\u{e9}", "b\u{10348}"]).prop_map(String::from)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![name(), Just(String::new())]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (name(), key(), vec(any::<u8>(), 0..20))
            .prop_map(|(table, key, value)| Change::Put { table, key, value }),
        1 => (name(), key()).prop_map(|(table, key)| Change::Delete { table, key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(change(), 0..5).prop_map(Step::Commit),
        1 => (0u64..2, vec(change(), 0..3)).prop_map(|(n, c)| Step::CommitExpecting(n, c)),
        1 => (0u64..12).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

/// What the store should hold: the rows and changes of every revision, the last being the present.
#[derive(Default)]
struct Model {
    history: Vec<(Rows, Vec<Change>)>,
    compacted: u64,
}

impl Model {
    fn rows(&self) -> Rows {
        self.history
            .last()
            .map(|(rows, _)| rows.clone())
            .unwrap_or_default()
    }

    fn revision(&self) -> u64 {
        self.history.len() as u64
    }

    fn commit(&mut self, changes: &[Change]) {
        let mut rows = self.rows();
        for change in changes.iter().cloned() {
            match change {
                Change::Put { table, key, value } => rows.insert((table, key), value),
                Change::Delete { table, key } => rows.remove(&(table, key)),
            };
        }
        self.history.push((rows, changes.to_vec()));
    }
}

fn transaction(changes: &[Change]) -> Transaction {
    let mut transaction = Transaction::new();
    for change in changes.iter().cloned() {
        match change {
            Change::Put { table, key, value } => transaction.put(table, key, value),
            Change::Delete { table, key } => transaction.delete(table, key),
        };
    }
    transaction
}

fn scan(snapshot: &dyn Snapshot, table: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    snapshot
        .scan(table, prefix, &mut |key, value| {
            found.push((key.to_owned(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn check_snapshot(snapshot: &dyn Snapshot, rows: &Rows, revision: u64) {
    assert_eq!(snapshot.revision(), Revision(revision));
    let names = ["a", "ab", "abc", "b", "\u{e9}", "b\u{10348}"];
    for table in names {
        for prefix in ["", "a", "ab", "z"] {
            let expected: Vec<_> = rows
                .iter()
                .filter(|((t, k), _)| t == table && k.starts_with(prefix))
                .map(|((_, k), v)| (k.clone(), v.clone()))
                .collect();
            assert_eq!(scan(snapshot, table, prefix), expected, "{table} {prefix}");
        }
        for key in names {
            let expected = rows.get(&(table.to_owned(), key.to_owned())).cloned();
            assert_eq!(snapshot.get(table, key).unwrap(), expected);
        }
    }
}

fn check_watch(store: &dyn Store, model: &Model) {
    for from in 0..=model.revision() {
        match store.watch(Revision(from)) {
            Err(StoreError::Compacted { .. }) => assert!(from < model.compacted, "from {from}"),
            Err(error) => panic!("watch from {from}: {error}"),
            Ok(mut watch) => {
                assert!(from >= model.compacted, "from {from}");
                for revision in from + 1..=model.revision() {
                    let commit = watch.try_next().unwrap().unwrap();
                    assert_eq!(commit.revision, Revision(revision));
                    assert_eq!(
                        commit.changes,
                        model.history[usize::try_from(revision).unwrap() - 1].1
                    );
                }
                assert_eq!(watch.try_next().unwrap(), None);
            }
        }
    }
    let future = store.watch(Revision(model.revision() + 1)).unwrap_err();
    assert!(matches!(future, StoreError::Future { .. }), "{future}");
}

fn run(steps: &[Step], mut open: impl FnMut(Option<Box<dyn Store>>) -> Box<dyn Store>) {
    let mut store = open(None);
    let mut model = Model::default();
    for step in steps {
        let before = (store.snapshot().unwrap(), model.rows(), model.revision());
        match step {
            Step::Commit(changes) => {
                let revision = store.commit(&transaction(changes)).unwrap();
                model.commit(changes);
                assert_eq!(revision, Revision(model.revision()));
            }
            Step::CommitExpecting(behind, changes) => {
                let expected = Revision(model.revision().saturating_sub(*behind));
                let result = store.commit(transaction(changes).expect(expected));
                if expected.0 == model.revision() {
                    result.unwrap();
                    model.commit(changes);
                } else {
                    let error = result.unwrap_err();
                    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
                }
            }
            Step::Compact(through) => {
                store.compact(Revision(*through)).unwrap();
                model.compacted = model.compacted.max((*through).min(model.revision()));
            }
            Step::Reopen => {}
        }
        check_snapshot(&*before.0, &before.1, before.2);
        drop(before);
        if matches!(step, Step::Reopen) {
            store = open(Some(store));
        }
        check_snapshot(&*store.snapshot().unwrap(), &model.rows(), model.revision());
        check_watch(&*store, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn memory_store_is_the_model(steps in vec(step(), 0..16)) {
        run(&steps, |old| old.unwrap_or_else(|| Box::new(MemoryStore::new())));
    }
}

proptest! {
    // Every commit waits for the disk.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn redb_store_is_the_model(steps in vec(step(), 0..12)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        run(&steps, |old| {
            drop(old);
            Box::new(RedbStore::open(&path).unwrap())
        });
    }
}

#[test]
fn names_and_sizes_have_limits_and_a_refused_commit_changes_nothing() {
    let store = MemoryStore::new();
    for (table, key) in [("", "k"), ("t\0u", "k"), ("t", &*"k".repeat(1025))] {
        let error = store
            .commit(Transaction::new().put("ok", "ok", "v").put(table, key, "v"))
            .unwrap_err();
        assert!(matches!(error, StoreError::BadName { .. }), "{error}");
    }
    let big = vec![0; trinic_store::TRANSACTION_LIMIT_BYTES];
    let error = store.commit(Transaction::new().put("t", "k", big)).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert_eq!(store.snapshot().unwrap().revision(), Revision(0));
    assert_eq!(store.snapshot().unwrap().get("ok", "ok").unwrap(), None);
}

#[test]
fn the_log_is_bounded_by_itself() {
    let store = MemoryStore::new();
    for n in 0..trinic_store::LOG_LIMIT + 10 {
        store
            .commit(Transaction::new().put("t", n.to_string(), "v"))
            .unwrap();
    }
    assert!(matches!(
        store.watch(Revision(9)),
        Err(StoreError::Compacted { .. })
    ));
    let mut watch = store.watch(Revision(10)).unwrap();
    assert_eq!(watch.try_next().unwrap().unwrap().revision, Revision(11));
}

#[test]
fn a_watch_is_woken_by_a_commit() {
    let store = MemoryStore::new();
    let mut watch = store.watch(Revision(0)).unwrap();
    let waiter = std::thread::spawn(move || watch.next_timeout(std::time::Duration::from_secs(20)));
    std::thread::sleep(std::time::Duration::from_millis(20));
    store.commit(Transaction::new().put("t", "k", "v")).unwrap();
    let commit = waiter.join().unwrap().unwrap().unwrap();
    assert_eq!(commit.revision, Revision(1));
}
