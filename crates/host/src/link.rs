//! Interfaces, addresses, routes and neighbours of a network namespace, over blocking netlink.
//!
//! A [`Netlink`] belongs to the namespace in which it was opened and may be used from any thread, so a
//! caller enters the namespace once (on a short-lived thread) and configures it from where it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use crate::error::{Error, Result, Step};
use crate::netlink::{FLAG_CREATE, FLAG_EXCLUSIVE, FLAG_REPLACE, Request, Socket, attributes, u32_at};
use crate::netns::NetNs;

/// Six bytes of an Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

/// An interface as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number of the interface in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, where it has one.
    pub mac: Option<MacAddress>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier as well.
    pub running: bool,
    /// The driver (`veth`, `tun`), where the kernel names one.
    pub kind: Option<String>,
}

/// What to change of an interface; `None` leaves things as they are.
#[derive(Debug, Clone, Default)]
pub struct LinkChange {
    /// Set up or down.
    pub up: Option<bool>,
    /// A new name (the interface must be down on kernels before 6.x).
    pub name: Option<String>,
    /// A new MAC address.
    pub mac: Option<MacAddress>,
    /// A new MTU in bytes.
    pub mtu: Option<u32>,
}

/// One end of a virtual cable.
#[derive(Debug, Clone)]
pub struct VethEnd<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Namespace; `None` is the one of the netlink socket.
    pub netns: Option<&'a NetNs>,
    /// MAC address; `None` lets the kernel choose.
    pub mac: Option<MacAddress>,
    /// MTU in bytes; `None` leaves 1500.
    pub mtu: Option<u32>,
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix of its network.
    pub prefix_len: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to: a network, or everything (0.0.0.0/0, ::/0).
    pub destination: Address,
    /// Through which router; `None` means that the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Over which interface.
    pub index: u32,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Whether to take the router as reachable although no address of the interface covers it.
    pub onlink: bool,
    /// Metric; lower wins.
    pub metric: Option<u32>,
    /// Routing table; `None` is the main one (254).
    pub table: Option<u32>,
}

impl Route {
    /// The default route through `gateway`.
    #[must_use]
    pub fn default_via(gateway: IpAddr, index: u32) -> Self {
        let any = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let destination = Address {
            ip: any,
            prefix_len: 0,
        };
        Self {
            gateway: Some(gateway),
            ..Self::on_link(destination, index)
        }
    }

    /// A route to a network that is on the link itself.
    #[must_use]
    pub fn on_link(destination: Address, index: u32) -> Self {
        Self {
            destination,
            gateway: None,
            index,
            source: None,
            onlink: false,
            metric: None,
            table: None,
        }
    }
}

/// A rule that sends packets from an address to a routing table of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyRule {
    /// From which network.
    pub source: Address,
    /// Which routing table.
    pub table: u32,
    /// Rules of lower numbers are asked first; the main table is asked at 32766.
    pub priority: u32,
}

/// A netlink socket and the namespace's interfaces behind it.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// For the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        Ok(Self {
            socket: Socket::open()?,
        })
    }

    /// For another namespace; the calling thread stays where it is.
    pub fn open_in(netns: &NetNs) -> Result<Self> {
        netns.run(Self::open)?
    }

    /// Every interface.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let request = Request::new(RTM_GETLINK, 0, &link_body(0, 0, 0), "list interfaces");
        let answer = self.socket.dump(request)?;
        Ok(answer.iter().filter_map(|(_, body)| parse_link(body)).collect())
    }

    /// The interface of that name.
    pub fn link_by_name(&mut self, name: &str) -> Result<Link> {
        let what = format!("find the interface {name}");
        let mut request = Request::new(RTM_GETLINK, 0, &link_body(0, 0, 0), &what);
        request.attribute_text(IFLA_IFNAME, name);
        let answer = self.socket.get(request)?;
        answer.as_deref().and_then(parse_link).ok_or_else(|| Error::Os {
            what,
            source: std::io::Error::from_raw_os_error(libc::ENODEV),
        })
    }

    /// Changes an interface, in one request.
    pub fn change_link(&mut self, index: u32, change: &LinkChange) -> Result<()> {
        let flags = u32::from(change.up == Some(true)) * IFF_UP;
        let mask = u32::from(change.up.is_some()) * IFF_UP;
        if mask == 0 && change.name.is_none() && change.mac.is_none() && change.mtu.is_none() {
            return Ok(());
        }
        let what = format!("configure interface {index}");
        let mut request = Request::new(RTM_NEWLINK, 0, &link_body(index, flags, mask), what);
        if let Some(name) = &change.name {
            request.attribute_text(IFLA_IFNAME, name);
        }
        if let Some(mac) = change.mac {
            request.attribute(IFLA_ADDRESS, &mac.0);
        }
        if let Some(mtu) = change.mtu {
            request.attribute_u32(IFLA_MTU, mtu);
        }
        self.socket.execute(request)
    }

    /// Sets an interface up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> Result<()> {
        self.change_link(
            index,
            &LinkChange {
                up: Some(up),
                ..LinkChange::default()
            },
        )
    }

    /// Removes an interface (and the other end, for a veth).
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        let what = format!("remove interface {index}");
        self.socket
            .execute(Request::new(RTM_DELLINK, 0, &link_body(index, 0, 0), what))
    }

    /// Makes a virtual cable; both ends appear in their namespaces, down.
    pub fn create_veth(&mut self, near: &VethEnd<'_>, far: &VethEnd<'_>) -> Result<()> {
        let what = format!("make the cable {} to {}", near.name, far.name);
        let flags = FLAG_CREATE | FLAG_EXCLUSIVE;
        let mut request = Request::new(RTM_NEWLINK, flags, &link_body(0, 0, 0), what);
        veth_end(&mut request, near);
        request.nested(IFLA_LINKINFO, |info| {
            info.attribute_text(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_body(0, 0, 0));
                    veth_end(peer, far);
                });
            });
        });
        self.socket.execute(request)
    }

    /// Addresses of an interface, link-local ones included.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Address>> {
        let request = Request::new(RTM_GETADDR, 0, &[0; 8], "list addresses");
        let answer = self.socket.dump(request)?;
        Ok(answer
            .iter()
            .filter_map(|(_, body)| parse_address(body, index))
            .collect())
    }

    /// Puts an address on an interface; one that is there already is no error. IPv6 addresses skip
    /// duplicate address detection: the VPC assigns each address once.
    pub fn add_address(&mut self, index: u32, address: Address) -> Result<()> {
        let what = format!("add {}/{} to interface {index}", address.ip, address.prefix_len);
        let flags = FLAG_CREATE | FLAG_REPLACE;
        let mut request = Request::new(RTM_NEWADDR, flags, &address_body(index, address), what);
        address_attributes(&mut request, address);
        self.socket.execute(request)
    }

    /// Takes an address off an interface.
    pub fn delete_address(&mut self, index: u32, address: Address) -> Result<()> {
        let what = format!(
            "remove {}/{} from interface {index}",
            address.ip, address.prefix_len
        );
        let mut request = Request::new(RTM_DELADDR, 0, &address_body(index, address), what);
        address_attributes(&mut request, address);
        self.socket.execute(request)
    }

    /// Gives an interface exactly these addresses (link-local IPv6 ones are left alone): adds what is
    /// missing in the order given, then removes what is too much.
    pub fn set_addresses(&mut self, index: u32, wanted: &[Address]) -> Result<()> {
        let present = self.addresses(index)?;
        for address in wanted.iter().filter(|address| !present.contains(address)) {
            self.add_address(index, *address)?;
        }
        for address in present.iter().filter(|address| !wanted.contains(address)) {
            if matches!(address.ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
                continue;
            }
            match self.delete_address(index, *address) {
                // Removing a primary IPv4 address takes the secondary ones of its network along.
                Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
                result => result?,
            }
        }
        let left = self.addresses(index)?;
        for address in wanted.iter().filter(|address| !left.contains(address)) {
            self.add_address(index, *address)?;
        }
        Ok(())
    }

    /// Adds a route, or replaces the one with the same destination and metric.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        let what = format!(
            "add the route to {}/{}",
            route.destination.ip, route.destination.prefix_len
        );
        let flags = FLAG_CREATE | FLAG_REPLACE;
        let request = route_request(RTM_NEWROUTE, flags, route, what);
        self.socket.execute(request)
    }

    /// Removes a route.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        let what = format!(
            "remove the route to {}/{}",
            route.destination.ip, route.destination.prefix_len
        );
        let request = route_request(RTM_DELROUTE, 0, route, what);
        self.socket.execute(request)
    }

    /// Adds a rule that chooses a routing table by source address; one that is there is no error.
    pub fn add_rule(&mut self, rule: &PolicyRule) -> Result<()> {
        let what = format!("add the routing rule for {}", rule.source.ip);
        let flags = FLAG_CREATE | FLAG_EXCLUSIVE;
        match self.socket.execute(rule_request(RTM_NEWRULE, flags, rule, what)) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result,
        }
    }

    /// Removes such a rule.
    pub fn delete_rule(&mut self, rule: &PolicyRule) -> Result<()> {
        let what = format!("remove the routing rule for {}", rule.source.ip);
        self.socket.execute(rule_request(RTM_DELRULE, 0, rule, what))
    }

    /// Adds a permanent neighbour, so that no ARP or NDP is needed for it.
    pub fn set_neighbor(&mut self, index: u32, ip: IpAddr, mac: MacAddress) -> Result<()> {
        let what = format!("add the neighbour {ip} to interface {index}");
        let mut body = [0u8; 12];
        body[0] = family(ip);
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
        let mut request = Request::new(RTM_NEWNEIGH, FLAG_CREATE | FLAG_REPLACE, &body, what);
        with_octets(ip, |octets| {
            request.attribute(NDA_DST, octets);
        });
        request.attribute(NDA_LLADDR, &mac.0);
        self.socket.execute(request)
    }
}

/// `struct fib_rule_hdr` and its attributes. Source: [linux/fib_rules.h].
fn rule_request(kind: u16, flags: u16, rule: &PolicyRule, what: String) -> Request {
    let mut body = [0u8; 12];
    body[0] = family(rule.source.ip);
    body[2] = rule.source.prefix_len;
    body[7] = FR_ACT_TO_TBL;
    let mut request = Request::new(kind, flags, &body, what);
    with_octets(rule.source.ip, |octets| {
        request.attribute(FRA_SRC, octets);
    });
    request.attribute_u32(FRA_PRIORITY, rule.priority);
    request.attribute_u32(FRA_TABLE, rule.table);
    request
}

/// A gratuitous ARP request: tells the link that `ip` is at `mac`, after an address has moved.
/// Source: [RFC 5227 §3].
#[must_use]
pub fn gratuitous_arp(mac: MacAddress, ip: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0u8; 42];
    frame[0..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    // Ethernet, IPv4, address lengths 6 and 4, operation 1 (request).
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac.0);
    frame[28..32].copy_from_slice(&ip.octets());
    frame[38..42].copy_from_slice(&ip.octets());
    frame
}

/// Sends a gratuitous ARP request for `ip` from an interface of the namespace that the calling thread
/// is in, as an instance does when an address has moved to it.
pub fn announce_address(index: u32, mac: MacAddress, ip: Ipv4Addr) -> Result<()> {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
    let what = || format!("announce {ip}");
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .step(what)?;
    crate::sys::bind_packet_socket(socket.as_fd(), index).step(what)?;
    rustix::net::send(&socket, &gratuitous_arp(mac, ip), SendFlags::empty()).step(what)?;
    Ok(())
}

/// `struct ifinfomsg`. Source: [linux/rtnetlink.h].
fn link_body(index: u32, flags: u32, mask: u32) -> [u8; 16] {
    let mut body = [0u8; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&mask.to_ne_bytes());
    body
}

fn veth_end(request: &mut Request, end: &VethEnd<'_>) {
    request.attribute_text(IFLA_IFNAME, end.name);
    if let Some(mac) = end.mac {
        request.attribute(IFLA_ADDRESS, &mac.0);
    }
    if let Some(mtu) = end.mtu {
        request.attribute_u32(IFLA_MTU, mtu);
    }
    if let Some(netns) = end.netns {
        request.attribute(IFLA_NET_NS_FD, &netns.as_fd().as_raw_fd().to_ne_bytes());
    }
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags & IFF_UP != 0,
        running: flags & IFF_RUNNING != 0,
        kind: None,
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINKINFO => {
                link.kind = attributes(value)
                    .find(|(k, _)| *k == IFLA_INFO_KIND)
                    .map(|(_, v)| text(v));
            }
            _ => {}
        }
    }
    Some(link)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

/// `struct ifaddrmsg`. Source: [linux/if_addr.h].
fn address_body(index: u32, address: Address) -> [u8; 8] {
    let mut body = [0u8; 8];
    body[0] = family(address.ip);
    body[1] = address.prefix_len;
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body
}

fn address_attributes(request: &mut Request, address: Address) {
    with_octets(address.ip, |octets| {
        request.attribute(IFA_LOCAL, octets);
        request.attribute(IFA_ADDRESS, octets);
    });
    if address.ip.is_ipv6() {
        request.attribute_u32(IFA_FLAGS, IFA_F_NODAD);
    }
}

fn parse_address(body: &[u8], index: u32) -> Option<Address> {
    if u32_at(body, 4)? != index {
        return None;
    }
    let prefix_len = *body.get(1)?;
    let (mut local, mut remote) = (None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            IFA_LOCAL => local = parse_ip(value),
            IFA_ADDRESS => remote = parse_ip(value),
            _ => {}
        }
    }
    // IPv6 has no IFA_LOCAL; on point-to-point links IFA_ADDRESS is the other side.
    Some(Address {
        ip: local.or(remote)?,
        prefix_len,
    })
}

fn parse_ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// `struct rtmsg` and its attributes. Source: [linux/rtnetlink.h].
fn route_request(kind: u16, flags: u16, route: &Route, what: String) -> Request {
    let mut body = [0u8; 12];
    body[0] = family(route.destination.ip);
    body[1] = route.destination.prefix_len;
    body[4] = RT_TABLE_MAIN;
    body[5] = RTPROT_STATIC;
    let on_link_v4 = route.gateway.is_none() && route.destination.ip.is_ipv4();
    body[6] = if on_link_v4 {
        RT_SCOPE_LINK
    } else {
        RT_SCOPE_UNIVERSE
    };
    body[7] = RTN_UNICAST;
    let route_flags = if route.onlink { RTNH_F_ONLINK } else { 0 };
    body[8..12].copy_from_slice(&route_flags.to_ne_bytes());
    let mut request = Request::new(kind, flags, &body, what);
    with_octets(route.destination.ip, |octets| {
        request.attribute(RTA_DST, octets);
    });
    if let Some(gateway) = route.gateway {
        with_octets(gateway, |octets| {
            request.attribute(RTA_GATEWAY, octets);
        });
    }
    if let Some(source) = route.source {
        with_octets(source, |octets| {
            request.attribute(RTA_PREFSRC, octets);
        });
    }
    request.attribute_u32(RTA_OIF, route.index);
    if let Some(metric) = route.metric {
        request.attribute_u32(RTA_PRIORITY, metric);
    }
    if let Some(table) = route.table {
        request.attribute_u32(RTA_TABLE, table);
    }
    request
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u8::try_from(family).unwrap_or_default()
}

fn with_octets(ip: IpAddr, use_octets: impl FnOnce(&[u8])) {
    match ip {
        IpAddr::V4(ip) => use_octets(&ip.octets()),
        IpAddr::V6(ip) => use_octets(&ip.octets()),
    }
}

// Source of the following: [linux/rtnetlink.h], [linux/if_link.h], [linux/if_addr.h],
// [linux/neighbour.h], [linux/veth.h], [linux/if.h].
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FR_ACT_TO_TBL: u8 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTNH_F_ONLINK: u32 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gratuitous_arp_is_a_broadcast_request_for_itself() {
        let frame = gratuitous_arp(MacAddress([2, 0, 0, 0, 0, 9]), Ipv4Addr::new(10, 0, 0, 9));
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0,
            0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
        ];
        assert_eq!(frame, expected);
    }

    #[test]
    fn truncated_answers_give_nothing() {
        for length in 0..16 {
            assert!(parse_link(&vec![0; length]).is_none());
        }
        assert!(parse_address(&[0; 7], 0).is_none());
        assert!(parse_address(&[0; 8], 0).is_none());
    }

    #[test]
    fn mac_address_prints_as_usual() {
        assert_eq!(MacAddress([2, 0xab, 0, 0, 0, 9]).to_string(), "02:ab:00:00:00:09");
    }
}
