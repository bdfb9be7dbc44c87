//! The TCP stacks of those interfaces that have connections, with an index of their timers: with a
//! thousand of them, a frame costs what its own interface's stack costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use trinic_wire::time::Instant;

use crate::stack::Stack;

/// Stacks by interface.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    entries: BTreeMap<Arc<str>, Entry>,
    timers: BTreeSet<(Instant, Arc<str>)>,
    connections: usize,
}

/// A stack, and what the index has of it.
#[derive(Debug)]
struct Entry {
    stack: Stack,
    due: Option<Instant>,
    connections: usize,
}

impl Stacks {
    /// Connections of all stacks.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Connections of one interface.
    pub(crate) fn connections_of(&self, id: &str) -> usize {
        self.entries.get(id).map_or(0, |entry| entry.connections)
    }

    /// The stack of an interface. After its use, [`Self::settle`] must follow.
    pub(crate) fn get(&mut self, id: &str) -> Option<&mut Stack> {
        Some(&mut self.entries.get_mut(id)?.stack)
    }

    /// As [`Self::get`], with a new stack where there is none.
    pub(crate) fn get_or_make(&mut self, id: &Arc<str>, make: impl FnOnce() -> Stack) -> &mut Stack {
        let make = || Entry {
            stack: make(),
            due: None,
            connections: 0,
        };
        &mut self.entries.entry(id.clone()).or_insert_with(make).stack
    }

    /// Brings the index up to date with a stack that was used, and drops it if it has no connections.
    pub(crate) fn settle(&mut self, now: Instant, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.stack.is_idle() {
            self.remove(id);
            return;
        }
        let connections = entry.stack.connections();
        self.connections = self.connections - entry.connections + connections;
        entry.connections = connections;
        let due = entry.stack.poll_timeout(now);
        if due == entry.due {
            return;
        }
        let old = std::mem::replace(&mut entry.due, due);
        if let Some((key, _)) = self.entries.get_key_value(id) {
            if let Some(old) = old {
                self.timers.remove(&(old, key.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, key.clone()));
            }
        }
    }

    /// Forgets an interface.
    pub(crate) fn remove(&mut self, id: &str) {
        let Some((key, entry)) = self.entries.remove_entry(id) else {
            return;
        };
        self.connections -= entry.connections;
        if let Some(due) = entry.due {
            self.timers.remove(&(due, key));
        }
    }

    /// An interface whose stack has a timer that ran out. After its use, [`Self::settle`] must follow.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Arc<str>> {
        let (at, _) = self.timers.first()?;
        if *at > now {
            return None;
        }
        let (_, id) = self.timers.pop_first()?;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.due = None;
        }
        Some(id)
    }

    /// When the next timer runs out.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether there are none.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.timers.is_empty() && self.connections == 0
    }
}
