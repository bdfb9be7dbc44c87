//! What the commands that ask a running control have in common.

use serde::de::DeserializeOwned;

use super::Failure;
use crate::control::admin::{self, ClientError, Request};
use crate::state::StateDir;

/// Asks control; a missing control has its own exit code.
pub(super) fn ask(state: &StateDir, request: &Request) -> Result<serde_json::Value, Failure> {
    admin::request(state, request).map_err(|error| Failure {
        code: match error {
            ClientError::NotRunning { .. } => EXIT_NOT_RUNNING,
            _ => EXIT_FAILED,
        },
        error: error.into(),
    })
}

/// As [`ask`], for an answer of a known form.
pub(super) fn ask_for<T: DeserializeOwned>(state: &StateDir, request: &Request) -> Result<T, Failure> {
    Ok(serde_json::from_value(ask(state, request)?)?)
}

pub(super) const EXIT_FAILED: u8 = 1;
const EXIT_NOT_RUNNING: u8 = 3;
