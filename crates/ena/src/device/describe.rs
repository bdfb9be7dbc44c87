//! The function as an operator sees it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Device;
use super::layout;
use crate::spec::admin::Direction;
use crate::spec::host_info::{Bdf, DriverVersion, HostInfo, OsType};
use crate::spec::registers::ResetReason;

/// How far a driver is with the function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverState {
    /// Nobody has touched it since power-on, or the driver has left it.
    #[default]
    NoDriver,
    /// A driver sets it up.
    Probing,
    /// A driver listens to its events or has queues.
    Running,
    /// A driver has reset it and not begun again.
    Reset,
}

/// What is known of a function and its driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// How far the driver is.
    pub driver: DriverState,
    /// Bus, device and function as the driver sees them, if it said so.
    pub bdf: Option<String>,
    /// What else the driver said of itself.
    pub host: Option<HostDescription>,
    /// MAC address.
    pub mac: String,
    /// The driver's MTU, bytes.
    pub mtu: u32,
    /// The link is up.
    pub link_is_up: bool,
    /// Most queue pairs that the driver can make.
    pub max_queue_pairs: u16,
    /// MSI-X vectors.
    pub vectors: u16,
    /// Transmit queues that exist.
    pub tx_queues: Vec<QueueDescription>,
    /// Receive queues that exist.
    pub rx_queues: Vec<QueueDescription>,
    /// Keep-alive events written since power-on.
    pub keep_alives: u64,
    /// The device has said that it failed.
    pub has_failed: bool,
    /// Resets by the driver since power-on, by reason; those that never happened are left out.
    pub resets: Vec<ResetCount>,
    /// The last of them.
    pub last_reset: Option<&'static str>,
    /// Resets by the bus.
    pub bus_resets: u64,
    /// What the device refused, by the name of the reason; those that never happened are left out.
    pub refusals: BTreeMap<&'static str, u64>,
}

/// What a driver says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostDescription {
    /// Operating system.
    pub os: String,
    /// Its distribution (Linux: the kernel's release).
    pub distribution: String,
    /// Its kernel (Linux: which build of it).
    pub kernel: String,
    /// Version of the driver.
    pub driver_version: String,
    /// Processors of the instance.
    pub cpu_count: u16,
}

/// A queue of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueDescription {
    /// Its number among those of its direction.
    pub index: u16,
    /// Its entries.
    pub depth: u16,
    /// It is pushed into the device.
    pub is_llq: bool,
    /// Its completion queue.
    pub cq_index: u16,
    /// The vector that raises its interrupts, if it has any.
    pub vector: Option<u16>,
}

/// How often a driver reset the device for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResetCount {
    /// The reason's number.
    pub code: u8,
    /// The reason in words.
    pub reason: &'static str,
    /// The driver blames the device.
    pub blames_device: bool,
    /// How often.
    pub count: u64,
}

/// Resets since power-on.
#[derive(Debug, Default)]
pub(super) struct ResetLog {
    pub(super) state: DriverState,
    pub(super) bus: u64,
    /// By reason, which has 8 bits.
    counts: BTreeMap<u8, u64>,
    last: Option<ResetReason>,
}

impl ResetLog {
    pub(super) fn add(&mut self, reason: ResetReason) {
        *self.counts.entry(reason.0).or_insert(0) += 1;
        self.last = Some(reason);
    }

    fn counts(&self) -> Vec<ResetCount> {
        let count = |(code, count): (&u8, &u64)| ResetCount {
            code: *code,
            reason: words(ResetReason(*code)),
            blames_device: ResetReason(*code).blames_device(),
            count: *count,
        };
        self.counts.iter().map(count).collect()
    }
}

impl<M, I, L> Device<M, I, L> {
    /// The function as it is now.
    pub fn describe(&self) -> Description {
        let info = self.features.host_info();
        Description {
            driver: self.resets.state,
            bdf: info.and_then(bdf),
            host: info.map(host),
            mac: mac(self.config.mac),
            mtu: self.features.mtu(),
            link_is_up: self.events.link_is_up(),
            max_queue_pairs: self.config.queue_pairs,
            vectors: layout::vector_count(self.config.queue_pairs),
            tx_queues: self.describe_queues(Direction::TX),
            rx_queues: self.describe_queues(Direction::RX),
            keep_alives: self.events.keep_alives,
            has_failed: self.status.fatal_error(),
            resets: self.resets.counts(),
            last_reset: self.resets.last.map(words),
            bus_resets: self.resets.bus,
            refusals: self
                .refusals
                .met()
                .map(|(refusal, count)| (refusal.name(), count))
                .collect(),
        }
    }

    fn describe_queues(&self, direction: Direction) -> Vec<QueueDescription> {
        let queues = self.queues.submissions(direction);
        queues
            .map(|(index, queue)| QueueDescription {
                index,
                depth: queue.depth,
                is_llq: queue.is_llq,
                cq_index: queue.cq_index,
                vector: self.queues.completions(queue.cq_index).and_then(|cq| cq.vector),
            })
            .collect()
    }
}

fn words(reason: ResetReason) -> &'static str {
    reason.name().unwrap_or("unknown")
}

/// DPDK leaves it 0 (`ena_config_host_info`, `ena_ethdev.c`), which is where a machine has its host bridge.
fn bdf(info: &HostInfo) -> Option<String> {
    let bdf = info.bdf.get();
    (bdf != 0).then(|| Bdf::from_bits(bdf).to_string())
}

fn host(info: &HostInfo) -> HostDescription {
    HostDescription {
        os: OsType(info.os_type.get()).to_string(),
        distribution: info.os_distribution(),
        kernel: info.kernel(),
        driver_version: DriverVersion::from_bits(info.driver_version.get()).to_string(),
        cpu_count: info.cpu_count.get(),
    }
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
