//! The support page's table of actions, rendered from [`crate::actions`], so that the page cannot
//! say what the code does not do.

use std::fmt::Write as _;

use crate::actions::{ACTIONS, Action, Support, Use, by_name};
use crate::model::action_names;

/// How much of an action there is, by name; `None` for a name that is no action.
#[must_use]
pub fn support(name: &str) -> Option<Support> {
    match by_name().get(name) {
        Some(action) => Some(action.support()),
        None => crate::model::is_action(name).then_some(Support::Absent),
    }
}

/// The generated part of docs/support.md: a table of the actions that trinic has, and the names of
/// those it lacks.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "A refused parameter answers `UnsupportedOperation` and the call changes nothing. One taken without \
         effect is checked for its type and then ignored: scripts written for EC2 carry it, and nothing here \
         depends on it. A parameter or action that the API does not have answers `UnknownParameter` or \
         `InvalidAction`.\n\n\
         | action | support | refused parameters | taken without effect | note |\n|---|---|---|---|---|\n",
    );
    for action in ACTIONS {
        let support = match action.support() {
            Support::Works => "works",
            Support::Partial => "partial",
            Support::Absent => "absent",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | {support} | {} | {} | {} |",
            action.name,
            names(action, Use::Refused),
            names(action, Use::WithoutEffect),
            action.note
        );
    }
    let absent: Vec<&str> = action_names()
        .filter(|name| !by_name().contains_key(name))
        .collect();
    let _ = write!(
        page,
        "\nThe other {} actions of the API are absent and answer `UnsupportedOperation`:\n\n",
        absent.len()
    );
    let mut line = String::new();
    for name in absent {
        if line.len() + name.len() > LINE_BYTES {
            page.push_str(line.trim_end());
            page.push('\n');
            line.clear();
        }
        line.push_str(name);
        line.push(' ');
    }
    page.push_str(line.trim_end());
    page.push('\n');
    page
}

/// The top-level parameters of one use; below them, only where a part has another use.
fn names(action: &Action, wanted: Use) -> String {
    let parameters = action.parameters();
    let mut shown: Vec<String> = Vec::new();
    for (name, use_) in parameters.iter().filter(|(_, use_)| *use_ == wanted) {
        let short = shortest_prefix(name, *use_, &parameters);
        if shown.last() != Some(&short) {
            shown.push(short);
        }
    }
    let quoted: Vec<String> = shown.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The shortest prefix of a name whose parameters are all used alike.
fn shortest_prefix(name: &str, use_: Use, parameters: &[(String, Use)]) -> String {
    let ends = name.match_indices('.').map(|(at, _)| at);
    for end in ends {
        let prefix = &name[..=end];
        let alike = parameters
            .iter()
            .filter(|(other, _)| other.starts_with(prefix))
            .all(|(_, other)| *other == use_);
        if alike {
            return name[..end].to_owned();
        }
    }
    name.to_owned()
}

const LINE_BYTES: usize = 160;
