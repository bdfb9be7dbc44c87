//! Instance types: how many interfaces, addresses and queues an instance may have, and how fast it may be.
//!
//! A table of types that people use, with EC2's own figures; the model enforces the limits on interfaces,
//! addresses and queues, a card may police to the allowances, and the rest is shown. CPU and memory are not
//! limited.

mod table;

use serde::{Deserialize, Serialize};
use trinic_switch::tables::{Allowances, Bandwidth};

pub use table::TYPES;

/// What is known of an instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// Name.
    pub name: &'static str,
    /// Architecture.
    pub architecture: Architecture,
    /// vCPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Network cards; all cards of a type are alike.
    pub network_cards: u32,
    /// Interfaces per network card.
    pub interfaces_per_card: u32,
    /// IPv4 addresses per interface, the primary one included.
    pub addresses_per_interface: u32,
    /// IPv6 addresses per interface; 0: the type has no IPv6.
    pub ipv6_addresses_per_interface: u32,
    /// NetworkPerformance of a card, in EC2's words.
    pub card_performance: &'static str,
    /// NetworkPerformance of all cards where it differs; else empty.
    pub total_performance: &'static str,
    /// What a card always carries, in Mbit/s.
    pub baseline_mbps: u32,
    /// What a card carries for a while, in Mbit/s.
    pub peak_mbps: u32,
    /// Whether there is an elastic network adapter.
    pub ena: EnaSupport,
    /// ENA queues of an interface unless its attachment says another number.
    pub ena_queues: u32,
    /// ENA queues of an interface at most; 0: the number cannot be changed.
    pub ena_queues_max: u32,
    /// ENA queues of all interfaces of a card at most; 0: the number cannot be changed.
    pub ena_queues_per_card: u32,
    /// Interfaces of type efa and efa-only at most.
    pub efa_interfaces: u32,
    /// Features.
    pub features: &'static [Feature],
}

/// Processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// x86_64.
    #[serde(rename = "x86_64")]
    X86,
    /// arm64.
    #[serde(rename = "arm64")]
    Arm64,
}

/// Whether a type has an elastic network adapter (ENA).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnaSupport {
    /// None: the traditional card only.
    Unsupported,
    /// For instances whose EnaSupport is on.
    Supported,
    /// There is no other card (types on Nitro), so EnaSupport must be on.
    Required,
}

/// What some types have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Of a previous generation.
    Previous,
    /// ENA Express (SRD).
    EnaExpress,
    /// Traffic between instances is encrypted.
    Encrypted,
    /// The balance between network and EBS bandwidth can be changed.
    Weighted,
    /// An idle TCP connection is tracked for 350 s by default, not for five days.
    ShortTracking,
}

impl Architecture {
    /// The text in responses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

impl EnaSupport {
    /// The text in responses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Supported => "supported",
            Self::Required => "required",
        }
    }
}

impl InstanceType {
    /// The type of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|t| t.name == name)
    }

    /// Interfaces per instance.
    pub const fn interfaces(&self) -> u32 {
        self.network_cards * self.interfaces_per_card
    }

    /// NetworkPerformance of the instance, in EC2's words.
    pub const fn performance(&self) -> &'static str {
        if self.total_performance.is_empty() {
            self.card_performance
        } else {
            self.total_performance
        }
    }

    /// Whether it has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Whether it is on Nitro, which has no other card than an ENA.
    pub fn is_nitro(&self) -> bool {
        self.ena == EnaSupport::Required
    }

    /// Whether the number of an interface's ENA queues can be changed.
    pub const fn has_flexible_queues(&self) -> bool {
        self.ena_queues_max > 0
    }

    /// ENA queue pairs of an interface: as its attachment says, else the type's, and not more than vCPUs.
    ///
    /// A driver asks for one pair a CPU at most. Source: [amzn-drivers kernel/linux/ena/ena_netdev.c,
    /// `ena_calc_max_io_queue_num`].
    pub fn queue_pairs(&self, asked: Option<u32>) -> u32 {
        asked.unwrap_or(self.ena_queues).min(self.vcpus).max(1)
    }

    /// What an interface may do, in figures that AWS publishes in part.
    ///
    /// Bandwidth is that of its card, the baseline at all times and the peak while there are credits
    /// [assumed A-35]. Packets: one for every 10,000 bit/s of the card's peak [assumed A-36]. Connections:
    /// 68,406 a vCPU [assumed A-37].
    pub fn allowances(&self) -> Allowances {
        let bandwidth = Bandwidth {
            baseline_bps: u64::from(self.baseline_mbps) * BITS_PER_MEGABIT,
            peak_bps: u64::from(self.peak_mbps) * BITS_PER_MEGABIT,
        };
        Allowances {
            bandwidth_in: Some(bandwidth),
            bandwidth_out: Some(bandwidth),
            packets_per_s: Some(bandwidth.peak_bps / PEAK_BITS_PER_PACKET),
            tracked_connections: Some(self.vcpus.saturating_mul(TRACKED_PER_VCPU)),
            link_local_packets_per_s: None,
        }
    }
}

/// The type of an instance whose launch names none.
///
/// Source: [AWS doc AWSEC2/latest/APIReference/API_RunInstances.html, 2026-11-23].
pub const DEFAULT_TYPE: &str = "m1.small";

const BITS_PER_MEGABIT: u64 = 1_000_000;
const PEAK_BITS_PER_PACKET: u64 = 10_000;
const TRACKED_PER_VCPU: u32 = 68_406;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> &'static InstanceType {
        InstanceType::find(name).unwrap()
    }

    #[test]
    fn names_are_unique_and_the_default_is_there() {
        let names: std::collections::BTreeSet<_> = TYPES.iter().map(|t| t.name).collect();
        assert_eq!(names.len(), TYPES.len());
        assert!(InstanceType::find(DEFAULT_TYPE).is_some());
    }

    #[test]
    fn limits_are_those_of_the_documentation() {
        let limits = |name| (find(name).interfaces(), find(name).addresses_per_interface);
        assert_eq!(limits("t3.nano"), (2, 2));
        assert_eq!(limits("c5.large"), (3, 10));
        assert_eq!(limits("c5.18xlarge"), (15, 50));
        assert_eq!(limits("p4d.24xlarge"), (60, 50));
    }

    #[test]
    fn figures_of_a_row_hold_together() {
        for t in TYPES {
            assert!(
                0 < t.baseline_mbps && t.baseline_mbps <= t.peak_mbps,
                "{}",
                t.name
            );
            assert!(t.ena_queues >= 1, "{}", t.name);
            let flexible = [t.ena_queues_max, t.ena_queues_per_card];
            assert!(
                flexible == [0, 0]
                    || t.ena_queues <= t.ena_queues_max && t.ena_queues_max <= t.ena_queues_per_card,
                "{}",
                t.name
            );
            let ipv6 = t.ipv6_addresses_per_interface;
            assert!(ipv6 == 0 || ipv6 == t.addresses_per_interface, "{}", t.name);
        }
    }

    #[test]
    fn queue_pairs_are_the_cpus_unless_the_type_or_the_attachment_says_less() {
        assert_eq!(find("t3.nano").queue_pairs(None), 2);
        assert_eq!(find("c5n.18xlarge").queue_pairs(None), 32);
        assert_eq!(find("c6i.32xlarge").queue_pairs(None), 8);
        assert_eq!(find("c6i.32xlarge").queue_pairs(Some(32)), 32);
        // A row with more queues than CPUs.
        assert_eq!(find("r4.large").queue_pairs(None), 2);
        assert_eq!(find("t2.nano").queue_pairs(None), 1);
    }

    #[test]
    fn allowances_follow_the_stated_rule() {
        let allowances = find("c5n.18xlarge").allowances();
        assert_eq!(allowances.bandwidth_in, Some(Bandwidth::steady(100_000_000_000)));
        assert_eq!(allowances.packets_per_s, Some(10_000_000));
        assert_eq!(allowances.tracked_connections, Some(72 * 68_406));
        let small = find("t3.nano").allowances();
        let bandwidth = Bandwidth {
            baseline_bps: 32_000_000,
            peak_bps: 5_000_000_000,
        };
        assert_eq!(small.bandwidth_out, Some(bandwidth));
        assert_eq!(small.packets_per_s, Some(500_000));
    }
}
