//! An owner that remembers what it was given, and how often.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Gone, Incoming, Local, Refusal, Remote};

/// What one end was given. A message is known by its queue key, which is its token.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Messages that were delivered.
    pub(super) delivered: BTreeSet<u32>,
    /// Bytes of writes, by the message and the address.
    written: BTreeMap<u32, BTreeMap<u64, usize>>,
    /// Writes with immediate data that were reported, and their length.
    pub(super) complete: BTreeMap<u32, u32>,
    /// Bytes of reads, by the message and the offset.
    placed: BTreeMap<u64, BTreeMap<u32, usize>>,
    /// Something came twice.
    pub(super) twice: bool,
    /// Why messages for the even queue pairs are refused.
    pub(super) refuse: Option<Refusal>,
    /// The memory of this end's odd messages is gone.
    pub(super) gone: bool,
    /// The region cannot be read any more.
    pub(super) unreadable: bool,
}

impl Host {
    /// Bytes of a write that came, or none if nothing did.
    pub(super) fn bytes_written(&self, token: u32) -> Option<u32> {
        let pieces = self.written.get(&token)?;
        u32::try_from(pieces.values().sum::<usize>()).ok()
    }

    /// Bytes of a read that came.
    pub(super) fn bytes_placed(&self, token: u32) -> u32 {
        let pieces = self.placed.get(&u64::from(token));
        let bytes = pieces.map_or(0, |pieces| pieces.values().sum());
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn refused(&self, destination: u16) -> Result<(), Refusal> {
        match self.refuse {
            Some(refusal) if destination.is_multiple_of(2) => Err(refusal),
            _ => Ok(()),
        }
    }

    fn memory(&self, payload: u64) -> Result<(), Gone> {
        if self.gone && !payload.is_multiple_of(2) {
            return Err(Gone);
        }
        Ok(())
    }
}

impl Local for Host {
    fn gather(&mut self, payload: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
        self.memory(payload)?;
        into.fill(offset.to_be_bytes()[3]);
        Ok(())
    }

    fn scatter(&mut self, payload: u64, offset: u32, bytes: &[u8]) -> Result<(), Gone> {
        self.memory(payload)?;
        let before = self
            .placed
            .entry(payload)
            .or_default()
            .insert(offset, bytes.len());
        self.twice |= before.is_some();
        Ok(())
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        self.refused(message.destination)?;
        self.twice |= !self.delivered.insert(message.qkey);
        Ok(())
    }

    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal> {
        range(remote, bytes.len())?;
        let pieces = self.written.entry(remote.qkey).or_default();
        self.twice |= pieces.insert(remote.address, bytes.len()).is_some();
        Ok(())
    }

    fn written(&mut self, remote: Remote, _: u32, length: u32) -> Result<(), Refusal> {
        self.refused(remote.destination)?;
        self.twice |= self.complete.insert(remote.qkey, length).is_some();
        Ok(())
    }

    fn readable(&mut self, remote: Remote, length: u32) -> Result<(), Refusal> {
        self.refused(remote.destination)?;
        range(remote, usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn read(&mut self, remote: Remote, into: &mut [u8]) -> Result<(), Refusal> {
        if self.unreadable {
            return Err(Refusal::NotPermitted);
        }
        range(remote, into.len())?;
        into.fill(remote.address.to_be_bytes()[7]);
        Ok(())
    }
}

/// Whether it is inside of the region.
fn range(remote: Remote, length: usize) -> Result<(), Refusal> {
    if remote.key != KEY {
        return Err(Refusal::BadKey);
    }
    let begin = usize::try_from(remote.address).map_err(|_| Refusal::BadAddress)?;
    let end = begin.checked_add(length).ok_or(Refusal::BadAddress)?;
    if end > REGION {
        return Err(Refusal::BadAddress);
    }
    Ok(())
}

/// The region's key.
pub(super) const KEY: u32 = 7;
/// Bytes of the region: writes and reads reach a little beyond it.
const REGION: usize = 6_000;
