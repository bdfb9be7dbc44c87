//! What the engine asks from the interface that it serves: its queue pairs and its memory.

use crate::{PeerId, Refusal};

/// A message that arrived for one of the interface's queue pairs.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Whose message it is.
    pub peer: PeerId,
    /// The peer's queue pair.
    pub source: u16,
    /// This interface's queue pair.
    pub destination: u16,
    /// The queue key that the sender believes to be the destination's.
    pub qkey: u32,
    /// Immediate data.
    pub immediate: Option<u32>,
    /// The message's bytes.
    pub payload: &'a [u8],
}

/// A range of this interface's memory that a peer wants to write or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Who wants it.
    pub peer: PeerId,
    /// The peer's queue pair.
    pub source: u16,
    /// This interface's queue pair, through which it is wanted.
    pub destination: u16,
    /// The queue key that the sender believes to be the destination's.
    pub qkey: u32,
    /// The memory region's key.
    pub key: u32,
    /// The first byte's address, as the region counts.
    pub address: u64,
}

/// The memory that a request named is there no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of the request is gone")]
pub struct Gone;

/// The interface at this end. Every call is made from within a call of the [`Endpoint`](crate::Endpoint), and must not take long.
pub trait Local {
    /// Copies bytes of a message that is being sent: those at `offset` of the payload that the request named.
    ///
    /// # Errors
    /// [`Gone`] makes the message fail as withdrawn.
    fn gather(&mut self, payload: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone>;

    /// Lends `length` bytes that [`Local::gather`] would copy, for a carrier that can send them from where they lie. The engine itself never asks. None, unless the
    /// interface says otherwise: they can only be copied.
    fn lend(&self, payload: u64, offset: u32, length: usize) -> Option<&[u8]> {
        let _ = (payload, offset, length);
        None
    }

    /// Places bytes of an RDMA read's response: at `offset` of the memory that the request named.
    ///
    /// # Errors
    /// [`Gone`] makes the read fail as withdrawn.
    fn scatter(&mut self, payload: u64, offset: u32, bytes: &[u8]) -> Result<(), Gone>;

    /// Takes a message for a queue pair, once it is certain that it was not delivered before.
    ///
    /// # Errors
    /// A refusal, which the sender is told.
    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal>;

    /// Writes a segment of an RDMA write into this interface's memory.
    ///
    /// # Errors
    /// A refusal, which the sender is told.
    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal>;

    /// An RDMA write with immediate data is complete: `length` bytes were written.
    ///
    /// # Errors
    /// A refusal, which the sender is told instead of the completion.
    fn written(&mut self, remote: Remote, immediate: u32, length: u32) -> Result<(), Refusal>;

    /// May the peer read so many bytes?
    ///
    /// # Errors
    /// A refusal, which the reader is told.
    fn readable(&mut self, remote: Remote, length: u32) -> Result<(), Refusal>;

    /// Copies bytes of this interface's memory for the response to an RDMA read.
    ///
    /// # Errors
    /// A refusal, which the reader is told.
    fn read(&mut self, remote: Remote, into: &mut [u8]) -> Result<(), Refusal>;
}
