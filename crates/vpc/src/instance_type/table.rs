//! The table of instance types, a line each.
//!
//! Source of every figure: the answer of EC2's DescribeInstanceTypes in us-east-1, as moto 5.2.5 (2026-10)
//! keeps it for its tests (`moto/ec2/resources/instance_types.json.gz`).

use super::Architecture::{Arm64, X86};
use super::EnaSupport::{Required, Supported, Unsupported};
use super::Feature::{EnaExpress, Encrypted, Previous, ShortTracking, Weighted};
use super::InstanceType;

macro_rules! types {
    ($(
        $name:literal $architecture:ident $vcpus:literal $memory_mib:literal
        [$cards:literal x $interfaces:literal] [$ipv4:literal $ipv6:literal]
        $performance:literal $total:literal [$baseline:literal $peak:literal]
        $ena:ident [$queues:literal $queues_max:literal $queues_card:literal] $efa:literal [$($feature:ident)*];
    )*) => {
        /// All types.
        pub const TYPES: &[InstanceType] = &[$(InstanceType {
            name: $name,
            architecture: $architecture,
            vcpus: $vcpus,
            memory_mib: $memory_mib,
            network_cards: $cards,
            interfaces_per_card: $interfaces,
            addresses_per_interface: $ipv4,
            ipv6_addresses_per_interface: $ipv6,
            card_performance: $performance,
            total_performance: $total,
            baseline_mbps: $baseline,
            peak_mbps: $peak,
            ena: $ena,
            ena_queues: $queues,
            ena_queues_max: $queues_max,
            ena_queues_per_card: $queues_card,
            efa_interfaces: $efa,
            features: &[$($feature),*],
        }),*];
    };
}

// Name, architecture, vCPUs, MiB, [cards x interfaces per card], [IPv4, IPv6 addresses per interface],
// performance of a card and, where it differs, of all, [baseline, peak Mbit/s of a card], ENA, ENA queues
// [by default, at most per interface, at most per card; 0 0: not to be changed], EFA interfaces, features.
types! {
    "m1.small" X86 1 1740 [1 x 2] [4 0] "Low" "" [300 1200] Unsupported [1 0 0] 0 [Previous];
    "t2.nano" X86 1 512 [1 x 2] [2 2] "Low to Moderate" "" [32 512] Unsupported [1 0 0] 0 [];
    "t2.micro" X86 1 1024 [1 x 2] [2 2] "Low to Moderate" "" [64 1024] Unsupported [1 0 0] 0 [];
    "t2.small" X86 1 2048 [1 x 3] [4 4] "Low to Moderate" "" [128 1024] Unsupported [1 0 0] 0 [];
    "t2.medium" X86 2 4096 [1 x 3] [6 6] "Low to Moderate" "" [256 1024] Unsupported [1 0 0] 0 [];
    "t2.large" X86 2 8192 [1 x 3] [12 12] "Low to Moderate" "" [512 1024] Unsupported [1 0 0] 0 [];
    "t2.xlarge" X86 4 16384 [1 x 3] [15 15] "Moderate" "" [750 1024] Unsupported [1 0 0] 0 [];
    "t2.2xlarge" X86 8 32768 [1 x 3] [15 15] "Moderate" "" [1000 1024] Unsupported [1 0 0] 0 [];
    "t3.nano" X86 2 512 [1 x 2] [2 2] "Up to 5 Gigabit" "" [32 5000] Required [2 0 0] 0 [];
    "t3.micro" X86 2 1024 [1 x 2] [2 2] "Up to 5 Gigabit" "" [64 5000] Required [2 0 0] 0 [];
    "t3.small" X86 2 2048 [1 x 3] [4 4] "Up to 5 Gigabit" "" [128 5000] Required [2 0 0] 0 [];
    "t3.medium" X86 2 4096 [1 x 3] [6 6] "Up to 5 Gigabit" "" [256 5000] Required [2 0 0] 0 [];
    "t3.large" X86 2 8192 [1 x 3] [12 12] "Up to 5 Gigabit" "" [512 5000] Required [2 0 0] 0 [];
    "t3.xlarge" X86 4 16384 [1 x 4] [15 15] "Up to 5 Gigabit" "" [1024 5000] Required [4 0 0] 0 [];
    "t3.2xlarge" X86 8 32768 [1 x 4] [15 15] "Up to 5 Gigabit" "" [2048 5000] Required [8 0 0] 0 [];
    "t3a.nano" X86 2 512 [1 x 2] [2 2] "Up to 5 Gigabit" "" [32 5000] Required [8 0 0] 0 [];
    "t3a.micro" X86 2 1024 [1 x 2] [2 2] "Up to 5 Gigabit" "" [64 5000] Required [8 0 0] 0 [];
    "t3a.small" X86 2 2048 [1 x 2] [4 4] "Up to 5 Gigabit" "" [128 5000] Required [8 0 0] 0 [];
    "t3a.medium" X86 2 4096 [1 x 3] [6 6] "Up to 5 Gigabit" "" [256 5000] Required [8 0 0] 0 [];
    "t3a.large" X86 2 8192 [1 x 3] [12 12] "Up to 5 Gigabit" "" [512 5000] Required [8 0 0] 0 [];
    "t3a.xlarge" X86 4 16384 [1 x 4] [15 15] "Up to 5 Gigabit" "" [1024 5000] Required [8 0 0] 0 [];
    "t3a.2xlarge" X86 8 32768 [1 x 4] [15 15] "Up to 5 Gigabit" "" [2048 5000] Required [8 0 0] 0 [];
    "t4g.nano" Arm64 2 512 [1 x 2] [2 2] "Up to 5 Gigabit" "" [32 5000] Required [2 0 0] 0 [];
    "t4g.micro" Arm64 2 1024 [1 x 2] [2 2] "Up to 5 Gigabit" "" [64 5000] Required [2 0 0] 0 [];
    "t4g.small" Arm64 2 2048 [1 x 3] [4 4] "Up to 5 Gigabit" "" [128 5000] Required [2 0 0] 0 [];
    "t4g.medium" Arm64 2 4096 [1 x 3] [6 6] "Up to 5 Gigabit" "" [256 5000] Required [2 0 0] 0 [];
    "t4g.large" Arm64 2 8192 [1 x 3] [12 12] "Up to 5 Gigabit" "" [512 5000] Required [2 0 0] 0 [];
    "t4g.xlarge" Arm64 4 16384 [1 x 4] [15 15] "Up to 5 Gigabit" "" [1024 5000] Required [4 0 0] 0 [];
    "t4g.2xlarge" Arm64 8 32768 [1 x 4] [15 15] "Up to 5 Gigabit" "" [2048 5000] Required [8 0 0] 0 [];
    "m5.large" X86 2 8192 [1 x 3] [10 10] "Up to 10 Gigabit" "" [750 10000] Required [8 0 0] 0 [Previous];
    "m5.xlarge" X86 4 16384 [1 x 4] [15 15] "Up to 10 Gigabit" "" [1250 10000] Required [8 0 0] 0 [Previous];
    "m5.2xlarge" X86 8 32768 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Required [8 0 0] 0 [Previous];
    "m5.4xlarge" X86 16 65536 [1 x 8] [30 30] "Up to 10 Gigabit" "" [5000 10000] Required [8 0 0] 0 [Previous];
    "m5.8xlarge" X86 32 131072 [1 x 8] [30 30] "10 Gigabit" "" [10000 10000] Required [8 0 0] 0 [Previous];
    "m5.12xlarge" X86 48 196608 [1 x 8] [30 30] "12 Gigabit" "" [12000 12000] Required [8 0 0] 0 [Previous];
    "m5.16xlarge" X86 64 262144 [1 x 15] [50 50] "20 Gigabit" "" [20000 20000] Required [8 0 0] 0 [Previous];
    "m5.24xlarge" X86 96 393216 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [Previous];
    "m6i.large" X86 2 8192 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [781 12500] Required [2 2 6] 0 [Previous Encrypted];
    "m6i.xlarge" X86 4 16384 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1562 12500] Required [4 4 16] 0 [Previous Encrypted];
    "m6i.2xlarge" X86 8 32768 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [3125 12500] Required [8 8 32] 0 [Previous Encrypted];
    "m6i.4xlarge" X86 16 65536 [1 x 8] [30 30] "Up to 12.5 Gigabit" "" [6250 12500] Required [8 16 64] 0 [Previous Encrypted];
    "m6i.8xlarge" X86 32 131072 [1 x 8] [30 30] "12.5 Gigabit" "" [12500 12500] Required [8 32 64] 0 [Previous EnaExpress Encrypted];
    "m6i.12xlarge" X86 48 196608 [1 x 8] [30 30] "18.75 Gigabit" "" [18750 18750] Required [8 32 64] 0 [Previous EnaExpress Encrypted];
    "m6i.16xlarge" X86 64 262144 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 32 120] 0 [Previous EnaExpress Encrypted];
    "m6i.24xlarge" X86 96 393216 [1 x 15] [50 50] "37.5 Gigabit" "" [37500 37500] Required [8 32 120] 0 [Previous EnaExpress Encrypted];
    "m6i.32xlarge" X86 128 524288 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [8 32 120] 1 [Previous EnaExpress Encrypted];
    "m6g.medium" Arm64 1 4096 [1 x 2] [4 4] "Up to 10 Gigabit" "" [500 10000] Required [8 0 0] 0 [];
    "m6g.large" Arm64 2 8192 [1 x 3] [10 10] "Up to 10 Gigabit" "" [750 10000] Required [8 0 0] 0 [];
    "m6g.xlarge" Arm64 4 16384 [1 x 4] [15 15] "Up to 10 Gigabit" "" [1250 10000] Required [8 0 0] 0 [];
    "m6g.2xlarge" Arm64 8 32768 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Required [8 0 0] 0 [];
    "m6g.4xlarge" Arm64 16 65536 [1 x 8] [30 30] "Up to 10 Gigabit" "" [5000 10000] Required [8 0 0] 0 [];
    "m6g.8xlarge" Arm64 32 131072 [1 x 8] [30 30] "12 Gigabit" "" [12000 12000] Required [8 0 0] 0 [];
    "m6g.12xlarge" Arm64 48 196608 [1 x 8] [30 30] "20 Gigabit" "" [20000 20000] Required [8 0 0] 0 [];
    "m6g.16xlarge" Arm64 64 262144 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [];
    "m7g.medium" Arm64 1 4096 [1 x 2] [4 4] "Up to 12.5 Gigabit" "" [520 12500] Required [1 0 0] 0 [Encrypted];
    "m7g.large" Arm64 2 8192 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [937 12500] Required [2 0 0] 0 [Encrypted];
    "m7g.xlarge" Arm64 4 16384 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1876 12500] Required [4 0 0] 0 [Encrypted];
    "m7g.2xlarge" Arm64 8 32768 [1 x 4] [15 15] "Up to 15 Gigabit" "" [3750 15000] Required [8 0 0] 0 [Encrypted];
    "m7g.4xlarge" Arm64 16 65536 [1 x 8] [30 30] "Up to 15 Gigabit" "" [7500 15000] Required [8 0 0] 0 [Encrypted];
    "m7g.8xlarge" Arm64 32 131072 [1 x 8] [30 30] "15 Gigabit" "" [15000 15000] Required [8 0 0] 0 [Encrypted];
    "m7g.12xlarge" Arm64 48 196608 [1 x 8] [30 30] "22.5 Gigabit" "" [22500 22500] Required [8 0 0] 0 [EnaExpress Encrypted];
    "m7g.16xlarge" Arm64 64 262144 [1 x 15] [50 50] "30 Gigabit" "" [30000 30000] Required [8 0 0] 1 [EnaExpress Encrypted];
    "m7i.large" X86 2 8192 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [781 12500] Required [2 0 0] 0 [Encrypted];
    "m7i.xlarge" X86 4 16384 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1562 12500] Required [4 0 0] 0 [Encrypted];
    "m7i.2xlarge" X86 8 32768 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [3125 12500] Required [8 0 0] 0 [Encrypted];
    "m7i.4xlarge" X86 16 65536 [1 x 8] [30 30] "Up to 12.5 Gigabit" "" [6250 12500] Required [8 0 0] 0 [Encrypted];
    "m7i.8xlarge" X86 32 131072 [1 x 8] [30 30] "12.5 Gigabit" "" [12500 12500] Required [8 0 0] 0 [Encrypted];
    "m7i.12xlarge" X86 48 196608 [1 x 8] [30 30] "18.75 Gigabit" "" [18750 18750] Required [8 0 0] 0 [EnaExpress Encrypted];
    "m7i.16xlarge" X86 64 262144 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [EnaExpress Encrypted];
    "m7i.24xlarge" X86 96 393216 [1 x 15] [50 50] "37.5 Gigabit" "" [37500 37500] Required [8 0 0] 0 [EnaExpress Encrypted];
    "m7i.48xlarge" X86 192 786432 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [16 0 0] 1 [EnaExpress Encrypted];
    "m8g.medium" Arm64 1 4096 [1 x 2] [4 4] "Up to 12.5 Gigabit" "" [520 12500] Required [1 0 0] 0 [Encrypted Weighted];
    "m8g.large" Arm64 2 8192 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [937 12500] Required [2 0 0] 0 [Encrypted Weighted];
    "m8g.xlarge" Arm64 4 16384 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1875 12500] Required [4 0 0] 0 [Encrypted Weighted];
    "m8g.2xlarge" Arm64 8 32768 [1 x 4] [15 15] "Up to 15 Gigabit" "" [3750 15000] Required [8 0 0] 0 [Encrypted Weighted];
    "m8g.4xlarge" Arm64 16 65536 [1 x 8] [30 30] "Up to 15 Gigabit" "" [7500 15000] Required [8 0 0] 0 [Encrypted Weighted];
    "m8g.8xlarge" Arm64 32 131072 [1 x 8] [30 30] "15 Gigabit" "" [15000 15000] Required [8 0 0] 0 [EnaExpress Encrypted Weighted];
    "m8g.12xlarge" Arm64 48 196608 [1 x 8] [30 30] "22.5 Gigabit" "" [22500 22500] Required [8 0 0] 0 [EnaExpress Encrypted Weighted];
    "m8g.16xlarge" Arm64 64 262144 [1 x 15] [50 50] "30 Gigabit" "" [30000 30000] Required [8 0 0] 0 [EnaExpress Encrypted Weighted];
    "m8g.24xlarge" Arm64 96 393216 [1 x 15] [50 50] "40 Gigabit" "" [40000 40000] Required [8 0 0] 1 [EnaExpress Encrypted Weighted];
    "m8g.48xlarge" Arm64 192 786432 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [16 0 0] 1 [EnaExpress Encrypted Weighted];
    "c5.large" X86 2 4096 [1 x 3] [10 10] "Up to 10 Gigabit" "" [750 10000] Required [8 0 0] 0 [Previous];
    "c5.xlarge" X86 4 8192 [1 x 4] [15 15] "Up to 10 Gigabit" "" [1250 10000] Required [8 0 0] 0 [Previous];
    "c5.2xlarge" X86 8 16384 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Required [8 0 0] 0 [Previous];
    "c5.4xlarge" X86 16 32768 [1 x 8] [30 30] "Up to 10 Gigabit" "" [5000 10000] Required [8 0 0] 0 [Previous];
    "c5.9xlarge" X86 36 73728 [1 x 8] [30 30] "12 Gigabit" "" [12000 12000] Required [8 0 0] 0 [Previous];
    "c5.12xlarge" X86 48 98304 [1 x 8] [30 30] "12 Gigabit" "" [12000 12000] Required [8 0 0] 0 [Previous];
    "c5.18xlarge" X86 72 147456 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [Previous];
    "c5.24xlarge" X86 96 196608 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [Previous];
    "c5n.large" X86 2 5376 [1 x 3] [10 10] "Up to 25 Gigabit" "" [3000 25000] Required [8 0 0] 0 [Encrypted];
    "c5n.xlarge" X86 4 10752 [1 x 4] [15 15] "Up to 25 Gigabit" "" [5000 25000] Required [8 0 0] 0 [Encrypted];
    "c5n.2xlarge" X86 8 21504 [1 x 4] [15 15] "Up to 25 Gigabit" "" [10000 25000] Required [8 0 0] 0 [Encrypted];
    "c5n.4xlarge" X86 16 43008 [1 x 8] [30 30] "Up to 25 Gigabit" "" [15000 25000] Required [32 0 0] 0 [Encrypted];
    "c5n.9xlarge" X86 36 98304 [1 x 8] [30 30] "50 Gigabit" "" [50000 50000] Required [32 0 0] 1 [Encrypted];
    "c5n.18xlarge" X86 72 196608 [1 x 15] [50 50] "100 Gigabit" "" [100000 100000] Required [32 0 0] 1 [Encrypted];
    "c6i.large" X86 2 4096 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [781 12500] Required [2 2 6] 0 [Encrypted];
    "c6i.xlarge" X86 4 8192 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1562 12500] Required [4 4 16] 0 [Encrypted];
    "c6i.2xlarge" X86 8 16384 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [3125 12500] Required [8 8 32] 0 [Encrypted];
    "c6i.4xlarge" X86 16 32768 [1 x 8] [30 30] "Up to 12.5 Gigabit" "" [6250 12500] Required [8 16 64] 0 [Encrypted];
    "c6i.8xlarge" X86 32 65536 [1 x 8] [30 30] "12.5 Gigabit" "" [12500 12500] Required [8 32 64] 0 [EnaExpress Encrypted];
    "c6i.12xlarge" X86 48 98304 [1 x 8] [30 30] "18.75 Gigabit" "" [18750 18750] Required [8 32 64] 0 [EnaExpress Encrypted];
    "c6i.16xlarge" X86 64 131072 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 32 120] 0 [EnaExpress Encrypted];
    "c6i.24xlarge" X86 96 196608 [1 x 15] [50 50] "37.5 Gigabit" "" [37500 37500] Required [8 32 120] 0 [EnaExpress Encrypted];
    "c6i.32xlarge" X86 128 262144 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [8 32 120] 1 [EnaExpress Encrypted];
    "c6gn.medium" Arm64 1 2048 [1 x 2] [4 4] "Up to 16 Gigabit" "" [1600 16000] Required [1 0 0] 0 [Previous Encrypted];
    "c6gn.large" Arm64 2 4096 [1 x 3] [10 10] "Up to 25 Gigabit" "" [3000 25000] Required [2 0 0] 0 [Previous Encrypted];
    "c6gn.xlarge" Arm64 4 8192 [1 x 4] [15 15] "Up to 25 Gigabit" "" [6300 25000] Required [4 0 0] 0 [Previous Encrypted];
    "c6gn.2xlarge" Arm64 8 16384 [1 x 4] [15 15] "Up to 25 Gigabit" "" [12500 25000] Required [8 0 0] 0 [Previous Encrypted];
    "c6gn.4xlarge" Arm64 16 32768 [1 x 8] [30 30] "25 Gigabit" "" [25000 25000] Required [16 0 0] 0 [Previous EnaExpress Encrypted];
    "c6gn.8xlarge" Arm64 32 65536 [1 x 8] [30 30] "50 Gigabit" "" [50000 50000] Required [32 0 0] 0 [Previous EnaExpress Encrypted];
    "c6gn.12xlarge" Arm64 48 98304 [1 x 8] [30 30] "75 Gigabit" "" [75000 75000] Required [32 0 0] 0 [Previous EnaExpress Encrypted];
    "c6gn.16xlarge" Arm64 64 131072 [1 x 15] [50 50] "100 Gigabit" "" [100000 100000] Required [32 0 0] 1 [Previous EnaExpress Encrypted];
    "c7g.medium" Arm64 1 2048 [1 x 2] [4 4] "Up to 12.5 Gigabit" "" [520 12500] Required [1 0 0] 0 [Encrypted];
    "c7g.large" Arm64 2 4096 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [937 12500] Required [2 0 0] 0 [Encrypted];
    "c7g.xlarge" Arm64 4 8192 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1876 12500] Required [4 0 0] 0 [Encrypted];
    "c7g.2xlarge" Arm64 8 16384 [1 x 4] [15 15] "Up to 15 Gigabit" "" [3750 15000] Required [8 0 0] 0 [Encrypted];
    "c7g.4xlarge" Arm64 16 32768 [1 x 8] [30 30] "Up to 15 Gigabit" "" [7500 15000] Required [8 0 0] 0 [Encrypted];
    "c7g.8xlarge" Arm64 32 65536 [1 x 8] [30 30] "15 Gigabit" "" [15000 15000] Required [8 0 0] 0 [Encrypted];
    "c7g.12xlarge" Arm64 48 98304 [1 x 8] [30 30] "22.5 Gigabit" "" [22500 22500] Required [8 0 0] 0 [EnaExpress Encrypted];
    "c7g.16xlarge" Arm64 64 131072 [1 x 15] [50 50] "30 Gigabit" "" [30000 30000] Required [8 0 0] 1 [EnaExpress Encrypted];
    "c7gn.medium" Arm64 1 2048 [1 x 2] [4 4] "Up to 25 Gigabit" "" [3125 25000] Required [1 0 0] 0 [Encrypted];
    "c7gn.large" Arm64 2 4096 [1 x 3] [10 10] "Up to 30 Gigabit" "" [6250 30000] Required [2 0 0] 0 [Encrypted];
    "c7gn.xlarge" Arm64 4 8192 [1 x 4] [15 15] "Up to 40 Gigabit" "" [12500 40000] Required [4 0 0] 0 [Encrypted];
    "c7gn.2xlarge" Arm64 8 16384 [1 x 4] [15 15] "Up to 50 Gigabit" "" [25000 50000] Required [8 0 0] 0 [Encrypted];
    "c7gn.4xlarge" Arm64 16 32768 [1 x 8] [30 30] "50 Gigabit" "" [50000 50000] Required [16 0 0] 0 [EnaExpress Encrypted];
    "c7gn.8xlarge" Arm64 32 65536 [1 x 8] [30 30] "100 Gigabit" "" [100000 100000] Required [32 0 0] 0 [EnaExpress Encrypted];
    "c7gn.12xlarge" Arm64 48 98304 [1 x 8] [30 30] "150 Gigabit" "" [150000 150000] Required [32 0 0] 0 [EnaExpress Encrypted];
    "c7gn.16xlarge" Arm64 64 131072 [1 x 15] [50 50] "200 Gigabit" "" [200000 200000] Required [32 0 0] 1 [EnaExpress Encrypted];
    "c7i.large" X86 2 4096 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [781 12500] Required [2 0 0] 0 [Encrypted];
    "c7i.xlarge" X86 4 8192 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1562 12500] Required [4 0 0] 0 [Encrypted];
    "c7i.2xlarge" X86 8 16384 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [3125 12500] Required [8 0 0] 0 [Encrypted];
    "c7i.4xlarge" X86 16 32768 [1 x 8] [30 30] "Up to 12.5 Gigabit" "" [6250 12500] Required [8 0 0] 0 [Encrypted];
    "c7i.8xlarge" X86 32 65536 [1 x 8] [30 30] "12.5 Gigabit" "" [12500 12500] Required [8 0 0] 0 [Encrypted];
    "c7i.12xlarge" X86 48 98304 [1 x 8] [30 30] "18.75 Gigabit" "" [18750 18750] Required [8 0 0] 0 [EnaExpress Encrypted];
    "c7i.16xlarge" X86 64 131072 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [EnaExpress Encrypted];
    "c7i.24xlarge" X86 96 196608 [1 x 15] [50 50] "37.5 Gigabit" "" [37500 37500] Required [8 0 0] 0 [EnaExpress Encrypted];
    "c7i.48xlarge" X86 192 393216 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [16 0 0] 1 [EnaExpress Encrypted];
    "c8g.medium" Arm64 1 2048 [1 x 2] [4 4] "Up to 12.5 Gigabit" "" [520 12500] Required [1 0 0] 0 [Encrypted Weighted];
    "c8g.large" Arm64 2 4096 [1 x 3] [10 10] "Up to 12.5 Gigabit" "" [937 12500] Required [2 0 0] 0 [Encrypted Weighted];
    "c8g.xlarge" Arm64 4 8192 [1 x 4] [15 15] "Up to 12.5 Gigabit" "" [1875 12500] Required [4 0 0] 0 [Encrypted Weighted];
    "c8g.2xlarge" Arm64 8 16384 [1 x 4] [15 15] "Up to 15 Gigabit" "" [3750 15000] Required [8 0 0] 0 [Encrypted Weighted];
    "c8g.4xlarge" Arm64 16 32768 [1 x 8] [30 30] "Up to 15 Gigabit" "" [7500 15000] Required [8 0 0] 0 [Encrypted Weighted];
    "c8g.8xlarge" Arm64 32 65536 [1 x 8] [30 30] "15 Gigabit" "" [15000 15000] Required [8 0 0] 0 [EnaExpress Encrypted Weighted];
    "c8g.12xlarge" Arm64 48 98304 [1 x 8] [30 30] "22.5 Gigabit" "" [22500 22500] Required [8 0 0] 0 [EnaExpress Encrypted Weighted];
    "c8g.16xlarge" Arm64 64 131072 [1 x 15] [50 50] "30 Gigabit" "" [30000 30000] Required [8 0 0] 0 [EnaExpress Encrypted Weighted];
    "c8g.24xlarge" Arm64 96 196608 [1 x 15] [50 50] "40 Gigabit" "" [40000 40000] Required [8 0 0] 1 [EnaExpress Encrypted Weighted];
    "c8g.48xlarge" Arm64 192 393216 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [16 0 0] 1 [EnaExpress Encrypted Weighted];
    "c8gn.medium" Arm64 1 2048 [1 x 2] [4 4] "Up to 25 Gigabit" "" [3125 25000] Required [1 1 2] 0 [Encrypted ShortTracking];
    "c8gn.large" Arm64 2 4096 [1 x 3] [10 10] "Up to 30 Gigabit" "" [6250 30000] Required [2 2 6] 0 [Encrypted ShortTracking];
    "c8gn.xlarge" Arm64 4 8192 [1 x 4] [15 15] "Up to 40 Gigabit" "" [12500 40000] Required [4 4 16] 0 [Encrypted ShortTracking];
    "c8gn.2xlarge" Arm64 8 16384 [1 x 4] [15 15] "Up to 50 Gigabit" "" [25000 50000] Required [8 8 32] 0 [Encrypted ShortTracking];
    "c8gn.4xlarge" Arm64 16 32768 [1 x 8] [30 30] "50 Gigabit" "" [50000 50000] Required [8 16 64] 0 [EnaExpress Encrypted ShortTracking];
    "c8gn.8xlarge" Arm64 32 65536 [1 x 10] [30 30] "100 Gigabit" "" [100000 100000] Required [8 32 128] 0 [EnaExpress Encrypted ShortTracking];
    "c8gn.12xlarge" Arm64 48 98304 [1 x 12] [30 30] "150 Gigabit" "" [150000 150000] Required [16 64 192] 0 [EnaExpress Encrypted ShortTracking];
    "c8gn.16xlarge" Arm64 64 131072 [1 x 16] [50 50] "200 Gigabit" "" [200000 200000] Required [16 64 256] 1 [EnaExpress Encrypted ShortTracking];
    "c8gn.24xlarge" Arm64 96 196608 [1 x 24] [50 50] "300 Gigabit" "" [300000 300000] Required [16 128 384] 1 [EnaExpress Encrypted ShortTracking];
    "c8gn.48xlarge" Arm64 192 393216 [2 x 12] [50 50] "300 Gigabit" "600 Gigabit" [300000 300000] Required [32 128 384] 2 [EnaExpress Encrypted ShortTracking];
    "r4.large" X86 2 15616 [1 x 3] [10 10] "Up to 10 Gigabit" "" [750 10000] Supported [8 0 0] 0 [Previous];
    "r4.xlarge" X86 4 31232 [1 x 4] [15 15] "Up to 10 Gigabit" "" [1250 10000] Supported [8 0 0] 0 [Previous];
    "r4.2xlarge" X86 8 62464 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Supported [8 0 0] 0 [Previous];
    "r4.4xlarge" X86 16 124928 [1 x 8] [30 30] "Up to 10 Gigabit" "" [5000 10000] Supported [8 0 0] 0 [Previous];
    "r4.8xlarge" X86 32 249856 [1 x 8] [30 30] "10 Gigabit" "" [12000 12000] Supported [8 0 0] 0 [Previous];
    "r4.16xlarge" X86 64 499712 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Supported [8 0 0] 0 [Previous];
    "r5.large" X86 2 16384 [1 x 3] [10 10] "Up to 10 Gigabit" "" [750 10000] Required [8 0 0] 0 [Previous];
    "r5.xlarge" X86 4 32768 [1 x 4] [15 15] "Up to 10 Gigabit" "" [1250 10000] Required [8 0 0] 0 [Previous];
    "r5.2xlarge" X86 8 65536 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Required [8 0 0] 0 [Previous];
    "r5.4xlarge" X86 16 131072 [1 x 8] [30 30] "Up to 10 Gigabit" "" [5000 10000] Required [8 0 0] 0 [Previous];
    "r5.8xlarge" X86 32 262144 [1 x 8] [30 30] "10 Gigabit" "" [10000 10000] Required [8 0 0] 0 [Previous];
    "r5.12xlarge" X86 48 393216 [1 x 8] [30 30] "12 Gigabit" "" [12000 12000] Required [8 0 0] 0 [Previous];
    "r5.16xlarge" X86 64 524288 [1 x 15] [50 50] "20 Gigabit" "" [20000 20000] Required [8 0 0] 0 [Previous];
    "r5.24xlarge" X86 96 786432 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Required [8 0 0] 0 [Previous];
    "i3.large" X86 2 15616 [1 x 3] [10 10] "Up to 10 Gigabit" "" [750 10000] Supported [8 0 0] 0 [];
    "i3.xlarge" X86 4 31232 [1 x 4] [15 15] "Up to 10 Gigabit" "" [1250 10000] Supported [8 0 0] 0 [];
    "i3.2xlarge" X86 8 62464 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Supported [8 0 0] 0 [];
    "i3.4xlarge" X86 16 124928 [1 x 8] [30 30] "Up to 10 Gigabit" "" [5000 10000] Supported [8 0 0] 0 [];
    "i3.8xlarge" X86 32 249856 [1 x 8] [30 30] "10 Gigabit" "" [12000 12000] Supported [8 0 0] 0 [];
    "i3.16xlarge" X86 64 499712 [1 x 15] [50 50] "25 Gigabit" "" [25000 25000] Supported [8 0 0] 0 [];
    "g4dn.xlarge" X86 4 16384 [1 x 3] [10 10] "Up to 25 Gigabit" "" [5000 25000] Required [8 0 0] 0 [Encrypted];
    "g4dn.2xlarge" X86 8 32768 [1 x 3] [10 10] "Up to 25 Gigabit" "" [10000 25000] Required [8 0 0] 0 [Encrypted];
    "g4dn.4xlarge" X86 16 65536 [1 x 3] [10 10] "Up to 25 Gigabit" "" [20000 25000] Required [32 0 0] 0 [Encrypted];
    "g4dn.8xlarge" X86 32 131072 [1 x 4] [15 15] "50 Gigabit" "" [50000 50000] Required [32 0 0] 1 [Encrypted];
    "g4dn.12xlarge" X86 48 196608 [1 x 8] [30 30] "50 Gigabit" "" [50000 50000] Required [32 0 0] 1 [Encrypted];
    "g4dn.16xlarge" X86 64 262144 [1 x 4] [15 15] "50 Gigabit" "" [50000 50000] Required [32 0 0] 1 [Encrypted];
    "g5.xlarge" X86 4 16384 [1 x 4] [15 15] "Up to 10 Gigabit" "" [2500 10000] Required [8 0 0] 0 [Previous Encrypted];
    "g5.2xlarge" X86 8 32768 [1 x 4] [15 15] "Up to 10 Gigabit" "" [5000 10000] Required [8 0 0] 0 [Previous Encrypted];
    "g5.4xlarge" X86 16 65536 [1 x 8] [30 30] "Up to 25 Gigabit" "" [10000 25000] Required [32 0 0] 0 [Previous Encrypted];
    "g5.8xlarge" X86 32 131072 [1 x 8] [30 30] "25 Gigabit" "" [25000 25000] Required [32 0 0] 1 [Previous Encrypted];
    "g5.12xlarge" X86 48 196608 [1 x 15] [50 50] "40 Gigabit" "" [40000 40000] Required [32 0 0] 1 [Previous Encrypted];
    "g5.16xlarge" X86 64 262144 [1 x 8] [30 30] "25 Gigabit" "" [25000 25000] Required [32 0 0] 1 [Previous Encrypted];
    "g5.24xlarge" X86 96 393216 [1 x 15] [50 50] "50 Gigabit" "" [50000 50000] Required [32 0 0] 1 [Previous Encrypted];
    "g5.48xlarge" X86 192 786432 [1 x 7] [50 50] "100 Gigabit" "" [100000 100000] Required [32 0 0] 1 [Previous Encrypted];
    "m4.16xlarge" X86 64 262144 [1 x 8] [30 30] "25 Gigabit" "" [25000 25000] Supported [8 0 0] 0 [Previous];
    "p3dn.24xlarge" X86 96 786432 [1 x 15] [50 50] "100 Gigabit" "" [100000 100000] Required [32 0 0] 1 [Encrypted];
    "p4d.24xlarge" X86 96 1179648 [4 x 15] [50 50] "100 Gigabit" "4x 100 Gigabit" [100000 100000] Required [32 0 0] 4 [Encrypted];
    "p5.48xlarge" X86 192 2097152 [32 x 2] [50 50] "100 Gigabit" "3200 Gigabit" [100000 100000] Required [32 0 0] 32 [EnaExpress Encrypted];
    "p5en.48xlarge" X86 192 2097152 [16 x 4] [50 50] "200 Gigabit" "3200 Gigabit" [200000 200000] Required [32 0 0] 16 [EnaExpress Encrypted];
    "trn1.32xlarge" X86 128 524288 [8 x 5] [50 50] "100 Gigabit" "8x 100 Gigabit" [100000 100000] Required [32 0 0] 8 [Encrypted];
    "hpc6a.48xlarge" X86 96 393216 [1 x 2] [50 50] "100 Gigabit" "" [100000 100000] Required [8 0 0] 1 [Encrypted];
    "hpc7a.96xlarge" X86 192 786432 [2 x 2] [50 50] "150 Gigabit" "300 Gigabit" [150000 150000] Required [16 0 0] 2 [Encrypted];
}
