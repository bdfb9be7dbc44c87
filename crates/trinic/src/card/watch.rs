//! Notices instances that end by themselves: one thread that waits on a descriptor of each.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::epoll;
use trinic_switch::tables::Id;

/// Which life of an instance: a stopped and started one is another.
pub type Incarnation = u64;

/// Waits for the ends of instances; cheap to clone.
#[derive(Debug, Clone)]
pub struct Watch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    epoll: OwnedFd,
    watched: Mutex<HashMap<Incarnation, (Id, OwnedFd)>>,
}

impl Watch {
    /// Starts the thread; `ended` is called there, once for each watched instance that ends.
    ///
    /// # Errors
    ///
    /// When the kernel gives no thread or descriptor.
    pub fn start(ended: impl Fn(Id, Incarnation) + Send + 'static) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            watched: Mutex::default(),
        });
        let seen = inner.clone();
        std::thread::Builder::new().name("watch".into()).spawn(move || {
            if let Err(error) = seen.run(&ended) {
                tracing::error!(%error, "Ends of instances are not noticed any more");
            }
        })?;
        Ok(Self { inner })
    }

    /// Watches a descriptor that is readable at the end of this life of the instance.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be watched.
    pub fn add(&self, id: Id, incarnation: Incarnation, fd: OwnedFd) -> io::Result<()> {
        let mut watched = self.inner.lock();
        let data = epoll::EventData::new_u64(incarnation);
        epoll::add(&self.inner.epoll, &fd, data, epoll::EventFlags::IN)?;
        watched.insert(incarnation, (id, fd));
        Ok(())
    }

    /// Forgets an instance that was ended on purpose.
    pub fn remove(&self, incarnation: Incarnation) {
        self.inner.forget(incarnation);
    }
}

impl Inner {
    fn run(&self, ended: &impl Fn(Id, Incarnation)) -> io::Result<()> {
        loop {
            let mut events = [MaybeUninit::<epoll::Event>::uninit(); 16];
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, None) {
                Ok(ready) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &*ready {
                let incarnation = event.data.u64();
                if let Some(id) = self.forget(incarnation) {
                    ended(id, incarnation);
                }
            }
        }
    }

    fn forget(&self, incarnation: Incarnation) -> Option<Id> {
        let (id, fd) = self.lock().remove(&incarnation)?;
        // Closing alone does not take a descriptor out of epoll while a copy of it is open elsewhere.
        let _ = epoll::delete(&self.epoll, fd.as_fd());
        Some(id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Incarnation, (Id, OwnedFd)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn an_end_is_told_once_and_a_removed_one_never() {
        let (sender, ends) = mpsc::channel();
        let watch = Watch::start(move |id, incarnation| sender.send((id, incarnation)).unwrap()).unwrap();
        let mut children: Vec<_> = (0..2)
            .map(|_| Command::new("sleep").arg("60").spawn().unwrap())
            .collect();
        for (child, incarnation) in children.iter().zip(7..) {
            let pid = Pid::from_child(child);
            let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            watch
                .add(format!("i-{incarnation}").into(), incarnation, fd)
                .unwrap();
        }
        watch.remove(8);
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(
            ends.recv_timeout(Duration::from_secs(10)).unwrap(),
            ("i-7".into(), 7)
        );
        assert!(ends.recv_timeout(Duration::from_millis(50)).is_err());
    }
}
