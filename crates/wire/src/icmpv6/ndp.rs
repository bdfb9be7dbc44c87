//! Neighbor Discovery: who has an address, and which router a link has.
//!
//! Source: [RFC 4861 §4], [RFC 8106 §5.1] (DNS servers).

use std::net::Ipv6Addr;

use super::{NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION};
use crate::ethernet::Mac;
use crate::{Error, Layer};

/// The hop limit that a Neighbor Discovery packet must have on arrival, so that it cannot come from
/// beyond the link. Source: [RFC 4861 §7.1].
pub const HOP_LIMIT: u8 = 255;

/// Most prefixes and most DNS servers that a [`RouterAdvertisement`] holds; a longer list is refused.
pub const MAX_LIST: usize = 4;

/// Most options that a message may have; more is refused, so that the work per packet is bounded.
const MAX_OPTIONS: usize = 16;

const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_DNS: u8 = 25;

/// Whether messages of this ICMPv6 type are ones of [`Repr`].
pub(super) const fn is_ndp(kind: u8) -> bool {
    matches!(
        kind,
        ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT
    )
}

/// A message of Neighbor Discovery. Options that it does not name are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr {
    /// Asks routers to advertise themselves.
    RouterSolicitation {
        /// Link address of the sender.
        source_link: Option<Mac>,
    },
    /// A router advertises itself.
    RouterAdvertisement(RouterAdvertisement),
    /// Asks for the link address of `target`.
    NeighborSolicitation {
        /// The address that is asked for.
        target: Ipv6Addr,
        /// Link address of the sender; none when it checks that nobody has `target`.
        source_link: Option<Mac>,
    },
    /// Tells the link address of `target`.
    NeighborAdvertisement {
        /// The sender is a router.
        router: bool,
        /// Answers a solicitation.
        solicited: bool,
        /// Replaces what the receiver knows.
        override_flag: bool,
        /// The address that this is about.
        target: Ipv6Addr,
        /// Its link address.
        target_link: Option<Mac>,
    },
}

/// What a router tells the nodes of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouterAdvertisement {
    /// Hop limit that nodes are to use; 0 = not said.
    pub hop_limit: u8,
    /// Addresses are to be had from DHCPv6.
    pub managed: bool,
    /// Other configuration is to be had from DHCPv6.
    pub other_config: bool,
    /// How long the router is a default router; 0 = it is none.
    pub lifetime_s: u16,
    /// How long a neighbor counts as reachable; 0 = not said.
    pub reachable_ms: u32,
    /// Time between solicitations; 0 = not said.
    pub retransmit_ms: u32,
    /// Link address of the router.
    pub source_link: Option<Mac>,
    /// MTU of the link.
    pub mtu: Option<u32>,
    /// Prefixes of the link, the unused places empty.
    pub prefixes: [Option<Prefix>; MAX_LIST],
    /// How long the DNS servers may be used.
    pub dns_lifetime_s: u32,
    /// DNS servers, the unused places empty.
    pub dns: [Option<Ipv6Addr>; MAX_LIST],
}

/// A prefix of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Length in bits, at most 128.
    pub prefix_len: u8,
    /// Addresses in it are on the link, not behind a router.
    pub on_link: bool,
    /// Nodes may make their own addresses in it.
    pub autonomous: bool,
    /// How long it is valid.
    pub valid_s: u32,
    /// How long addresses in it are preferred; at most `valid_s`.
    pub preferred_s: u32,
    /// The prefix.
    pub prefix: Ipv6Addr,
}

impl Repr {
    /// Reads what follows the checksum: the four bytes of the header's rest, then `body`.
    pub(super) fn parse(kind: u8, rest: [u8; 4], body: &[u8]) -> Result<Self, Error> {
        match kind {
            ROUTER_SOLICITATION => Ok(Self::RouterSolicitation {
                source_link: find_link(body, OPTION_SOURCE_LINK)?,
            }),
            ROUTER_ADVERTISEMENT => RouterAdvertisement::parse(rest, body).map(Self::RouterAdvertisement),
            NEIGHBOR_SOLICITATION => {
                let (target, options) = target(body)?;
                Ok(Self::NeighborSolicitation {
                    target,
                    source_link: find_link(options, OPTION_SOURCE_LINK)?,
                })
            }
            _ => {
                let (target, options) = target(body)?;
                let flags = rest[0];
                Ok(Self::NeighborAdvertisement {
                    router: flags & 0x80 != 0,
                    solicited: flags & 0x40 != 0,
                    override_flag: flags & 0x20 != 0,
                    target,
                    target_link: find_link(options, OPTION_TARGET_LINK)?,
                })
            }
        }
    }

    /// Bytes behind the ICMPv6 header.
    pub(super) fn body_len(&self) -> usize {
        let link = |mac: &Option<Mac>| if mac.is_some() { 8 } else { 0 };
        match self {
            Self::RouterSolicitation { source_link } => link(source_link),
            Self::RouterAdvertisement(advertisement) => advertisement.body_len(),
            Self::NeighborSolicitation { source_link, .. } => 16 + link(source_link),
            Self::NeighborAdvertisement { target_link, .. } => 16 + link(target_link),
        }
    }

    /// Writes the body, whose size is right; returns the ICMPv6 type and the header's rest.
    pub(super) fn emit(&self, body: &mut [u8]) -> Result<(u8, [u8; 4]), Error> {
        let mut writer = Writer { rest: body };
        match *self {
            Self::RouterSolicitation { source_link } => {
                writer.link(OPTION_SOURCE_LINK, source_link)?;
                Ok((ROUTER_SOLICITATION, [0; 4]))
            }
            Self::RouterAdvertisement(ref advertisement) => {
                let rest = advertisement.emit(&mut writer)?;
                Ok((ROUTER_ADVERTISEMENT, rest))
            }
            Self::NeighborSolicitation { target, source_link } => {
                writer.put(&target.octets())?;
                writer.link(OPTION_SOURCE_LINK, source_link)?;
                Ok((NEIGHBOR_SOLICITATION, [0; 4]))
            }
            Self::NeighborAdvertisement {
                router,
                solicited,
                override_flag,
                target,
                target_link,
            } => {
                writer.put(&target.octets())?;
                writer.link(OPTION_TARGET_LINK, target_link)?;
                let flags = flag(router, 0x80) | flag(solicited, 0x40) | flag(override_flag, 0x20);
                Ok((NEIGHBOR_ADVERTISEMENT, [flags, 0, 0, 0]))
            }
        }
    }
}

impl RouterAdvertisement {
    fn parse(rest: [u8; 4], body: &[u8]) -> Result<Self, Error> {
        let (&[a, b, c, d, e, f, g, h], options) = body.split_first_chunk::<8>().ok_or(Error::Truncated {
            layer: Layer::Ndp,
            needed: 8,
            got: body.len(),
        })?;
        let mut this = Self {
            hop_limit: rest[0],
            managed: rest[1] & 0x80 != 0,
            other_config: rest[1] & 0x40 != 0,
            lifetime_s: u16::from_be_bytes([rest[2], rest[3]]),
            reachable_ms: u32::from_be_bytes([a, b, c, d]),
            retransmit_ms: u32::from_be_bytes([e, f, g, h]),
            ..Self::default()
        };
        each_option(options, |kind, data| this.take(kind, data))?;
        Ok(this)
    }

    fn take(&mut self, kind: u8, data: &[u8]) -> Result<(), Error> {
        match (kind, data) {
            (OPTION_SOURCE_LINK, &[a, b, c, d, e, f]) => self.source_link = Some([a, b, c, d, e, f]),
            (OPTION_MTU, &[_, _, a, b, c, d]) => self.mtu = Some(u32::from_be_bytes([a, b, c, d])),
            (OPTION_PREFIX, data) if data.len() == 30 => {
                push(&mut self.prefixes, Prefix::parse(data)?)?;
            }
            (OPTION_DNS, data) if data.len() >= 22 && (data.len() - 6) % 16 == 0 => {
                self.dns_lifetime_s = u32_at(data, 2);
                for server in data[6..].as_chunks::<16>().0 {
                    push(&mut self.dns, Ipv6Addr::from(*server))?;
                }
            }
            (OPTION_SOURCE_LINK | OPTION_MTU | OPTION_PREFIX | OPTION_DNS, _) => {
                return Err(illegal("option length", kind));
            }
            _ => {}
        }
        Ok(())
    }

    fn body_len(&self) -> usize {
        let dns = self.dns.iter().flatten().count();
        8 + if self.source_link.is_some() { 8 } else { 0 }
            + if self.mtu.is_some() { 8 } else { 0 }
            + 32 * self.prefixes.iter().flatten().count()
            + if dns > 0 { 8 + 16 * dns } else { 0 }
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Result<[u8; 4], Error> {
        writer.put(&self.reachable_ms.to_be_bytes())?;
        writer.put(&self.retransmit_ms.to_be_bytes())?;
        writer.link(OPTION_SOURCE_LINK, self.source_link)?;
        if let Some(mtu) = self.mtu {
            writer.put(&[OPTION_MTU, 1, 0, 0])?;
            writer.put(&mtu.to_be_bytes())?;
        }
        for prefix in self.prefixes.iter().flatten() {
            prefix.emit(writer)?;
        }
        let count = self.dns.iter().flatten().count();
        if count > 0 {
            let words = u8::try_from(1 + 2 * count).unwrap_or(u8::MAX);
            writer.put(&[OPTION_DNS, words, 0, 0])?;
            writer.put(&self.dns_lifetime_s.to_be_bytes())?;
        }
        for server in self.dns.iter().flatten() {
            writer.put(&server.octets())?;
        }
        let [a, b] = self.lifetime_s.to_be_bytes();
        let flags = flag(self.managed, 0x80) | flag(self.other_config, 0x40);
        Ok([self.hop_limit, flags, a, b])
    }
}

impl Prefix {
    /// Reads the 30 bytes behind the option's type and length.
    fn parse(data: &[u8]) -> Result<Self, Error> {
        let prefix_len = data[0];
        let (valid_s, preferred_s) = (u32_at(data, 2), u32_at(data, 6));
        if prefix_len > 128 {
            return Err(illegal("prefix length", prefix_len));
        }
        // RFC 4861 §4.6.2: a prefix is preferred no longer than it is valid.
        if preferred_s > valid_s {
            return Err(illegal("preferred lifetime", OPTION_PREFIX));
        }
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&data[14..30]);
        Ok(Self {
            prefix_len,
            on_link: data[1] & 0x80 != 0,
            autonomous: data[1] & 0x40 != 0,
            valid_s,
            preferred_s,
            prefix: prefix.into(),
        })
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        if self.prefix_len > 128 {
            return Err(illegal("prefix length", self.prefix_len));
        }
        let flags = flag(self.on_link, 0x80) | flag(self.autonomous, 0x40);
        writer.put(&[OPTION_PREFIX, 4, self.prefix_len, flags])?;
        writer.put(&self.valid_s.to_be_bytes())?;
        writer.put(&self.preferred_s.to_be_bytes())?;
        writer.put(&[0; 4])?;
        writer.put(&self.prefix.octets())
    }
}

/// Calls `take` with each option's type and data.
fn each_option(mut rest: &[u8], mut take: impl FnMut(u8, &[u8]) -> Result<(), Error>) -> Result<(), Error> {
    for _ in 0..MAX_OPTIONS {
        let [kind, words, ..] = *rest else {
            return if rest.is_empty() {
                Ok(())
            } else {
                Err(illegal("option without length", rest[0]))
            };
        };
        let len = usize::from(words) * 8;
        // A length of zero would never end (RFC 4861 §4.6).
        if len == 0 || len > rest.len() {
            return Err(illegal("option length", kind));
        }
        let (option, after) = rest.split_at(len);
        take(kind, &option[2..])?;
        rest = after;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(illegal("number of options", rest[0]))
    }
}

fn find_link(options: &[u8], wanted: u8) -> Result<Option<Mac>, Error> {
    let mut found = None;
    each_option(options, |kind, data| {
        if kind != wanted {
            return Ok(());
        }
        found = Some(Mac::try_from(data).map_err(|_| illegal("option length", kind))?);
        Ok(())
    })?;
    Ok(found)
}

fn target(body: &[u8]) -> Result<(Ipv6Addr, &[u8]), Error> {
    let (target, options) = body.split_first_chunk::<16>().ok_or(Error::Truncated {
        layer: Layer::Ndp,
        needed: 16,
        got: body.len(),
    })?;
    let target = Ipv6Addr::from(*target);
    if target.is_multicast() {
        return Err(illegal("target address", target.octets()[0]));
    }
    Ok((target, options))
}

fn push<T>(list: &mut [Option<T>; MAX_LIST], item: T) -> Result<(), Error> {
    let slot = list
        .iter_mut()
        .find(|slot| slot.is_none())
        .ok_or_else(|| illegal("number of list entries", 0))?;
    *slot = Some(item);
    Ok(())
}

fn u32_at(data: &[u8], offset: usize) -> u32 {
    data.get(offset..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn illegal(field: &'static str, got: u8) -> Error {
    Error::Field {
        layer: Layer::Ndp,
        field,
        got: got.into(),
    }
}

struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.rest);
        let got = rest.len();
        let (to, rest) = rest.split_at_mut_checked(bytes.len()).ok_or(Error::NoSpace {
            layer: Layer::Ndp,
            needed: bytes.len(),
            got,
        })?;
        to.copy_from_slice(bytes);
        self.rest = rest;
        Ok(())
    }

    fn link(&mut self, kind: u8, mac: Option<Mac>) -> Result<(), Error> {
        let Some(mac) = mac else { return Ok(()) };
        self.put(&[kind, 1])?;
        self.put(&mac)
    }
}
