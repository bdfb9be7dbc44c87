//! The errors of the EC2 face: the code a client matches on, the sentence a person reads, and what
//! is kept for the log alone.
//!
//! Source: [AWS EC2 API reference, "Error codes for the Amazon EC2 API", 2026-11]. An AWS client
//! retries on some codes and gives up on others, so the code matters more than the sentence.

use std::borrow::Cow;

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
}

impl ApiError {
    /// An error with a code and its public sentence.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
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

    /// The HTTP status that goes with the code.
    ///
    /// Source: [AWS EC2 API reference, "Common client error codes", 2026-11]: client errors are
    /// 400 unless the table there says otherwise; `DryRunOperation` is 412, as botocore's own
    /// waiters and the AWS CLI see it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code.as_ref() {
            "AuthFailure" => 401,
            "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "OptInRequired"
            | "Blocked"
            | "SignatureDoesNotMatch"
            | "UnauthorizedOperation" => 403,
            "DryRunOperation" => 412,
            "RequestEntityTooLarge" => 413,
            "MisdirectedRequest" => 421,
            "InternalError" | "InternalFailure" => 500,
            "UnsupportedOperation.Trinic" => 501,
            "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" | "InsufficientInstanceCapacity" => 503,
            _ => 400,
        }
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
        assert_eq!(ApiError::new("InvalidVpcID.NotFound", "x").status(), 400);
        assert_eq!(ApiError::new("AuthFailure", "x").status(), 401);
        assert_eq!(ApiError::new("SignatureDoesNotMatch", "x").status(), 403);
        assert_eq!(ApiError::new("DryRunOperation", "x").status(), 412);
        assert_eq!(ApiError::new("InternalError", "x").status(), 500);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let long = "é".repeat(100);
        let error = ApiError::invalid("Name", &long, "less");
        assert!(error.message.contains(&format!("{}…", "é".repeat(64))));
        assert!(!error.message.contains(&"é".repeat(65)));
    }
}
