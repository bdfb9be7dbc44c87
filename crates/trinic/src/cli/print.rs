//! Output: text for people, JSON for programs, errors with their causes.

use std::io::{self, Write};

use serde::Serialize;

use super::{Failure, Output};

/// Prints lines to standard output. A closed pipe (`trinic ls | head`) is not an error.
pub(super) fn text(text: &str) -> io::Result<()> {
    ignore_closed(io::stdout().lock().write_all(text.as_bytes()))
}

/// Prints one JSON document to standard output.
pub(super) fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut document = serde_json::to_string_pretty(value)?;
    document.push('\n');
    text(&document)
}

/// Prints a line of progress to standard error.
pub(super) fn progress(line: &str) {
    // Nobody reads standard error: then there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints why a command failed: the error, then what caused it.
pub(super) fn failure(output: Output, failure: &Failure) {
    let causes: Vec<String> = failure.error.chain().skip(1).map(ToString::to_string).collect();
    match output {
        Output::Text => {
            let mut message = format!("trinic: {}", failure.error);
            for cause in causes {
                message.push_str(": ");
                message.push_str(&cause);
            }
            progress(&message);
        }
        Output::Json => progress(
            &serde_json::json!({
                "error": failure.error.to_string(),
                "causes": causes,
                "exit_code": failure.code,
            })
            .to_string(),
        ),
    }
}

fn ignore_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
