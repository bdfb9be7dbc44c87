//! The command line without a running card.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn trinic(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_trinic"))
        .env("TRINIC_STATE", dir.path())
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = trinic(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let help = stdout(&["--help"]);
    for command in [
        "up",
        "down",
        "ls",
        "stats",
        "trace",
        "exec",
        "console",
        "attach",
        "env",
        "card",
        "completion",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} is not listed"
        );
        let help = stdout(&[command, "--help"]);
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains("--output"), "{command}: {help}");
    }
    assert!(!help.contains("instance-init"), "{help}");
    assert!(help.contains("Exit codes"), "{help}");
}

#[test]
fn env_points_the_aws_cli_here() {
    let text = stdout(&["env", "--region", "eu-west-1", "--account", "123456789012"]);
    for line in [
        "export AWS_ENDPOINT_URL_EC2='http://127.0.0.1:4566'",
        "export AWS_ACCESS_KEY_ID='123456789012'",
        "export AWS_SECRET_ACCESS_KEY='test'",
        "export AWS_REGION='eu-west-1'",
        "export AWS_DEFAULT_REGION='eu-west-1'",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&stdout(&["env", "--output", "json"])).unwrap();
    assert_eq!(json["AWS_ACCESS_KEY_ID"], "test");
    assert!(stdout(&["env", "--unset"]).contains("unset AWS_ENDPOINT_URL_EC2\n"));
}

#[test]
fn completion_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&["completion", shell]).contains("stats"), "{shell}");
    }
}

#[test]
fn the_api_stays_on_loopback() {
    let output = trinic(&["up", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("not a loopback address"), "{error}");
}

#[test]
fn errors_are_one_json_document_when_asked_for() {
    let output = trinic(&["ls", "--output", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["exit_code"], 3);
    assert!(error["error"].as_str().unwrap().contains("trinic up"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    assert_eq!(trinic(&["attach", "eni-1"]).status.code(), Some(2));
    assert_eq!(
        trinic(&["attach", "eni-1", "--netns", "a", "--pid", "1"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(trinic(&["nonsense"]).status.code(), Some(2));
}
