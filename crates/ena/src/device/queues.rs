//! Which queues the driver has made.

use super::{Config, Refusal, layout};
use crate::datapath::CompletionQueue;
use crate::spec::admin::Direction;

/// A completion queue, and the submission queue that completes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Completions {
    pub(super) queue: CompletionQueue,
    pub(super) user: Option<(Direction, u16)>,
}

/// A submission queue, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Submissions {
    pub(super) depth: u16,
    pub(super) cq_index: u16,
    pub(super) is_llq: bool,
}

/// The tables of queues. Their lengths are what the device has, so an index is in range or absent.
#[derive(Debug)]
pub(super) struct Queues {
    cq: Vec<Option<Completions>>,
    tx: Vec<Option<Submissions>>,
    rx: Vec<Option<Submissions>>,
}

impl Queues {
    pub(super) fn new(config: &Config) -> Self {
        let pairs = usize::from(config.queue_pairs);
        Self {
            cq: vec![None; usize::from(layout::completion_queue_count(config.queue_pairs))],
            tx: vec![None; pairs],
            rx: vec![None; pairs],
        }
    }

    pub(super) fn clear(&mut self) {
        self.cq.fill(None);
        self.tx.fill(None);
        self.rx.fill(None);
    }

    /// The lowest number that no completion queue has.
    pub(super) fn free_cq(&self) -> Result<u16, Refusal> {
        free(&self.cq).ok_or(Refusal::CqLimit)
    }

    /// The lowest number that no submission queue of this direction has.
    pub(super) fn free_sq(&self, direction: Direction) -> Result<u16, Refusal> {
        free(self.table(direction)).ok_or(Refusal::SqLimit)
    }

    pub(super) fn put_cq(&mut self, queue: CompletionQueue) {
        if let Some(place) = self.cq.get_mut(usize::from(queue.index)) {
            *place = Some(Completions { queue, user: None });
        }
    }

    /// The completion queue for a new submission queue: it exists and nobody uses it.
    pub(super) fn unused_cq(&self, index: u16) -> Result<CompletionQueue, Refusal> {
        match self.cq.get(usize::from(index)).copied().flatten() {
            Some(Completions { queue, user: None }) => Ok(queue),
            _ => Err(Refusal::SqCompletionQueue),
        }
    }

    pub(super) fn take_cq(&mut self, index: u16) -> Result<(), Refusal> {
        let place = self.cq.get_mut(usize::from(index)).ok_or(Refusal::CqUnknown)?;
        match place {
            None => Err(Refusal::CqUnknown),
            Some(Completions { user: Some(_), .. }) => Err(Refusal::CqInUse),
            Some(_) => {
                *place = None;
                Ok(())
            }
        }
    }

    pub(super) fn put_sq(&mut self, direction: Direction, index: u16, queue: Submissions) {
        if let Some(place) = self.table_mut(direction).get_mut(usize::from(index)) {
            *place = Some(queue);
        }
        if let Some(Some(cq)) = self.cq.get_mut(usize::from(queue.cq_index)) {
            cq.user = Some((direction, index));
        }
    }

    pub(super) fn has_sq(&self, direction: Direction, index: u16) -> bool {
        matches!(self.table(direction).get(usize::from(index)), Some(Some(_)))
    }

    pub(super) fn take_sq(&mut self, direction: Direction, index: u16) {
        let place = self.table_mut(direction).get_mut(usize::from(index));
        let Some(queue) = place.and_then(Option::take) else {
            return;
        };
        if let Some(Some(cq)) = self.cq.get_mut(usize::from(queue.cq_index)) {
            cq.user = None;
        }
    }

    /// The submission queues of a direction with their numbers.
    pub(super) fn submissions(&self, direction: Direction) -> impl Iterator<Item = (u16, Submissions)> + '_ {
        (0..)
            .zip(self.table(direction))
            .filter_map(|(index, queue)| queue.map(|queue| (index, queue)))
    }

    pub(super) fn completions(&self, index: u16) -> Option<CompletionQueue> {
        let cq = self.cq.get(usize::from(index)).copied().flatten()?;
        Some(cq.queue)
    }

    pub(super) fn has_io(&self) -> bool {
        self.tx.iter().chain(&self.rx).any(Option::is_some)
    }

    pub(super) fn has_llq(&self) -> bool {
        self.tx.iter().flatten().any(|queue| queue.is_llq)
    }

    fn table(&self, direction: Direction) -> &Vec<Option<Submissions>> {
        if direction == Direction::TX {
            &self.tx
        } else {
            &self.rx
        }
    }

    fn table_mut(&mut self, direction: Direction) -> &mut Vec<Option<Submissions>> {
        if direction == Direction::TX {
            &mut self.tx
        } else {
            &mut self.rx
        }
    }
}

fn free<T>(table: &[Option<T>]) -> Option<u16> {
    let index = table.iter().position(Option::is_none)?;
    u16::try_from(index).ok()
}
