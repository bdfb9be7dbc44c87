//! The names of a VPC: which address a name has inside it, and which name an address has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A view of one VPC's names. Names are lower case, without the dot at the end.
pub trait Zone {
    /// What is known of a name.
    fn forward(&self, name: &str) -> Forward;
    /// What is known of the name of an address.
    fn reverse(&self, address: IpAddr) -> Reverse;
}

/// The answer to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// The name's addresses, of both families; none where the name only has names below it.
    Addresses {
        /// The zone that the name is in.
        zone: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// The zone of this name is ours, and the name is not in it.
    NoSuchName {
        /// The zone.
        zone: String,
    },
    /// Somebody else's name.
    Outside,
}

/// The answer to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reverse {
    /// Its name.
    Name(String),
    /// The address is the VPC's, and has no name.
    NoSuchName,
    /// Somebody else's address.
    Outside,
}

/// The names that EC2 gives, from the few facts that they follow from.
///
/// A private name is the address itself (`ip-10-0-0-5.ec2.internal`), so that every address of the
/// VPC's CIDRs has one, whether an interface has it or not. A public name
/// (`ec2-198-18-0-1.compute-1.amazonaws.com`) gives the private address behind it to those who ask from
/// inside the VPC.
///
/// Source: [AWS doc docs.aws.amazon.com/vpc/latest/userguide/vpc-dns.html].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VpcZone {
    private_domain: String,
    public_domain: String,
    cidrs: Vec<IpNet>,
    /// Private address by public address.
    public: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Names that do not follow from an address: `i-0123456789abcdef0` and the like, without a domain.
    hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Names of IPv6 addresses, for the reverse zone.
    ipv6_hosts: BTreeMap<Ipv6Addr, String>,
}

impl VpcZone {
    /// The zone of a VPC in `region` with these CIDRs and without other names.
    pub fn new(region: &str, cidrs: Vec<IpNet>) -> Self {
        Self {
            private_domain: private_domain(region),
            public_domain: public_domain(region),
            cidrs,
            ..Self::default()
        }
    }

    /// Adds an Elastic or public IP of an interface in the VPC.
    pub fn add_public(&mut self, public: Ipv4Addr, private: Ipv4Addr) {
        self.public.insert(public, private);
    }

    /// Adds a host name (an instance id) with its addresses.
    pub fn add_host(&mut self, host: &str, addresses: &[IpAddr]) {
        let host = host.to_ascii_lowercase();
        for address in addresses {
            if let IpAddr::V6(address) = address {
                self.ipv6_hosts.insert(*address, host.clone());
            }
        }
        self.hosts.insert(host, addresses.to_vec());
    }

    /// The addresses of a host of the private domain.
    fn private(&self, host: &str) -> Option<Vec<IpAddr>> {
        let address = dashed(host, "ip-").map(IpAddr::V4);
        if let Some(address) = address.filter(|address| self.contains(*address)) {
            return Some(vec![address]);
        }
        // The name of the metadata service, which images look for.
        if host == "instance-data" {
            return Some(vec![crate::address::METADATA_V4.into()]);
        }
        self.hosts.get(host).cloned()
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.cidrs.iter().any(|cidr| cidr.contains(&address))
    }
}

impl Zone for VpcZone {
    fn forward(&self, name: &str) -> Forward {
        if name == self.private_domain {
            return Forward::Addresses {
                zone: self.private_domain.clone(),
                addresses: Vec::new(),
            };
        }
        if let Some(host) = below(name, &self.private_domain) {
            let zone = self.private_domain.clone();
            return match self.private(host) {
                Some(addresses) => Forward::Addresses { zone, addresses },
                None => Forward::NoSuchName { zone },
            };
        }
        if let Some(host) = below(name, &self.public_domain) {
            // From elsewhere, or when nobody has the address here, the name is the public address.
            return match dashed(host, "ec2-") {
                Some(public) => {
                    let address = self.public.get(&public).copied().unwrap_or(public);
                    Forward::Addresses {
                        zone: self.public_domain.clone(),
                        addresses: vec![address.into()],
                    }
                }
                None => Forward::Outside,
            };
        }
        Forward::Outside
    }

    fn reverse(&self, address: IpAddr) -> Reverse {
        match address {
            IpAddr::V4(v4) if self.contains(address) => Reverse::Name(private_name(v4, &self.private_domain)),
            IpAddr::V4(v4) if self.public.contains_key(&v4) => {
                Reverse::Name(format!("ec2-{}.{}", dashes(v4), self.public_domain))
            }
            IpAddr::V6(v6) if self.contains(address) => match self.ipv6_hosts.get(&v6) {
                Some(host) => Reverse::Name(format!("{host}.{}", self.private_domain)),
                None => Reverse::NoSuchName,
            },
            _ => Reverse::Outside,
        }
    }
}

/// `ec2.internal` in us-east-1, `REGION.compute.internal` elsewhere.
pub fn private_domain(region: &str) -> String {
    match region {
        "us-east-1" => "ec2.internal".to_owned(),
        _ => format!("{region}.compute.internal"),
    }
}

/// `compute-1.amazonaws.com` in us-east-1, `REGION.compute.amazonaws.com` elsewhere.
pub fn public_domain(region: &str) -> String {
    match region {
        "us-east-1" => "compute-1.amazonaws.com".to_owned(),
        _ => format!("{region}.compute.amazonaws.com"),
    }
}

fn private_name(address: Ipv4Addr, domain: &str) -> String {
    format!("ip-{}.{domain}", dashes(address))
}

fn dashes(address: Ipv4Addr) -> String {
    address.to_string().replace('.', "-")
}

/// The one label of `name` below `domain`.
fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let host = name.strip_suffix(domain)?.strip_suffix('.')?;
    (!host.is_empty()).then_some(host)
}

/// The address in `PREFIX10-0-0-5`, written in no other way than [`dashes`] writes it.
fn dashed(label: &str, prefix: &str) -> Option<Ipv4Addr> {
    let digits = label.strip_prefix(prefix)?;
    if digits.contains('.') {
        return None;
    }
    digits.replace('-', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(region: &str) -> VpcZone {
        let mut zone = VpcZone::new(
            region,
            vec!["10.0.0.0/16".parse().unwrap(), "2001:db8::/56".parse().unwrap()],
        );
        zone.add_public([198, 18, 0, 1].into(), [10, 0, 0, 5].into());
        zone.add_host(
            "i-0A",
            &["10.0.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()],
        );
        zone
    }

    fn addresses(zone: &str, list: &[&str]) -> Forward {
        Forward::Addresses {
            zone: zone.into(),
            addresses: list.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn private_names_are_addresses_of_the_vpc() {
        let east = zone("us-east-1");
        assert_eq!(
            east.forward("ip-10-0-0-5.ec2.internal"),
            addresses("ec2.internal", &["10.0.0.5"])
        );
        assert_eq!(
            east.forward("instance-data.ec2.internal"),
            addresses("ec2.internal", &["169.254.169.254"])
        );
        let no_such = Forward::NoSuchName {
            zone: "ec2.internal".into(),
        };
        for name in [
            "ip-10-9-0-5.ec2.internal",
            "ip-10-0-0-256.ec2.internal",
            "ip-10.0-0-5.ec2.internal",
            "ip-10-0-0-05.ec2.internal",
            "x.ec2.internal",
        ] {
            assert_eq!(east.forward(name), no_such, "{name}");
        }
        assert_eq!(east.forward("ec2.internal"), addresses("ec2.internal", &[]));
        assert_eq!(east.forward("ip-10-0-0-5xec2.internal"), Forward::Outside);
        let west = zone("eu-west-1");
        assert_eq!(
            west.forward("ip-10-0-0-5.eu-west-1.compute.internal"),
            addresses("eu-west-1.compute.internal", &["10.0.0.5"])
        );
        assert_eq!(west.forward("ip-10-0-0-5.ec2.internal"), Forward::Outside);
    }

    #[test]
    fn public_names_are_private_addresses_inside() {
        let east = zone("us-east-1");
        assert_eq!(
            east.forward("ec2-198-18-0-1.compute-1.amazonaws.com"),
            addresses("compute-1.amazonaws.com", &["10.0.0.5"])
        );
        assert_eq!(
            east.forward("ec2-198-18-0-2.compute-1.amazonaws.com"),
            addresses("compute-1.amazonaws.com", &["198.18.0.2"])
        );
        assert_eq!(east.forward("s3.compute-1.amazonaws.com"), Forward::Outside);
        assert_eq!(
            zone("eu-west-1").forward("ec2-198-18-0-1.eu-west-1.compute.amazonaws.com"),
            addresses("eu-west-1.compute.amazonaws.com", &["10.0.0.5"])
        );
    }

    #[test]
    fn instance_ids_have_both_families() {
        assert_eq!(
            zone("us-east-1").forward("i-0a.ec2.internal"),
            addresses("ec2.internal", &["10.0.0.5", "2001:db8::5"])
        );
    }

    #[test]
    fn addresses_have_names() {
        let east = zone("us-east-1");
        let reverse = |address: &str| east.reverse(address.parse().unwrap());
        assert_eq!(
            reverse("10.0.0.5"),
            Reverse::Name("ip-10-0-0-5.ec2.internal".into())
        );
        assert_eq!(
            reverse("198.18.0.1"),
            Reverse::Name("ec2-198-18-0-1.compute-1.amazonaws.com".into())
        );
        assert_eq!(reverse("2001:db8::5"), Reverse::Name("i-0a.ec2.internal".into()));
        assert_eq!(reverse("2001:db8::6"), Reverse::NoSuchName);
        assert_eq!(reverse("192.0.2.1"), Reverse::Outside);
    }
}
