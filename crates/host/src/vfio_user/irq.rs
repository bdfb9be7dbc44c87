//! The MSI-X vectors of a function: an event descriptor of the client for each, and its mask.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use rustix::fs::OFlags;
use trinic_pci::Interrupts;

use crate::sys::raise_event;

/// The vectors of one function. Any thread may raise them; the function's server gives them their descriptors.
#[derive(Debug, Clone)]
pub struct IrqTable {
    vectors: Arc<[Vector]>,
}

#[derive(Debug, Default)]
struct Vector {
    event: ArcSwapOption<OwnedFd>,
    /// [`MASKED`] and [`PENDING`].
    state: AtomicU8,
    /// How often its descriptor was written.
    raised: AtomicU64,
}

const MASKED: u8 = 1;
/// Raised while masked.
const PENDING: u8 = 2;

impl IrqTable {
    /// `vectors` vectors that nobody listens to.
    #[must_use]
    pub fn new(vectors: u16) -> Self {
        Self {
            vectors: (0..vectors).map(|_| Vector::default()).collect(),
        }
    }

    /// How many vectors there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        u16::try_from(self.vectors.len()).unwrap_or(u16::MAX)
    }

    /// How often a vector has reached a client.
    #[must_use]
    pub fn raised(&self, vector: u16) -> u64 {
        self.vectors
            .get(usize::from(vector))
            .map_or(0, |vector| vector.raised.load(Ordering::Relaxed))
    }

    /// Nobody listens, nothing is masked or pending.
    pub(super) fn clear(&self) {
        for vector in self.vectors.iter() {
            vector.event.store(None);
            vector.state.store(0, Ordering::Release);
        }
    }

    /// Gives a vector its descriptor, or takes it away. The descriptor must be an eventfd: a write to anything
    /// else could wait for as long as the client likes.
    pub(super) fn listen(&self, vector: u16, event: Option<OwnedFd>) -> io::Result<()> {
        if let Some(event) = &event {
            check_event(event)?;
        }
        if let Some(vector) = self.vectors.get(usize::from(vector)) {
            vector.event.store(event.map(Arc::new));
        }
        Ok(())
    }

    /// Masks a vector: it is remembered when it is raised.
    pub(super) fn mask(&self, vector: u16) {
        if let Some(vector) = self.vectors.get(usize::from(vector)) {
            vector.state.fetch_or(MASKED, Ordering::AcqRel);
        }
    }

    /// Unmasks a vector, and raises it if it was raised meanwhile.
    pub(super) fn unmask(&self, vector: u16) {
        if let Some(vector) = self.vectors.get(usize::from(vector))
            && vector.state.swap(0, Ordering::AcqRel) & PENDING != 0
        {
            vector.signal();
        }
    }

    /// Forgets what was raised while masked.
    pub(super) fn forget_pending(&self) {
        for vector in self.vectors.iter() {
            vector.state.fetch_and(!PENDING, Ordering::AcqRel);
        }
    }
}

impl Interrupts for IrqTable {
    fn trigger(&self, vector: u16) {
        let Some(vector) = self.vectors.get(usize::from(vector)) else {
            return;
        };
        let masked = vector
            .state
            .try_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & MASKED != 0).then_some(state | PENDING)
            });
        if masked.is_err() {
            vector.signal();
        }
    }
}

impl Vector {
    fn signal(&self) {
        if let Some(event) = self.event.load().as_deref() {
            self.raised.fetch_add(1, Ordering::Relaxed);
            // A full counter is readable anyway.
            let _ = raise_event(event.as_fd());
        }
    }
}

/// Refuses what is not an eventfd, and makes writes to it not wait, where they are needed ([`raise_event`]).
fn check_event(event: &OwnedFd) -> io::Result<()> {
    let link = format!("/proc/self/fd/{}", event.as_raw_fd());
    let kind = rustix::fs::readlink(link, Vec::new())?;
    if kind.as_bytes() != b"anon_inode:[eventfd]" {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let flags = rustix::fs::fcntl_getfl(event.as_fd())?;
    if !flags.contains(OFlags::NONBLOCK) {
        rustix::fs::fcntl_setfl(event.as_fd(), flags | OFlags::NONBLOCK)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn taken(event: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::read(event, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    }

    #[test]
    fn vectors_reach_who_listens() {
        let table = IrqTable::new(2);
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        table.trigger(0);
        table.listen(0, Some(event.try_clone().unwrap())).unwrap();
        table.trigger(0);
        table.trigger(0);
        table.trigger(1);
        table.trigger(2);
        assert_eq!((taken(&event), table.raised(0), table.raised(1)), (2, 2, 0));
        table.listen(0, None).unwrap();
        table.trigger(0);
        assert_eq!(taken(&event), 0);
    }

    #[test]
    fn a_masked_vector_waits() {
        let table = IrqTable::new(1);
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        table.listen(0, Some(event.try_clone().unwrap())).unwrap();
        table.mask(0);
        table.trigger(0);
        table.trigger(0);
        assert_eq!(taken(&event), 0);
        table.unmask(0);
        assert_eq!(taken(&event), 1);
        table.unmask(0);
        assert_eq!(taken(&event), 0);
        table.mask(0);
        table.trigger(0);
        table.forget_pending();
        table.unmask(0);
        assert_eq!(taken(&event), 0);
    }

    #[test]
    fn only_events_are_written_to() {
        let table = IrqTable::new(1);
        let (_read, write) = rustix::pipe::pipe().unwrap();
        assert!(table.listen(0, Some(write)).is_err());
        // A full counter neither blocks nor fails, even when its owner makes writes to it wait again.
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        table.listen(0, Some(event.try_clone().unwrap())).unwrap();
        rustix::fs::fcntl_setfl(&event, OFlags::RDWR).unwrap();
        table.trigger(0);
        assert!(taken(&event) >= u64::MAX - 1);
    }

    #[test]
    fn many_interrupts_arrive_from_many_threads() {
        let table = IrqTable::new(2);
        let events = [0, 1].map(|vector| {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
            table.listen(vector, Some(event.try_clone().unwrap())).unwrap();
            event
        });
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let table = table.clone();
                std::thread::spawn(move || (0..5000).for_each(|_| table.trigger(thread % 2)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(events.each_ref().map(taken), [10_000, 10_000]);
        assert_eq!((table.raised(0), table.raised(1)), (10_000, 10_000));
    }
}
