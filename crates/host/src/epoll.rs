//! Waiting for many descriptors at once, being woken, and timers: a thin safe layer over epoll,
//! eventfd and timerfd. A wait of zero makes no thread sleep, for a datapath that polls under load.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

/// What to wait for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// Something to read (or the other side has gone).
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
    /// Tell each change once instead of as long as it lasts.
    pub edge: bool,
}

impl Interest {
    /// As long as there is something to read.
    pub const READ: Self = Self {
        readable: true,
        writable: false,
        edge: false,
    };
    /// Each time that something new is there to read.
    pub const READ_EDGE: Self = Self {
        readable: true,
        writable: false,
        edge: true,
    };
    /// As long as there is room to write.
    pub const WRITE: Self = Self {
        readable: false,
        writable: true,
        edge: false,
    };
    /// As long as there is something to read or room to write.
    pub const READ_WRITE: Self = Self {
        readable: true,
        writable: true,
        edge: false,
    };

    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.readable);
        flags.set(epoll::EventFlags::OUT, self.writable);
        flags.set(epoll::EventFlags::ET, self.edge);
        flags
    }
}

/// A descriptor that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The number that was given with the descriptor.
    pub token: u64,
    /// There is something to read, or reading tells that the other side has gone.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// The other side has gone, or the descriptor has an error.
    pub closed: bool,
}

/// A set of descriptors to wait for.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Adds a descriptor; `token` comes back when it is ready.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.fd,
            fd,
            epoll::EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Changes what a descriptor is waited for.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.fd,
            fd,
            epoll::EventData::new_u64(token),
            interest.flags(),
        )?)
    }

    /// Takes a descriptor out.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits until something is ready, at most `timeout` (`None`: for ever; zero: not at all), and puts
    /// it into `events`. Nothing is ready after an interrupting signal, as after the time has passed.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        // epoll_wait counts milliseconds up; longer than a day is as good as a day.
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs().min(86_400)).unwrap_or_default(),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        events.ready.clear();
        match epoll::wait(
            &self.fd,
            rustix::buffer::spare_capacity(&mut events.ready),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Room for what is ready, reused from wait to wait.
pub struct Events {
    ready: Vec<epoll::Event>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Events {
    /// Room for `most` descriptors a wait; others come with the next.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            ready: Vec::with_capacity(most.max(1)),
        }
    }

    /// What the last wait found.
    pub fn iter(&self) -> impl Iterator<Item = Ready> {
        self.ready.iter().map(|event| {
            let flags = event.flags;
            let closed = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            Ready {
                token: event.data.u64(),
                readable: closed || flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                closed,
            }
        })
    }

    /// Whether the last wait found nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

/// Wakes a thread that waits in a [`Poller`] from another thread.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// A waker that has not been used yet.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            fd: rustix::event::eventfd(0, flags)?,
        })
    }

    /// Makes the descriptor readable until [`Waker::clear`].
    pub fn wake(&self) {
        // The only failure is a full counter, and then the descriptor is readable anyway.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Takes the wake-ups back; whether there were any.
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0u8; 8]).is_ok()
    }

    /// A second handle, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
        })
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A descriptor that becomes readable at a time.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            fd: rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?,
        })
    }

    /// Sets the time as [`crate::clock::monotonic_ns`] counts it; one that has passed fires at once.
    /// `None` stops the timer.
    pub fn set(&self, deadline_ns: Option<u64>) -> io::Result<()> {
        // Zero would mean "stop", so the beginning of time is taken as one nanosecond later.
        let at = deadline_ns.map_or(0, |ns| ns.max(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at % 1_000_000_000).unwrap_or_default(),
        };
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Itimerspec {
            it_interval,
            it_value,
        };
        rustix::time::timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &value)?;
        Ok(())
    }

    /// Takes the readiness back; whether the timer had fired.
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic_ns;

    #[test]
    fn waker_wakes_until_cleared() {
        let (poller, waker, mut events) = (Poller::new().unwrap(), Waker::new().unwrap(), Events::new(4));
        poller.add(&waker, 7, Interest::READ).unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
        waker.try_clone().unwrap().wake();
        for _ in 0..2 {
            poller.wait(&mut events, None).unwrap();
            let ready: Vec<_> = events.iter().collect();
            assert_eq!(
                ready,
                [Ready {
                    token: 7,
                    readable: true,
                    writable: false,
                    closed: false
                }]
            );
        }
        assert!(waker.clear());
        assert!(!waker.clear());
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn edge_interest_tells_once_and_removed_descriptors_not_at_all() {
        let (poller, waker, mut events) = (Poller::new().unwrap(), Waker::new().unwrap(), Events::new(4));
        poller.add(&waker, 1, Interest::READ_EDGE).unwrap();
        waker.wake();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 1);
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().count(), 0);
        poller.modify(&waker, 2, Interest::READ_WRITE).unwrap();
        poller.wait(&mut events, None).unwrap();
        assert!(
            events
                .iter()
                .all(|ready| ready.token == 2 && ready.writable && ready.readable)
        );
        poller.remove(&waker).unwrap();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn timer_fires_at_its_time() {
        let (poller, timer, mut events) = (Poller::new().unwrap(), Timer::new().unwrap(), Events::new(4));
        poller.add(&timer, 1, Interest::READ).unwrap();
        let deadline = monotonic_ns() + 3_000_000;
        timer.set(Some(deadline)).unwrap();
        poller.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert!(monotonic_ns() >= deadline);
        assert!(timer.clear());
        timer.set(Some(0)).unwrap();
        poller.wait(&mut events, Some(Duration::from_secs(5))).unwrap();
        assert!(timer.clear());
        timer.set(Some(monotonic_ns() + 1_000_000)).unwrap();
        timer.set(None).unwrap();
        poller.wait(&mut events, Some(Duration::from_millis(5))).unwrap();
        assert!(events.is_empty());
    }
}
