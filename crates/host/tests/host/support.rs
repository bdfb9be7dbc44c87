//! What the tests share: what the machine allows, and a way to leave a test out with a reason.

use std::panic::UnwindSafe;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use trinic_host::probe::{Finding, Probe};
use trinic_host::userns;

use crate::files::Kind;

/// What this machine and user allow.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) probe: Probe,
    /// Whether the process was started by an ordinary user.
    pub(crate) ordinary: bool,
}

impl Host {
    /// Probes the machine; an ordinary user's process then moves into a user namespace, as a card does.
    pub(crate) fn look() -> Self {
        let probe = Probe::run().unwrap();
        let ordinary = !probe.root;
        if ordinary && probe.user_namespaces.works() {
            userns::enter().unwrap();
        }
        Self { probe, ordinary }
    }

    /// A trial that runs when `need` works and is else reported as ignored, with the reason.
    pub(crate) fn trial(&self, name: &str, need: &Finding, test: fn()) -> Trial {
        self.trial_of(name, need, test)
    }

    fn trial_of(
        &self,
        name: &str,
        need: &Finding,
        test: impl FnOnce() + Send + UnwindSafe + 'static,
    ) -> Trial {
        let who = if self.ordinary { "as_user" } else { "as_root" };
        let trial = Trial::test(format!("{who}::{name}"), move || {
            std::panic::catch_unwind(test).map_err(|payload| {
                let text = payload
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Failed::from(text.unwrap_or_else(|| "panicked".into()))
            })
        });
        match &need.problem {
            Some(reason) => trial.with_ignored_flag(true).with_kind(format!("SKIP: {reason}")),
            None => trial,
        }
    }

    /// As [`Host::trial`] for tests that need nothing of the host.
    pub(crate) fn plain_trial(&self, name: &str, test: fn()) -> Trial {
        let none = Finding {
            problem: None,
            advice: None,
        };
        self.trial(name, &none, test)
    }

    /// As [`Host::trial`] for tests that a client's memory of some kind is for.
    pub(crate) fn file_trial(&self, name: &str, kind: Kind, test: fn(Kind)) -> Trial {
        let need = Finding {
            problem: kind.missing(),
            advice: None,
        };
        self.trial_of(name, &need, move || test(kind))
    }

    /// As [`Host::trial`] for tests that only root can run.
    pub(crate) fn root_trial(&self, name: &str, test: fn()) -> Trial {
        let problem = self.ordinary.then(|| "needs root".to_owned());
        self.trial(
            name,
            &Finding {
                problem,
                advice: None,
            },
            test,
        )
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
