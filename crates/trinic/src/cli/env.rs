//! `trinic env`: shell variables that point the AWS CLI and SDKs here.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, Output, print};
use crate::state::StateDir;

/// Arguments of `trinic env`.
#[derive(Debug, Args)]
#[command(
    after_help = "Any key is accepted; an access key id of 12 digits is the account.

Example:
  eval \"$(trinic env)\" && aws ec2 describe-vpcs"
)]
pub struct Arguments {
    /// Region: every one is a world of its own
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Account: 12 digits
    #[arg(long, value_parser = parse_account)]
    account: Option<String>,
    /// Print `unset` lines instead
    #[arg(long)]
    unset: bool,
}

pub(super) fn run(state: &StateDir, output: Output, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let endpoint = state
        .endpoint()
        .map_or_else(|| DEFAULT_ENDPOINT.to_owned(), |endpoint| endpoint.url);
    let variables = variables(&endpoint, arguments);
    match output {
        Output::Json => print::json(
            &variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
                .collect::<serde_json::Map<String, serde_json::Value>>(),
        )?,
        Output::Text => {
            let mut lines = String::new();
            for (name, value) in variables {
                // Writing to a string cannot fail.
                let _ = if arguments.unset {
                    writeln!(lines, "unset {name}")
                } else {
                    writeln!(lines, "export {name}='{value}'")
                };
            }
            print::text(&lines)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn variables(endpoint: &str, arguments: &Arguments) -> Vec<(&'static str, String)> {
    let region = arguments.region.replace('\'', "");
    let key = arguments.account.clone().unwrap_or_else(|| "test".into());
    vec![
        ("AWS_ENDPOINT_URL_EC2", endpoint.to_owned()),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
    ]
}

fn parse_account(text: &str) -> Result<String, String> {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(text.to_owned())
    } else {
        Err("an account id has 12 digits".into())
    }
}

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_is_twelve_digits() {
        assert!(parse_account("123456789012").is_ok());
        assert!(parse_account("12345678901").is_err());
        assert!(parse_account("12345678901x").is_err());
    }

    #[test]
    fn a_region_cannot_break_out_of_its_quotes() {
        let arguments = Arguments {
            region: "x'; rm -rf ~; '".into(),
            account: None,
            unset: false,
        };
        let all = variables("http://127.0.0.1:1", &arguments);
        assert!(all.iter().all(|(_, value)| !value.contains('\'')));
    }
}
