//! Decoding, against what botocore's own serializer sends for every parameter of every action.

use serde_json::Value;
use trinic_ec2::actions::{ACTIONS, Action, Use};
use trinic_ec2::error::ApiError;
use trinic_ec2::query::Parameters;
use trinic_vpc::command::Command;

/// The bodies of the fixtures: action, and its parameters as `(name, encoded value)`.
fn bodies() -> Vec<(&'static Action, Vec<(String, String)>)> {
    include_str!("fixtures/requests.jsonl")
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("a JSON line");
            let action = Action::find(row["action"].as_str().expect("a name")).expect("has a row");
            let body = row["body"].as_str().expect("a body");
            let pairs = body
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(name, _)| !matches!(*name, "Action" | "Version"))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            (action, pairs)
        })
        .collect()
}

fn decode(action: &Action, pairs: &[&(String, String)]) -> Result<Command, ApiError> {
    let body: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut parameters = Parameters::default();
    parameters.parse(body.join("&").as_bytes())?;
    action.decode(&parameters)
}

/// A name with `N` for every index.
fn pattern(name: &str) -> String {
    let parts: Vec<&str> = name
        .split('.')
        .map(|part| if part.parse::<u32>().is_ok() { "N" } else { part })
        .collect();
    parts.join(".")
}

fn use_of(action: &Action, name: &str) -> Use {
    let pattern = pattern(name);
    let parameters = action.parameters();
    let found = parameters.iter().find(|(have, _)| *have == pattern);
    found.expect("botocore sends only what the model has").1
}

#[test]
fn every_action_has_a_fixture_and_parameters() {
    let names: Vec<&str> = bodies().iter().map(|(action, _)| action.name).collect();
    let rows: Vec<&str> = ACTIONS.iter().map(|action| action.name).collect();
    assert_eq!(names, rows, "run model/generate.py after adding an action");
    assert!(ACTIONS.is_sorted_by_key(|action| action.name));
    for action in ACTIONS {
        assert!(!action.parameters().is_empty(), "{}", action.name);
    }
}

#[test]
fn a_parameter_acts_exactly_when_the_table_says_so() {
    for (action, pairs) in bodies() {
        let taken: Vec<&(String, String)> = pairs
            .iter()
            .filter(|(name, _)| use_of(action, name) != Use::Refused)
            .collect();
        let whole = decode(action, &taken).unwrap_or_else(|error| panic!("{}: {error}", action.name));
        assert_eq!(whole.action(), action.name);
        for (at, (name, _)) in taken.iter().enumerate() {
            let mut without = taken.clone();
            without.remove(at);
            let changed = decode(action, &without);
            match use_of(action, name) {
                Use::Acted => assert_ne!(changed, Ok(whole.clone()), "{} {name}", action.name),
                Use::WithoutEffect => {
                    let same = changed.is_ok_and(|command| command == whole);
                    assert!(same || missing(action, &without), "{} {name}", action.name);
                }
                Use::Refused => {}
            }
        }
    }
}

/// Whether a request fails because a required part of something without effect is gone.
fn missing(action: &Action, pairs: &[&(String, String)]) -> bool {
    decode(action, pairs).is_err_and(|error| error.code == "MissingParameter")
}

#[test]
fn a_refused_parameter_is_named() {
    let mut refused = 0;
    for (action, pairs) in bodies() {
        let taken: Vec<&(String, String)> = pairs
            .iter()
            .filter(|(name, _)| use_of(action, name) != Use::Refused)
            .collect();
        for pair in pairs
            .iter()
            .filter(|(name, _)| use_of(action, name) == Use::Refused)
        {
            let mut with = taken.clone();
            with.push(pair);
            let error = decode(action, &with).unwrap_err();
            if error.code == "MissingParameter" {
                continue;
            }
            assert_eq!(error.code, "UnsupportedOperation", "{} {}", action.name, pair.0);
            let top = pair.0.split('.').next().unwrap();
            assert!(error.message.contains(top) && error.message.contains("docs/support.md"));
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[test]
fn dry_run_reaches_the_command() {
    for action in ACTIONS {
        if !action.parameters().iter().any(|(name, _)| name == "DryRun") {
            continue;
        }
        let (_, pairs) = bodies().into_iter().find(|(have, _)| have == &action).unwrap();
        let mut pairs: Vec<(String, String)> = pairs
            .into_iter()
            .filter(|(name, _)| use_of(action, name) != Use::Refused && name != "DryRun")
            .collect();
        pairs.push(("DryRun".into(), "true".into()));
        let all: Vec<&(String, String)> = pairs.iter().collect();
        assert!(decode(action, &all).unwrap().dry_run(), "{}", action.name);
    }
}

#[test]
fn actions_are_told_apart() {
    assert_eq!(Action::find("CreateVpc").unwrap().name, "CreateVpc");
    let lacking = Action::find("CreateVolume").unwrap_err();
    assert_eq!(lacking.code, "UnsupportedOperation");
    assert!(lacking.message.contains("docs/support.md"));
    for name in ["createVpc", "CreateVpcs", "ListBuckets", "", "\n"] {
        assert_eq!(Action::find(name).unwrap_err().code, "InvalidAction", "{name}");
    }
}
