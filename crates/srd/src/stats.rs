//! What an endpoint counts.

/// Counters of an endpoint; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams handed out.
    pub sent: u64,
    /// DATA packets among them that went again.
    pub retransmitted: u64,
    /// Acknowledgements among them.
    pub acknowledgements: u64,
    /// Datagrams taken in.
    pub received: u64,
    /// Messages of this end that went to a neighbour without a datagram, and are complete [LOC-3].
    pub direct: u64,
    /// Messages and segments placed, those of neighbours among them.
    pub delivered: u64,
    /// DATA that had been taken before [REL-3].
    pub duplicates: u64,
    /// DATA, and messages of neighbours, that this end refused [REF-1].
    pub refused: u64,
    /// Dropped: shorter or longer than it says [PKT-5].
    pub bad_length: u64,
    /// Dropped: of another version [PKT-6].
    pub bad_version: u64,
    /// Dropped: a type, operation or flag that does not exist [PKT-5].
    pub unknown: u64,
    /// Dropped: for a context, GID, key epoch or session that is not there [PKT-5], or a message of an interface that is no neighbour [LOC-3].
    pub no_context: u64,
    /// Dropped: with a wrong tag [PKT-5].
    pub bad_tag: u64,
    /// Dropped: without the payload's cover where it was agreed, or with it where it was not [SEC-7].
    pub bad_cover: u64,
    /// Dropped: DATA beyond the window [REL-2].
    pub beyond_window: u64,
    /// Dropped: an ACK for what was never sent [REL-10].
    pub bad_acknowledgement: u64,
    /// Dropped: a HELLO whose values permit no session [NEG-3].
    pub bad_hello: u64,
    /// Sessions begun.
    pub sessions: u64,
}
