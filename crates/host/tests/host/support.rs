//! What the tests share: what the machine allows, and a way to leave a test out with a reason.

use std::process::Command;

use libtest_mimic::{Failed, Trial};

/// What this machine and user allow.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) root: bool,
}

impl Host {
    pub(crate) fn look() -> Self {
        Self {
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// A trial that runs when `missing` is `None` and is else reported as ignored, with the reason.
    pub(crate) fn trial(name: &str, missing: Option<&str>, test: fn()) -> Trial {
        let trial = Trial::test(name, move || {
            std::panic::catch_unwind(test).map_err(|payload| {
                let text = payload
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Failed::from(text.unwrap_or_else(|| "panicked".into()))
            })
        });
        match missing {
            Some(reason) => trial.with_ignored_flag(true).with_kind(format!("SKIP: {reason}")),
            None => trial,
        }
    }
}

/// Output of a command, which must succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
