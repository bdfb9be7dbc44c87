//! What the table of actions says about itself, as docs/support.md prints it.

use trinic_ec2::actions::{ACTIONS, Action, Support, Use};
use trinic_ec2::support::{page, support};

#[test]
fn the_page_has_every_action_of_the_api() {
    let page = page();
    for name in trinic_ec2::action_names() {
        let row = format!("| {name} |");
        let listed = page.split_whitespace().any(|word| word == name);
        assert!(
            listed && (support(name) == Some(Support::Absent)) != page.contains(&row),
            "{name}"
        );
    }
    assert!(page.lines().count() < 350);
}

#[test]
fn every_action_of_the_api_is_works_partial_or_absent() {
    let mut counts = [0; 3];
    for name in trinic_ec2::action_names() {
        match support(name).unwrap() {
            Support::Works => counts[0] += 1,
            Support::Partial => counts[1] += 1,
            Support::Absent => counts[2] += 1,
        }
    }
    assert_eq!(counts[0] + counts[1], ACTIONS.len());
    assert_eq!(counts.iter().sum::<usize>(), 830);
    assert_eq!(support("ListBuckets"), None);
}

#[test]
fn what_is_without_effect_is_in_the_api_and_has_no_effect() {
    for action in ACTIONS {
        let parameters = action.parameters();
        for prefix in action.without_effect {
            let below = format!("{prefix}.");
            let mut covered = parameters
                .iter()
                .filter(|(name, _)| name == prefix || name.starts_with(&below))
                .peekable();
            assert!(covered.peek().is_some(), "{} has no {prefix}", action.name);
            assert!(
                covered.all(|(_, use_)| *use_ == Use::WithoutEffect),
                "{} {prefix} acts",
                action.name
            );
        }
    }
    let run = Action::find("RunInstances").unwrap();
    assert_eq!(run.support(), Support::Partial);
}
