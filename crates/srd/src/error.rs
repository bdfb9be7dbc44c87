//! What can go wrong with a message, and with a request for one.

/// Why the receiving interface does not take a packet; the discriminant is the wire's reason code [REF-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum Refusal {
    /// The queue pair has no receive buffer.
    #[error("the receiver was not ready: it had no receive buffer")]
    ReceiverNotReady = 1,
    /// There is no such queue pair, or it is in error.
    #[error("the destination queue pair does not exist or is in error")]
    BadQueuePair = 2,
    /// The queue key is not the queue pair's.
    #[error("the queue key is wrong")]
    BadQueueKey = 3,
    /// The message does not fit into the receive buffer.
    #[error("the message is longer than the receive buffer")]
    TooLong = 4,
    /// No memory region has that key.
    #[error("no memory region has that remote key")]
    BadKey = 5,
    /// The address and length are not inside the region.
    #[error("the remote address is outside of its region")]
    BadAddress = 6,
    /// The region does not permit the operation.
    #[error("the memory region does not permit the operation")]
    NotPermitted = 7,
    /// The packet contradicts itself.
    #[error("the packet was malformed")]
    Malformed = 8,
    /// More operations are outstanding than were agreed.
    #[error("too many RDMA operations are outstanding")]
    TooManyOperations = 9,
    /// The interface could not take it for another reason.
    #[error("the receiving interface dropped it")]
    Dropped = 10,
}

impl Refusal {
    /// The reason with this code. A code of a later revision reads as *dropped*.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::ReceiverNotReady,
            2 => Self::BadQueuePair,
            3 => Self::BadQueueKey,
            4 => Self::TooLong,
            5 => Self::BadKey,
            6 => Self::BadAddress,
            7 => Self::NotPermitted,
            8 => Self::Malformed,
            9 => Self::TooManyOperations,
            _ => Self::Dropped,
        }
    }

    /// The reason's code on the wire, 1 to 10.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a message did not complete. Except after a refusal, the peer may have received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The receiving interface did not take it.
    #[error("refused by the receiver: {0}")]
    Refused(Refusal),
    /// No session came about within the connect limit [SES-2].
    #[error("the peer could not be reached")]
    Unreachable,
    /// The peer stopped answering for the silence limit [REL-9].
    #[error("the peer stopped answering")]
    Unresponsive,
    /// The peer began anew and knows nothing of it [SES-7].
    #[error("the peer was restarted")]
    PeerRestarted,
    /// The peer speaks no version that this end speaks [NEG-2].
    #[error("the peer speaks no common version of the protocol")]
    Version,
    /// The peer's key was withdrawn, or the peer removed [SEC-9].
    #[error("the peer's key was withdrawn")]
    KeyWithdrawn,
    /// The sender's own side took the message or its memory back [REF-4].
    #[error("the message was withdrawn")]
    Withdrawn,
}

/// Why a request was not accepted. Nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is no such peer.
    #[error("there is no such peer")]
    NoPeer,
    /// As many messages wait as the configuration permits; one of them has to complete first.
    #[error("too many messages wait for this peer")]
    Full,
    /// The message is longer than a datagram, or an RDMA operation longer than 1 GiB.
    #[error("the message has {length} bytes; at most {limit} are possible")]
    TooLong {
        /// Bytes of the message.
        length: u32,
        /// Bytes that are possible.
        limit: u32,
    },
    /// An RDMA read of nothing.
    #[error("an RDMA read of no bytes")]
    EmptyRead,
}
