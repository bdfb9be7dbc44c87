//! Regions and availability zones, and the names that follow from them.
//!
//! Every region has three zones, `a` to `c`; on EC2 the number differs and zones have no fixed letters [assumed A-23].

use std::net::Ipv4Addr;

use crate::ids::InstanceId;
use crate::scope::RegionName;

/// Letters of the zones of a region.
pub(crate) const ZONE_LETTERS: [char; 3] = ['a', 'b', 'c'];

/// Regions that `DescribeRegions` lists; calls in other regions work all the same.
///
/// Source: [AWS doc AWSEC2/latest/UserGuide/using-regions-availability-zones.html, 2026-11-23],
/// the regions that are enabled by default.
pub(crate) const REGIONS: [&str; 17] = [
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// An availability zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// `us-east-1a`.
    pub name: String,
    /// `use1-az1`.
    pub id: String,
}

/// The zones of a region.
pub fn zones(region: &RegionName) -> Vec<Zone> {
    let prefix = zone_id_prefix(region.as_str());
    let numbered = ZONE_LETTERS.iter().zip(1..);
    numbered
        .map(|(letter, number)| Zone {
            name: format!("{region}{letter}"),
            id: format!("{prefix}-az{number}"),
        })
        .collect()
}

/// The id of a zone by its name; the name itself if it is not a zone of the region.
pub fn zone_id(region: &RegionName, name: &str) -> String {
    let found = zones(region).into_iter().find(|zone| zone.name == name);
    found.map_or_else(|| name.to_owned(), |zone| zone.id)
}

/// The domain of private names in a region.
pub fn private_domain(region: &RegionName) -> String {
    match region.as_str() {
        "us-east-1" => "ec2.internal".to_owned(),
        other => format!("{other}.compute.internal"),
    }
}

/// The private name of an address: `ip-10-0-0-4.ec2.internal`.
pub fn private_name(region: &RegionName, address: Ipv4Addr) -> String {
    format!("ip-{}.{}", dashed(address), private_domain(region))
}

/// The private name of an instance named for its id: `i-….ec2.internal`.
pub fn resource_name(region: &RegionName, instance: InstanceId) -> String {
    format!("{instance}.{}", private_domain(region))
}

/// The public name of an address: `ec2-198-18-0-1.compute-1.amazonaws.com`.
pub fn public_name(region: &RegionName, address: Ipv4Addr) -> String {
    match region.as_str() {
        "us-east-1" => format!("ec2-{}.compute-1.amazonaws.com", dashed(address)),
        other => format!("ec2-{}.{other}.compute.amazonaws.com", dashed(address)),
    }
}

fn dashed(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{a}-{b}-{c}-{d}")
}

/// `use1` for `us-east-1`, `apse2` for `ap-southeast-2`.
fn zone_id_prefix(region: &str) -> String {
    let short = |part: &str| match part {
        "northeast" => "ne".to_owned(),
        "northwest" => "nw".to_owned(),
        "southeast" => "se".to_owned(),
        "southwest" => "sw".to_owned(),
        "north" | "south" | "east" | "west" | "central" | "gov" => part[..1].to_owned(),
        other => other.to_owned(),
    };
    region.split('-').map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    #[test]
    fn zone_ids_are_ec2s() {
        assert_eq!(zone_id(&region("us-east-1"), "us-east-1a"), "use1-az1");
        assert_eq!(zone_id(&region("ap-southeast-2"), "ap-southeast-2c"), "apse2-az3");
        assert_eq!(zone_id(&region("eu-central-1"), "eu-central-1b"), "euc1-az2");
    }

    #[test]
    fn names_differ_in_us_east_1() {
        let address = Ipv4Addr::new(10, 0, 0, 4);
        assert_eq!(
            private_name(&region("us-east-1"), address),
            "ip-10-0-0-4.ec2.internal"
        );
        assert_eq!(
            private_name(&region("eu-west-1"), address),
            "ip-10-0-0-4.eu-west-1.compute.internal"
        );
        assert_eq!(
            public_name(&region("us-east-1"), address),
            "ec2-10-0-0-4.compute-1.amazonaws.com"
        );
        assert_eq!(
            public_name(&region("eu-west-1"), address),
            "ec2-10-0-0-4.eu-west-1.compute.amazonaws.com"
        );
    }
}
