//! Replies, golden: every member of every reply, made from botocore's output shapes.
//!
//! tests/botocore/test_replies.py has botocore's own parser read the same golden files. After a
//! wanted change, `UPDATE_GOLDEN=1 cargo test -p trinic-ec2 --test encode` writes them anew.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a test reads and writes its golden files, and fails by panicking in its helpers too"
)]

use std::path::Path;

use serde_json::Value;
use trinic_ec2::actions::{ACTIONS, Action};
use trinic_ec2::error::ApiError;
use trinic_ec2::xml;
use trinic_vpc::reply::{DescribeInstanceAttributeResult, DescribeNetworkInterfaceAttributeResult, Reply};

const REQUEST_ID: &str = "59dbff89-35bd-4eac-99ed-be587EXAMPLE";

/// The full reply of an action, as its type in `trinic_vpc` holds it.
fn replies() -> Vec<(&'static Action, Value, Reply)> {
    let rows: Vec<Value> = include_str!("fixtures/replies.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    ACTIONS
        .iter()
        .map(
            |action| match rows.iter().find(|row| row["action"] == action.name) {
                None => (action, Value::Null, Reply::Done),
                Some(row) => {
                    let tagged = serde_json::json!({ (action.name): row["reply"] });
                    match serde_json::from_value(tagged) {
                        Ok(reply) => (action, row["reply"].clone(), reply),
                        // An action of which the model answers only success.
                        Err(error) if error.to_string().contains("unknown variant") => {
                            (action, Value::Null, Reply::Done)
                        }
                        Err(error) => panic!("{}: {error}", action.name),
                    }
                }
            },
        )
        .collect()
}

#[test]
fn replies_are_as_the_golden_files() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (action, _, reply) in replies() {
        let text = action.encode(&reply, REQUEST_ID).unwrap();
        check(
            &folder.join(format!("{}.xml", action.name)),
            &lines(&text),
            update,
        );
    }
    let error = ApiError::new("InvalidVpcID.NotFound", "The vpc ID 'vpc-<1>' does not exist");
    let text = xml::error(&error, REQUEST_ID);
    check(&folder.join("error.xml"), &lines(&text), update);
}

fn check(path: &Path, text: &str, update: bool) {
    if update {
        std::fs::write(path, text).expect("the golden folder can be written");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(golden, text, "{}", path.display());
}

/// One element a line; what stands between a start and its end stays as it is.
fn lines(xml: &str) -> String {
    let mut text = String::new();
    let mut opened = false;
    for part in xml.split_inclusive('>') {
        let starts_a_tag = part.starts_with('<') && !text.is_empty() && !text.ends_with('\n');
        let ends_an_empty_element = opened && part.starts_with("</");
        if starts_a_tag && !ends_an_empty_element {
            text.push('\n');
        }
        opened = !part.contains("</");
        text.push_str(part);
    }
    text.push('\n');
    text
}

#[test]
fn most_actions_answer_with_more_than_success() {
    let done: Vec<&str> = replies()
        .iter()
        .filter(|(_, _, reply)| *reply == Reply::Done)
        .map(|(action, _, _)| action.name)
        .collect();
    for name in [
        "CreateVpc",
        "RunInstances",
        "DescribeNetworkInterfaces",
        "AssignIpv6Addresses",
    ] {
        assert!(!done.contains(&name), "{name}");
    }
    assert!(done.contains(&"DeleteVpc") && done.len() < 30, "{done:?}");
}

#[test]
fn a_reply_has_only_members_that_the_api_has() {
    for (action, sample, reply) in replies() {
        if reply != Reply::Done {
            let ours = serde_json::to_value(&reply).unwrap();
            check_members(action.name, &sample, &ours[action.name]);
        }
    }
}

/// Every member that our type has must be in a sample with all of the API's members.
fn check_members(path: &str, sample: &Value, ours: &Value) {
    match (sample, ours) {
        (Value::Object(sample), Value::Object(ours)) => {
            for (name, value) in ours {
                let below = format!("{path}.{name}");
                let Some(sample) = sample.get(name) else {
                    panic!("{below} is not in the API");
                };
                assert!(!value.is_null(), "{below} is in the API under another type");
                check_members(&below, sample, value);
            }
        }
        (Value::Array(sample), Value::Array(ours)) => {
            assert_eq!(sample.len(), ours.len(), "{path}");
            for (sample, ours) in sample.iter().zip(ours) {
                check_members(path, sample, ours);
            }
        }
        _ => {}
    }
}

#[test]
fn groups_that_were_not_asked_for_are_no_empty_set() {
    for (action, reply) in [
        (
            "DescribeNetworkInterfaceAttribute",
            Reply::from(DescribeNetworkInterfaceAttributeResult::default()),
        ),
        (
            "DescribeInstanceAttribute",
            Reply::from(DescribeInstanceAttributeResult::default()),
        ),
    ] {
        let text = Action::find(action).unwrap().encode(&reply, REQUEST_ID).unwrap();
        assert!(!text.contains("groupSet"), "{text}");
    }
}

#[test]
fn another_actions_reply_is_an_internal_error() {
    let (_, _, reply) = replies()
        .into_iter()
        .find(|(action, _, _)| action.name == "CreateVpc")
        .unwrap();
    let action = Action::find("CreateSubnet").unwrap();
    let error = action.encode(&reply, REQUEST_ID).unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("InternalError", 500));
    assert!(
        !error.message.contains("CreateSubnet"),
        "the message is for the caller"
    );
}
