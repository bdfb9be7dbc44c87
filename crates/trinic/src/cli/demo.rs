//! `trinic demo`: see [`crate::demo`].

use std::process::ExitCode;

use super::{Failure, Output};
use crate::demo;

pub(super) fn run(output: Output) -> Result<ExitCode, Failure> {
    demo::run(output == Output::Json)?;
    Ok(ExitCode::SUCCESS)
}
