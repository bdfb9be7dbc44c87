//! What a guest counted.

/// Packets and drops of a guest since it began. Every drop has its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames that came in.
    pub frames_in: u64,
    /// Frames that went out.
    pub frames_out: u64,
    /// Packets that were forwarded.
    pub forwarded: u64,
    /// Dropped: the guest has no such interface.
    pub unknown_interface: u64,
    /// Dropped: longer than the interface's MTU.
    pub oversized_in: u64,
    /// Dropped: not a legal packet.
    pub malformed: u64,
    /// Dropped: for another station's MAC address.
    pub other_mac: u64,
    /// Dropped: for another host's address, and forwarding is off or forbidden for it.
    pub other_address: u64,
    /// Dropped: a protocol that the guest does not speak.
    pub other_protocol: u64,
    /// Dropped: TTL or hop limit ran out while forwarding.
    pub ttl_expired: u64,
    /// Dropped: longer than the MTU of the interface that it would leave through.
    pub too_big: u64,
    /// Dropped: no route.
    pub no_route: u64,
    /// Dropped: the next hop did not answer.
    pub unresolved: u64,
    /// Dropped: a queue was full.
    pub queue_full: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
}
