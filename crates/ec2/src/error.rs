//! The errors of the EC2 face: the code a client matches on, the sentence a person reads, and what
//! is kept for the log alone.
//!
//! Source: [AWS EC2 API reference, "Error codes for the Amazon EC2 API", 2026-11]. An AWS client
//! retries on some codes and gives up on others, so the code matters more than the sentence.

use std::borrow::Cow;

use trinic_vpc::error::Ec2Error;

/// An error as an EC2 client sees it.
///
/// `code` and `message` go into the reply. `context` does not: it may say what a caller must not
/// learn (a path, another account's object), and is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The EC2 error code, for example `InvalidParameterValue`.
    pub code: Cow<'static, str>,
    /// The public sentence.
    pub message: String,
    /// What only the log gets.
    pub context: Option<String>,
    /// The HTTP status.
    pub status: u16,
}

impl ApiError {
    /// An error with a code and its public sentence; the status is the one that goes with the code.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            status: status_of(&code),
            code,
            message: message.into(),
            context: None,
        }
    }

    /// The same error with a private context for the log.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// `MissingParameter` for a parameter by name.
    pub(crate) fn missing(name: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    /// `InvalidParameterValue` for a value that is not of its parameter's type.
    pub(crate) fn invalid(name: &str, value: &str, expected: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!(
                "Value ({}) for parameter {name} is invalid. Expected {expected}.",
                excerpt(value)
            ),
        )
    }

    /// `UnknownParameter` for a name that the action does not have.
    pub(crate) fn unknown_parameter(name: &str) -> Self {
        Self::new(
            "UnknownParameter",
            format!("The parameter {} is not recognized", excerpt(name)),
        )
    }

    /// `MalformedQueryString` with the reason.
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::new("MalformedQueryString", reason)
    }
}

impl From<Ec2Error> for ApiError {
    fn from(error: Ec2Error) -> Self {
        Self {
            status: error.http_status(),
            code: error.code.as_str().into(),
            message: error.message,
            context: Some(error.context).filter(|context| !context.is_empty()),
        }
    }
}

/// The HTTP status of the codes that this crate and its server answer with.
///
/// Source: [AWS EC2 API reference, "Common client error codes", 2026-11]: a client's error is 400
/// unless the table there says otherwise.
fn status_of(code: &str) -> u16 {
    match code {
        "AuthFailure" => 401,
        "InvalidClientTokenId" | "MissingAuthenticationToken" | "SignatureDoesNotMatch" => 403,
        "RequestTimeout" => 408,
        "RequestEntityTooLarge" => 413,
        "InternalError" => 500,
        "Unavailable" => 503,
        _ => 400,
    }
}

/// At most the first 64 characters of a caller's text, so that an error stays one line.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(EXCERPT_CHARS) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

const EXCERPT_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_follows_the_code() {
        assert_eq!(ApiError::new("InvalidVpcID.NotFound", "x").status, 400);
        assert_eq!(ApiError::new("AuthFailure", "x").status, 401);
        assert_eq!(ApiError::new("SignatureDoesNotMatch", "x").status, 403);
        assert_eq!(ApiError::new("InternalError", "x").status, 500);
        assert_eq!(ApiError::new("Unavailable", "x").status, 503);
    }

    #[test]
    fn the_models_errors_keep_their_status() {
        let dry_run =
            Ec2Error::new(trinic_vpc::error::ErrorCode::DryRunOperation, "would have").with_context("why");
        let error = ApiError::from(dry_run);
        assert_eq!((error.status, error.code.as_ref()), (412, "DryRunOperation"));
        assert_eq!(error.context.as_deref(), Some("why"));
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let long = "é".repeat(100);
        let error = ApiError::invalid("Name", &long, "less");
        assert!(error.message.contains(&format!("{}…", "é".repeat(64))));
        assert!(!error.message.contains(&"é".repeat(65)));
    }
}
