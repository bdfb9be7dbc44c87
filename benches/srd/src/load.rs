//! The load and the stopwatch, the same for both protocols: always so many messages outstanding, a new one for each that is acknowledged.

use std::time::Duration;

use serde_json::{Map, Value, json};
use trinic_host::clock::monotonic_ns;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Messages that are sent and not acknowledged.
    pub(crate) outstanding: usize,
    /// How long, after a fifth of that to warm up.
    pub(crate) seconds: Duration,
}

/// Times of messages, from being handed over to being acknowledged.
#[derive(Debug)]
pub(crate) struct Watch {
    size: usize,
    from: u64,
    pub(crate) until: u64,
    times: Vec<u64>,
    /// Messages that were acknowledged between `from` and `until`.
    within: u64,
    failed: u64,
}

impl Watch {
    pub(crate) fn start(load: &Load) -> Self {
        let length = nanos(load.seconds);
        let from = monotonic_ns() + length / 5;
        Self {
            size: load.size,
            from,
            until: from + length,
            times: Vec::with_capacity(1 << 20),
            within: 0,
            failed: 0,
        }
    }

    /// After the end nothing new is sent, but what is outstanding still counts: the slowest are among it.
    pub(crate) fn over(&self, now: u64) -> bool {
        now >= self.until
    }

    /// Whether what is still outstanding will not come.
    pub(crate) fn given_up(&self, now: u64) -> bool {
        now >= self.until + PATIENCE_NS
    }

    pub(crate) fn complete(&mut self, submitted: u64, now: u64) {
        if now < self.from {
            return;
        }
        self.times.push(now.saturating_sub(submitted));
        self.within += u64::from(now < self.until);
    }

    pub(crate) fn fail(&mut self) {
        self.failed += 1;
    }

    /// The figures; `more` says what else is known.
    pub(crate) fn report(mut self, more: Value) -> Value {
        self.times.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a rate is an approximation")]
        let (seconds, messages, size) = (
            (self.until - self.from) as f64 / 1e9,
            self.within as f64,
            self.size as f64,
        );
        let mut figures = Map::new();
        figures.insert("messages".into(), json!(self.within));
        figures.insert("failed".into(), json!(self.failed));
        figures.insert("messages_per_s".into(), json!(messages / seconds));
        figures.insert("goodput_mbyte_s".into(), json!(messages * size / seconds / 1e6));
        for (name, part) in [("p50_us", 500), ("p99_us", 990), ("p999_us", 999)] {
            figures.insert(name.into(), json!(self.quantile(part)));
        }
        figures.insert("more".into(), more);
        Value::Object(figures)
    }

    /// In microseconds; `part` is out of a thousand.
    fn quantile(&self, part: usize) -> Option<f64> {
        let at = self.times.len().checked_sub(1)? * part / 1_000;
        #[expect(clippy::cast_precision_loss, reason = "a time is an approximation")]
        self.times.get(at).map(|time| *time as f64 / 1e3)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How long after its end a run waits for messages.
const PATIENCE_NS: u64 = 5_000_000_000;
