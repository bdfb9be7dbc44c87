//! The connection to control: one at a time, the newest wins.
//!
//! Reports go out through the [`Outbox`] from any thread. What is reported while no control is connected is
//! lost on purpose: a new control's snapshot makes the card report everything again.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trinic_host::peer::check_peer;

use crate::framing;
use crate::protocol::{FromCard, ToCard};

/// How long a write to control may take before the connection is given up: control reads all the time,
/// so one that does not is stuck or stopped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where reports go.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    stream: Arc<Mutex<Option<UnixStream>>>,
}

impl Outbox {
    /// Sends a message to control, if one is connected.
    pub fn send(&self, message: &FromCard) {
        let mut stream = self.lock();
        let Some(open) = stream.as_mut() else { return };
        if let Err(error) = framing::write(open, message) {
            tracing::warn!(%error, "Control does not take reports; its connection is closed");
            // The reader of this connection sees the end and the next control brings a snapshot.
            let _ = open.shutdown(std::net::Shutdown::Both);
            *stream = None;
        }
    }

    /// Ends the connection; control comes back with a snapshot.
    pub fn close(&self) {
        if let Some(stream) = self.lock().take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnixStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, next: UnixStream) {
        if let Some(old) = self.lock().replace(next) {
            // A control that was replaced must not go on: its reader ends here.
            let _ = old.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Opens the card's socket, private to its owner; a socket left by a dead card is replaced.
///
/// # Errors
///
/// When the path cannot be bound.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Accepts controls for ever, but none from within an instance. `hello` is sent first on each connection; `handle` gets each message and
/// says whether to go on.
///
/// # Errors
///
/// When the listener itself fails.
pub fn serve(
    listener: &UnixListener,
    outbox: &Outbox,
    hello: impl Fn() -> FromCard,
    handle: impl Fn(ToCard) + Send + Clone + 'static,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        if let Err(fault) = check_peer(&stream) {
            // Whoever is refused may come back at any rate, so the log does not grow by it.
            tracing::debug!(%fault, "A connection to the card's socket is refused");
            continue;
        }
        if let Err(error) = open(stream, outbox, &hello(), handle.clone()) {
            tracing::warn!(%error, "A control could not be served");
        }
    }
}

fn open(
    stream: UnixStream,
    outbox: &Outbox,
    hello: &FromCard,
    handle: impl Fn(ToCard) + Send + 'static,
) -> anyhow::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut reader = io::BufReader::new(stream.try_clone()?);
    // The hello is on its way before any report can be.
    framing::write(&mut &stream, hello)?;
    outbox.replace(stream);
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            loop {
                match framing::read::<ToCard>(&mut reader) {
                    Ok(Some(message)) => handle(message),
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(%error, "Connection to control ended");
                        let _ = reader.get_ref().shutdown(std::net::Shutdown::Both);
                        return;
                    }
                }
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use trinic_switch::tables::Revision;

    use super::*;
    use crate::protocol::{Backend, PROTOCOL};

    fn hello() -> FromCard {
        FromCard::Hello {
            pid: 7,
            version: "0".into(),
            protocol: PROTOCOL,
            backend: Backend::Namespace,
            backend_reason: None,
            revision: Revision(0),
        }
    }

    #[test]
    fn the_newest_control_wins_and_gets_the_reports() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.sock");
        let listener = listen(&path).unwrap();
        let outbox = Outbox::default();
        let (sender, messages) = mpsc::channel();
        let server = outbox.clone();
        std::thread::spawn(move || {
            serve(&listener, &server, hello, move |message| {
                sender.send(message).unwrap();
            })
        });
        let mut first = UnixStream::connect(&path).unwrap();
        assert!(framing::read::<FromCard>(&mut first).unwrap().is_some());
        let mut second = UnixStream::connect(&path).unwrap();
        assert!(framing::read::<FromCard>(&mut second).unwrap().is_some());
        // The first one is closed from the card's side once the second is in.
        assert!(framing::read::<FromCard>(&mut first).unwrap().is_none());
        framing::write(
            &mut second,
            &ToCard::Shutdown {
                stop_instances: false,
            },
        )
        .unwrap();
        assert!(matches!(messages.recv().unwrap(), ToCard::Shutdown { .. }));
        outbox.send(&FromCard::Applied {
            revision: Revision(3),
        });
        let report: FromCard = framing::read(&mut second).unwrap().unwrap();
        assert!(matches!(
            report,
            FromCard::Applied {
                revision: Revision(3)
            }
        ));
    }
}
