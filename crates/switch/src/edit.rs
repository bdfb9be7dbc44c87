//! Header edits: MACs, TTL, and the internet gateway's address translation with all checksums.

use std::net::Ipv4Addr;

use trinic_wire::checksum::update;
use trinic_wire::packet::{Network, Parsed};
use trinic_wire::rewrite::{self, Side, TransportChecksum};
use trinic_wire::{Error, icmpv4, icmpv6, ipv4, ipv6};

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

/// Edits a frame in place, and `parsed` with it.
///
/// The window has every header that was parsed, so that no edit can lie beyond it.
#[inline]
pub(crate) fn apply(
    window: &mut [u8],
    parsed: &mut Parsed,
    offload: Offload,
    edits: &Edits,
) -> Result<(), Error> {
    rewrite::macs(window, parsed, edits.destination_mac, edits.source_mac)?;
    if edits.decrement_ttl {
        rewrite::decrement_ttl(window, parsed)?;
    }
    if let Some(new) = edits.source {
        translate(window, parsed, offload, Side::Source, new)?;
    }
    if let Some(new) = edits.destination {
        translate(window, parsed, offload, Side::Destination, new)?;
    }
    Ok(())
}

/// Replaces an address of the packet. The packet that an ICMP error quotes travelled the other way: it has
/// the address on its other side, if the error is about that address at all.
fn translate(
    window: &mut [u8],
    parsed: &mut Parsed,
    offload: Offload,
    side: Side,
    new: Ipv4Addr,
) -> Result<(), Error> {
    let Network::Ip(ip) = &parsed.network else {
        return Ok(());
    };
    let inner = ip.icmp().and_then(|icmp| icmp.inner);
    let (old, quoted, quoted_side) = match side {
        Side::Source => (
            ip.tuple.source,
            inner.map(|i| i.tuple.destination),
            Side::Destination,
        ),
        Side::Destination => (ip.tuple.destination, inner.map(|i| i.tuple.source), Side::Source),
    };
    // ICMP over IPv4 has no pseudo header, so that its checksum is never left to the device.
    let checksum = if offload.checksum_partial {
        TransportChecksum::Partial
    } else {
        TransportChecksum::Complete
    };
    rewrite::address(window, parsed, side, new.into(), checksum)?;
    if quoted == Some(old) {
        let complete = TransportChecksum::Complete;
        rewrite::inner_address(window, parsed, quoted_side, new.into(), complete)?;
    }
    Ok(())
}

/// Offset of the checksum in an ICMP message of either family.
const CHECKSUM_OFFSET: usize = icmpv6::CHECKSUM_OFFSET;

/// Turns an echo request into its reply, in place: MACs and addresses swapped, type changed.
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
    let (source, size, request, reply) = if ip.is_ipv6() {
        (ipv6::SOURCE_OFFSET, 16, icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY)
    } else {
        (ipv4::SOURCE_OFFSET, 4, icmpv4::ECHO_REQUEST, icmpv4::ECHO_REPLY)
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
        update(sum, u16::from(request) << 8, u16::from(reply) << 8)
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
