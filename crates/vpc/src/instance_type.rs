//! Instance types: how many interfaces and addresses an instance may have.
//!
//! A small table of types that people use, with EC2's own figures; a card enforces the interface and
//! address limits and shows the rest. It does not limit an instance's CPU or memory.
//!
//! Source: [AWS doc AWSEC2/latest/UserGuide/AvailableIpPerENI.html, 2026-11-23] for the limits,
//! [AWS doc ec2/latest/instancetypes, 2026-11-23] for CPUs and memory.

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
    /// Network cards.
    pub network_cards: u32,
    /// Interfaces per network card.
    pub interfaces_per_card: u32,
    /// IPv4 addresses per interface, the primary one included; as many IPv6 addresses again.
    pub addresses_per_interface: u32,
    /// Whether it takes interfaces of type efa.
    pub efa: bool,
}

/// Processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86_64.
    X86,
    /// arm64.
    Arm64,
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

impl InstanceType {
    /// The type of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TYPES.iter().find(|t| t.name == name)
    }

    /// Interfaces per instance.
    pub const fn interfaces(&self) -> u32 {
        self.network_cards * self.interfaces_per_card
    }
}

/// The type of an instance whose launch names none.
///
/// Source: [AWS doc AWSEC2/latest/APIReference/API_RunInstances.html, 2026-11-23].
pub const DEFAULT_TYPE: &str = "m1.small";

#[expect(clippy::too_many_arguments, reason = "one row of the table below")]
const fn t(
    name: &'static str,
    architecture: Architecture,
    vcpus: u32,
    memory_mib: u32,
    network_cards: u32,
    interfaces_per_card: u32,
    addresses_per_interface: u32,
    efa: bool,
) -> InstanceType {
    InstanceType {
        name,
        architecture,
        vcpus,
        memory_mib,
        network_cards,
        interfaces_per_card,
        addresses_per_interface,
        efa,
    }
}

use Architecture::{Arm64, X86};

/// The table: name, architecture, vCPUs, MiB, network cards, interfaces per card, addresses, EFA.
pub const TYPES: &[InstanceType] = &[
    t("m1.small", X86, 1, 1740, 1, 2, 4, false),
    t("t2.nano", X86, 1, 512, 1, 2, 2, false),
    t("t2.micro", X86, 1, 1024, 1, 2, 2, false),
    t("t2.small", X86, 1, 2048, 1, 3, 4, false),
    t("t2.medium", X86, 2, 4096, 1, 3, 6, false),
    t("t2.large", X86, 2, 8192, 1, 3, 12, false),
    t("t2.xlarge", X86, 4, 16384, 1, 3, 15, false),
    t("t2.2xlarge", X86, 8, 32768, 1, 3, 15, false),
    t("t3.nano", X86, 2, 512, 1, 2, 2, false),
    t("t3.micro", X86, 2, 1024, 1, 2, 2, false),
    t("t3.small", X86, 2, 2048, 1, 3, 4, false),
    t("t3.medium", X86, 2, 4096, 1, 3, 6, false),
    t("t3.large", X86, 2, 8192, 1, 3, 12, false),
    t("t3.xlarge", X86, 4, 16384, 1, 4, 15, false),
    t("t3.2xlarge", X86, 8, 32768, 1, 4, 15, false),
    t("t3a.nano", X86, 2, 512, 1, 2, 2, false),
    t("t3a.micro", X86, 2, 1024, 1, 2, 2, false),
    t("t3a.small", X86, 2, 2048, 1, 2, 4, false),
    t("t3a.medium", X86, 2, 4096, 1, 3, 6, false),
    t("t3a.large", X86, 2, 8192, 1, 3, 12, false),
    t("t3a.xlarge", X86, 4, 16384, 1, 4, 15, false),
    t("t3a.2xlarge", X86, 8, 32768, 1, 4, 15, false),
    t("t4g.nano", Arm64, 2, 512, 1, 2, 2, false),
    t("t4g.micro", Arm64, 2, 1024, 1, 2, 2, false),
    t("t4g.small", Arm64, 2, 2048, 1, 3, 4, false),
    t("t4g.medium", Arm64, 2, 4096, 1, 3, 6, false),
    t("t4g.large", Arm64, 2, 8192, 1, 3, 12, false),
    t("t4g.xlarge", Arm64, 4, 16384, 1, 4, 15, false),
    t("t4g.2xlarge", Arm64, 8, 32768, 1, 4, 15, false),
    t("m5.large", X86, 2, 8192, 1, 3, 10, false),
    t("m5.xlarge", X86, 4, 16384, 1, 4, 15, false),
    t("m5.2xlarge", X86, 8, 32768, 1, 4, 15, false),
    t("m5.4xlarge", X86, 16, 65536, 1, 8, 30, false),
    t("m5.8xlarge", X86, 32, 131072, 1, 8, 30, false),
    t("m5.12xlarge", X86, 48, 196608, 1, 8, 30, false),
    t("m5.16xlarge", X86, 64, 262144, 1, 15, 50, false),
    t("m5.24xlarge", X86, 96, 393216, 1, 15, 50, false),
    t("m6i.large", X86, 2, 8192, 1, 3, 10, false),
    t("m6i.xlarge", X86, 4, 16384, 1, 4, 15, false),
    t("m6i.2xlarge", X86, 8, 32768, 1, 4, 15, false),
    t("m6i.4xlarge", X86, 16, 65536, 1, 8, 30, false),
    t("m6i.8xlarge", X86, 32, 131072, 1, 8, 30, false),
    t("m6i.32xlarge", X86, 128, 524288, 1, 15, 50, true),
    t("m6g.medium", Arm64, 1, 4096, 1, 2, 4, false),
    t("m6g.large", Arm64, 2, 8192, 1, 3, 10, false),
    t("m6g.xlarge", Arm64, 4, 16384, 1, 4, 15, false),
    t("m6g.2xlarge", Arm64, 8, 32768, 1, 4, 15, false),
    t("m6g.4xlarge", Arm64, 16, 65536, 1, 8, 30, false),
    t("c5.large", X86, 2, 4096, 1, 3, 10, false),
    t("c5.xlarge", X86, 4, 8192, 1, 4, 15, false),
    t("c5.2xlarge", X86, 8, 16384, 1, 4, 15, false),
    t("c5.4xlarge", X86, 16, 32768, 1, 8, 30, false),
    t("c5.9xlarge", X86, 36, 73728, 1, 8, 30, false),
    t("c5.12xlarge", X86, 48, 98304, 1, 8, 30, false),
    t("c5.18xlarge", X86, 72, 147456, 1, 15, 50, false),
    t("c5.24xlarge", X86, 96, 196608, 1, 15, 50, false),
    t("c5n.large", X86, 2, 5376, 1, 3, 10, false),
    t("c5n.xlarge", X86, 4, 10752, 1, 4, 15, false),
    t("c5n.2xlarge", X86, 8, 21504, 1, 4, 15, false),
    t("c5n.4xlarge", X86, 16, 43008, 1, 8, 30, false),
    t("c5n.9xlarge", X86, 36, 98304, 1, 8, 30, true),
    t("c5n.18xlarge", X86, 72, 196608, 1, 15, 50, true),
    t("c6i.large", X86, 2, 4096, 1, 3, 10, false),
    t("c6i.xlarge", X86, 4, 8192, 1, 4, 15, false),
    t("c6i.2xlarge", X86, 8, 16384, 1, 4, 15, false),
    t("c6i.4xlarge", X86, 16, 32768, 1, 8, 30, false),
    t("c6i.32xlarge", X86, 128, 262144, 1, 15, 50, true),
    t("c6gn.large", Arm64, 2, 4096, 1, 3, 10, false),
    t("c6gn.xlarge", Arm64, 4, 8192, 1, 4, 15, false),
    t("c6gn.4xlarge", Arm64, 16, 32768, 1, 8, 30, false),
    t("c6gn.16xlarge", Arm64, 64, 131072, 1, 15, 50, true),
    t("c7g.medium", Arm64, 1, 2048, 1, 2, 4, false),
    t("c7g.large", Arm64, 2, 4096, 1, 3, 10, false),
    t("c7g.xlarge", Arm64, 4, 8192, 1, 4, 15, false),
    t("c7g.2xlarge", Arm64, 8, 16384, 1, 4, 15, false),
    t("r5.large", X86, 2, 16384, 1, 3, 10, false),
    t("r5.xlarge", X86, 4, 32768, 1, 4, 15, false),
    t("r5.2xlarge", X86, 8, 65536, 1, 4, 15, false),
    t("r5.4xlarge", X86, 16, 131072, 1, 8, 30, false),
    t("p4d.24xlarge", X86, 96, 1179648, 4, 15, 50, true),
    t("p5.48xlarge", X86, 192, 2097152, 32, 2, 50, true),
    t("hpc6a.48xlarge", X86, 96, 393216, 1, 2, 50, true),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_default_is_there() {
        let names: std::collections::BTreeSet<_> = TYPES.iter().map(|t| t.name).collect();
        assert_eq!(names.len(), TYPES.len());
        assert!(InstanceType::find(DEFAULT_TYPE).is_some());
    }

    #[test]
    fn limits_are_those_of_the_documentation() {
        let limits = |name| {
            let t = InstanceType::find(name).unwrap();
            (t.interfaces(), t.addresses_per_interface)
        };
        assert_eq!(limits("t3.nano"), (2, 2));
        assert_eq!(limits("c5.large"), (3, 10));
        assert_eq!(limits("c5.18xlarge"), (15, 50));
        assert_eq!(limits("p4d.24xlarge"), (60, 50));
    }
}
