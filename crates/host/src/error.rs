//! The one error type of this crate: which step of which task the kernel refused, and why.

use std::io;
use std::time::Duration;

/// What can go wrong when the kernel is asked for something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("Could not {what}")]
    Os {
        /// The step, as it completes "Could not …".
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Netlink answered a request with an error and said why.
    #[error("Could not {what}: the kernel says {message:?}")]
    Netlink {
        /// The step, as it completes "Could not …".
        what: String,
        /// The kernel's sentence (its extended acknowledgement).
        message: String,
        /// The error number.
        #[source]
        source: io::Error,
    },
    /// An argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The process is not there, or its number belongs to another one now.
    #[error("Process {pid} is gone")]
    Gone {
        /// The process id that was asked for.
        pid: u32,
    },
    /// Something did not happen in time.
    #[error("Waited {waited:?} for {what} in vain")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// The init of an instance could not set itself up.
    #[error("Instance {id} did not start: {reason}")]
    Instance {
        /// The instance.
        id: String,
        /// In one sentence.
        reason: String,
    },
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The operating system's error number, where there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Os { source, .. } | Self::Netlink { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The error with its causes in one line, for places that keep text only.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Adds the step that failed to an [`io::Error`].
pub(crate) trait Step<T> {
    /// `what` completes "Could not …".
    fn step(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Step<T> for std::result::Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Os {
            what: what(),
            source: error.into(),
        })
    }
}
