//! Many seeds, and the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `scenario` with the seeds from 0 to `count`. If it panics, says with which seed and lets the panic go on.
///
/// The environment changes what runs: `TRINIC_SIM_SEEDS` is another count, and `TRINIC_SIM_SEED` is the one seed to
/// run again.
pub fn for_each_seed(count: u64, mut scenario: impl FnMut(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("TRINIC_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRINIC_SIM_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            #[expect(
                clippy::print_stderr,
                reason = "a failed test must say its seed, whatever it printed"
            )]
            {
                eprintln!("seed {seed} failed; TRINIC_SIM_SEED={seed} runs it alone");
            }
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_seeds_run_and_a_panic_ends_it() {
        let mut seen = Vec::new();
        let result = catch_unwind(AssertUnwindSafe(|| {
            for_each_seed(10, |seed| {
                seen.push(seed);
                assert_ne!(seed, 3);
            });
        }));
        // With one seed or another count from the environment there is nothing to compare.
        if std::env::vars().all(|(name, _)| !name.starts_with("TRINIC_SIM_SEED")) {
            assert!(result.is_err());
            assert_eq!(seen, [0, 1, 2, 3]);
        }
    }
}
