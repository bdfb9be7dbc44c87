//! Header edits: MACs, TTL, and the internet gateway's address translation with all checksums.

use std::net::Ipv4Addr;

use trinic_wire::checksum::{never_zero, update, update_bytes, update_partial_bytes};
use trinic_wire::packet::{Inner, Ip, Network, Parsed, Transport};
use trinic_wire::{Protocol, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

use crate::packet::Offload;
use crate::tables::Mac;

/// What changes in a frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edits {
    pub(crate) source_mac: Mac,
    pub(crate) destination_mac: Mac,
    /// Private to public address.
    pub(crate) source: Option<Ipv4Addr>,
    /// Public to private address.
    pub(crate) destination: Option<Ipv4Addr>,
    pub(crate) decrement_ttl: bool,
}

/// Edits a frame in place. `parsed` is the frame's own, from before any edit.
#[inline]
pub(crate) fn apply(window: &mut [u8], parsed: &Parsed, offload: Offload, edits: &Edits) {
    if let Some(macs) = window.first_chunk_mut::<12>() {
        macs[..6].copy_from_slice(&edits.destination_mac);
        macs[6..].copy_from_slice(&edits.source_mac);
    }
    let Network::Ip(ip) = &parsed.network else {
        return;
    };
    let at = parsed.network_offset;
    if edits.decrement_ttl {
        decrement_ttl(window, at, ip.is_ipv6());
    }
    if let Some(new) = edits.source {
        translate(window, at, ip, offload, Side::Source, new);
    }
    if let Some(new) = edits.destination {
        translate(window, at, ip, offload, Side::Destination, new);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    const fn offset(self) -> usize {
        match self {
            Self::Source => ipv4::SOURCE_OFFSET,
            Self::Destination => ipv4::DESTINATION_OFFSET,
        }
    }

    /// The packet that an ICMP error quotes travelled the other way.
    const fn quoted(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

fn decrement_ttl(window: &mut [u8], at: usize, ipv6: bool) {
    if ipv6 {
        if let Some(limit) = window.get_mut(at + ipv6::HOP_LIMIT_OFFSET) {
            *limit = limit.saturating_sub(1);
        }
        return;
    }
    // TTL and protocol are one word of the header's checksum.
    let Some(old) = read(window, at + ipv4::TTL_OFFSET) else {
        return;
    };
    let new = old.wrapping_sub(0x100);
    write(window, at + ipv4::TTL_OFFSET, new);
    change(window, at + ipv4::CHECKSUM_OFFSET, |sum| update(sum, old, new));
}

/// Replaces one IPv4 address, in the header, in the transport checksum and in the packet that an ICMP error
/// quotes.
fn translate(window: &mut [u8], at: usize, ip: &Ip, offload: Offload, side: Side, new: Ipv4Addr) {
    let new = new.octets();
    let Some(old) = replace_address(window, at, side, new) else {
        return;
    };
    match ip.transport {
        Transport::Tcp { .. } => {
            let field = ip.transport_offset + tcp::CHECKSUM_OFFSET;
            transport_checksum(window, field, offload, &old, &new);
        }
        Transport::Udp => {
            let field = ip.transport_offset + udp::CHECKSUM_OFFSET;
            // Zero means "no checksum" unless the checksum is still to be made.
            if offload.checksum_partial || read(window, field) != Some(0) {
                transport_checksum(window, field, offload, &old, &new);
                if !offload.checksum_partial {
                    change(window, field, never_zero);
                }
            }
        }
        // ICMP over IPv4 has no pseudo header, so that only the quoted packet counts.
        Transport::Icmp(icmp) => {
            if let Some(inner) = icmp.inner {
                translate_quoted(window, ip.transport_offset, &inner, side.quoted(), old, new);
            }
        }
        Transport::Other | Transport::Absent => {}
    }
}

/// Replaces an address of a header and corrects the header's checksum. Returns the old address.
fn replace_address(window: &mut [u8], at: usize, side: Side, new: [u8; 4]) -> Option<[u8; 4]> {
    let field = window.get_mut(at + side.offset()..)?.first_chunk_mut::<4>()?;
    let old = std::mem::replace(field, new);
    change(window, at + ipv4::CHECKSUM_OFFSET, |sum| {
        update_bytes(sum, &old, &new)
    });
    Some(old)
}

/// Corrects a transport checksum for a changed pseudo header. With an offloaded checksum the field holds the
/// pseudo header's sum itself, not inverted.
fn transport_checksum(window: &mut [u8], field: usize, offload: Offload, old: &[u8; 4], new: &[u8; 4]) {
    change(window, field, |sum| {
        if offload.checksum_partial {
            update_partial_bytes(sum, old, new)
        } else {
            update_bytes(sum, old, new)
        }
    });
}

/// Translates the packet that an ICMP error quotes, if it is about the translated address at all.
///
/// The quoted header's address and checksum change by amounts that cancel out in the ICMP checksum. The
/// quoted transport checksum (for UDP it lies in the eight bytes that are always quoted) is corrected too,
/// and that change does count.
fn translate_quoted(window: &mut [u8], icmp: usize, inner: &Inner, side: Side, old: [u8; 4], new: [u8; 4]) {
    let at = inner.network_offset;
    let quoted = window
        .get(at + side.offset()..)
        .and_then(|bytes| bytes.first_chunk::<4>());
    if quoted != Some(&old) {
        return;
    }
    replace_address(window, at, side, new);
    let field = match inner.tuple.protocol {
        Protocol::TCP => inner.transport_offset + tcp::CHECKSUM_OFFSET,
        Protocol::UDP => inner.transport_offset + udp::CHECKSUM_OFFSET,
        _ => return,
    };
    if !inner.has_ports {
        return;
    }
    let Some(before) = read(window, field) else {
        return;
    };
    if inner.tuple.protocol == Protocol::UDP && before == 0 {
        return;
    }
    let after = update_bytes(before, &old, &new);
    write(window, field, after);
    change(window, icmp + CHECKSUM_OFFSET, |sum| update(sum, before, after));
}

/// Offset of the checksum in an ICMP message of either family.
const CHECKSUM_OFFSET: usize = icmpv6::CHECKSUM_OFFSET;

/// Turns an echo request into its reply, in place: MACs and addresses swapped, type changed, a fresh TTL.
pub(crate) fn echo(window: &mut [u8], parsed: &Parsed, router: Mac) {
    let Network::Ip(ip) = &parsed.network else {
        return;
    };
    if let Some(macs) = window.first_chunk_mut::<12>() {
        let sender = parsed.ethernet.source;
        macs[..6].copy_from_slice(&sender);
        macs[6..].copy_from_slice(&router);
    }
    let at = parsed.network_offset;
    let (source, size, reply, from, to) = if ip.is_ipv6() {
        let kinds = (icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY);
        (ipv6::SOURCE_OFFSET, 16, icmpv6::ECHO_REPLY, kinds.0, kinds.1)
    } else {
        let kinds = (icmpv4::ECHO_REQUEST, icmpv4::ECHO_REPLY);
        (ipv4::SOURCE_OFFSET, 4, icmpv4::ECHO_REPLY, kinds.0, kinds.1)
    };
    // Source and destination are neighbors in both headers; swapping them changes no checksum.
    if let Some(both) = window.get_mut(at + source..at + source + 2 * size) {
        let (first, second) = both.split_at_mut(size);
        first.swap_with_slice(second);
    }
    if let Some(kind) = window.get_mut(ip.transport_offset) {
        *kind = reply;
    }
    change(window, ip.transport_offset + CHECKSUM_OFFSET, |sum| {
        update(sum, u16::from(from) << 8, u16::from(to) << 8)
    });
}

fn read(window: &[u8], at: usize) -> Option<u16> {
    window
        .get(at..)?
        .first_chunk::<2>()
        .map(|bytes| u16::from_be_bytes(*bytes))
}

fn write(window: &mut [u8], at: usize, value: u16) {
    if let Some(field) = window.get_mut(at..).and_then(|w| w.first_chunk_mut::<2>()) {
        *field = value.to_be_bytes();
    }
}

/// Changes a 16-bit field that the window has.
fn change(window: &mut [u8], at: usize, new: impl FnOnce(u16) -> u16) {
    if let Some(old) = read(window, at) {
        write(window, at, new(old));
    }
}
