//! `kill -9` of a process that commits in a loop: every acknowledged commit is there, none is there by half.
//!
//! The test runs itself again as the child (`TRINIC_STORE_KILL_CHILD` names the file): the child commits number
//! after number, each to two keys, and prints each number once the commit returned.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use trinic_store::{RedbStore, Store, Transaction};

const CHILD: &str = "TRINIC_STORE_KILL_CHILD";

#[test]
fn acknowledged_commits_survive_kill_and_no_commit_is_half() {
    if let Ok(path) = std::env::var(CHILD) {
        return commit_forever(&path);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut last_known = 0;
    for round in 0..12u32 {
        let acknowledged = run_and_kill(&path, round);
        let store = RedbStore::open(&path).unwrap();
        let snapshot = store.snapshot().unwrap();
        let left = number(&snapshot.get("left", "n").unwrap());
        let right = number(&snapshot.get("right", "n").unwrap());
        assert_eq!(left, right, "round {round}: half a commit");
        let floor = acknowledged.unwrap_or(last_known);
        assert!(
            left >= floor,
            "round {round}: {floor} was acknowledged, {left} is there"
        );
        assert!(
            left <= floor + 1 || acknowledged.is_none(),
            "round {round}: {left} after {floor}"
        );
        assert_eq!(
            snapshot.revision().0,
            left,
            "round {round}: one revision a commit"
        );
        for n in 1..=left {
            let row = snapshot.get("rows", &format!("{n:08}")).unwrap();
            assert_eq!(number(&row), n, "round {round}");
        }
        last_known = left;
    }
    assert!(last_known > 0, "no round committed anything");
}

/// Runs a child, kills it at a moment that differs by round, and returns the last number it acknowledged.
fn run_and_kill(path: &std::path::Path, round: u32) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "acknowledged_commits_survive_kill_and_no_commit_is_half",
            "--nocapture",
        ])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = None;
    let mut seen = 0;
    for line in &mut lines {
        acknowledged = line
            .unwrap()
            .strip_prefix("ack ")
            .map(|n| n.trim_end_matches('.').parse().unwrap())
            .or(acknowledged);
        seen += u32::from(acknowledged.is_some());
        if seen > round * 3 {
            std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 370));
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died counts as acknowledged, too; a torn last line does not.
    for line in lines.map_while(Result::ok) {
        let whole = line.strip_prefix("ack ").filter(|n| n.ends_with('.'));
        if let Some(n) = whole.and_then(|n| n.trim_end_matches('.').parse().ok()) {
            acknowledged = Some(n);
        }
    }
    acknowledged
}

fn commit_forever(path: &str) {
    let store = RedbStore::open(path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let mut n = number(&snapshot.get("left", "n").unwrap());
    drop(snapshot);
    let mut out = std::io::stdout();
    loop {
        n += 1;
        let mut transaction = Transaction::new();
        transaction
            .put("left", "n", n.to_le_bytes())
            .put("rows", format!("{n:08}"), n.to_le_bytes())
            .put("right", "n", n.to_le_bytes());
        store.commit(&transaction).unwrap();
        writeln!(out, "ack {n}.").unwrap();
        out.flush().unwrap();
    }
}

fn number(value: &Option<Vec<u8>>) -> u64 {
    value.as_ref().map_or(0, |bytes| {
        u64::from_le_bytes(bytes.as_slice().try_into().unwrap())
    })
}
