//! Payload that goes to the kernel from where it lies, without a copy in between.

use std::io::IoSlice;

use trinic_srd::{Gone, Incoming, Local, Refusal, Remote};

/// A part of a batch that nobody wrote: its bytes are lent by the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// Where in the batch.
    at: usize,
    length: usize,
    payload: u64,
    offset: u32,
}

/// Stands between the engine and the interface, and leaves holes in a batch where it need not copy.
#[derive(Debug)]
pub(super) struct Lender<'a, L> {
    local: &'a mut L,
    holes: &'a mut Vec<Hole>,
    /// The address of the batch: the engine says only into which part of it the bytes belong.
    batch: usize,
}

impl<'a, L: Local> Lender<'a, L> {
    pub(super) fn new(local: &'a mut L, holes: &'a mut Vec<Hole>, batch: &[u8]) -> Self {
        holes.clear();
        Self {
            local,
            holes,
            batch: batch.as_ptr().addr(),
        }
    }
}

impl<L: Local> Local for Lender<'_, L> {
    fn gather(&mut self, payload: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
        let length = into.len();
        let place = into.as_ptr().addr().checked_sub(self.batch);
        if let Some(at) = place
            && length >= LEAST
            && self.holes.len() < MOST_HOLES
            && self.local.lend(payload, offset, length).is_some()
        {
            self.holes.push(Hole {
                at,
                length,
                payload,
                offset,
            });
            return Ok(());
        }
        self.local.gather(payload, offset, into)
    }

    fn lend(&self, payload: u64, offset: u32, length: usize) -> Option<&[u8]> {
        self.local.lend(payload, offset, length)
    }

    fn scatter(&mut self, payload: u64, offset: u32, bytes: &[u8]) -> Result<(), Gone> {
        self.local.scatter(payload, offset, bytes)
    }

    fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Refusal> {
        self.local.deliver(message)
    }

    fn write(&mut self, remote: Remote, bytes: &[u8]) -> Result<(), Refusal> {
        self.local.write(remote, bytes)
    }

    fn written(&mut self, remote: Remote, immediate: u32, length: u32) -> Result<(), Refusal> {
        self.local.written(remote, immediate, length)
    }

    fn readable(&mut self, remote: Remote, length: u32) -> Result<(), Refusal> {
        self.local.readable(remote, length)
    }

    fn read(&mut self, remote: Remote, into: &mut [u8]) -> Result<(), Refusal> {
        self.local.read(remote, into)
    }
}

/// The pieces of a batch in their order: what was written, and what is lent. None if the interface does not lend it any more, or it would be other bytes.
pub(super) fn pieces<'a>(
    batch: &'a [u8],
    holes: &[Hole],
    local: &'a impl Local,
    pieces: &mut [IoSlice<'a>; MOST_PIECES],
) -> Option<usize> {
    let mut places = pieces.iter_mut();
    let (mut done, mut count) = (0, 0);
    for hole in holes {
        *places.next()? = IoSlice::new(batch.get(done..hole.at)?);
        let lent = local.lend(hole.payload, hole.offset, hole.length)?;
        *places.next()? = IoSlice::new(lent.get(..hole.length)?);
        done = hole.at + hole.length;
        count += 2;
    }
    let rest = batch.get(done..)?;
    if !rest.is_empty() {
        *places.next()? = IoSlice::new(rest);
        count += 1;
    }
    Some(count)
}

/// Copies what was lent into the batch.
///
/// # Errors
/// When some of it is gone; then the batch is none.
pub(super) fn fill(batch: &mut [u8], holes: &[Hole], local: &mut impl Local) -> Result<(), Gone> {
    for hole in holes {
        let into = batch.get_mut(hole.at..hole.at + hole.length).ok_or(Gone)?;
        local.gather(hole.payload, hole.offset, into)?;
    }
    Ok(())
}

/// The least that is worth a piece of its own.
const LEAST: usize = 2_048;
/// As many as a batch has room for.
pub(super) const MOST_HOLES: usize = 31;
/// Two for each hole, and what is behind the last one.
pub(super) const MOST_PIECES: usize = 2 * MOST_HOLES + 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that is lent, as long as it is there.
    struct Owner {
        bytes: Vec<u8>,
        lends: bool,
    }

    impl Owner {
        fn new() -> Self {
            Self {
                bytes: (0..20_000_u32).flat_map(u32::to_be_bytes).collect(),
                lends: true,
            }
        }
    }

    impl Local for Owner {
        fn gather(&mut self, _: u64, offset: u32, into: &mut [u8]) -> Result<(), Gone> {
            let start = offset as usize;
            into.copy_from_slice(self.bytes.get(start..start + into.len()).ok_or(Gone)?);
            Ok(())
        }

        fn lend(&self, _: u64, offset: u32, length: usize) -> Option<&[u8]> {
            let start = offset as usize;
            self.bytes.get(start..start + length).filter(|_| self.lends)
        }

        fn scatter(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), Gone> {
            Err(Gone)
        }

        fn deliver(&mut self, _: Incoming<'_>) -> Result<(), Refusal> {
            Err(Refusal::NotPermitted)
        }

        fn write(&mut self, _: Remote, _: &[u8]) -> Result<(), Refusal> {
            Err(Refusal::NotPermitted)
        }

        fn written(&mut self, _: Remote, _: u32, _: u32) -> Result<(), Refusal> {
            Err(Refusal::NotPermitted)
        }

        fn readable(&mut self, _: Remote, _: u32) -> Result<(), Refusal> {
            Err(Refusal::NotPermitted)
        }

        fn read(&mut self, _: Remote, _: &mut [u8]) -> Result<(), Refusal> {
            Err(Refusal::NotPermitted)
        }
    }

    /// Two datagrams of which the payload is lent, and one that is too short for that.
    fn batch(owner: &mut Owner) -> (Vec<u8>, Vec<Hole>) {
        let (mut batch, mut holes) = (vec![0xee; 9_172], Vec::new());
        let mut lender = Lender::new(owner, &mut holes, &batch);
        lender.gather(1, 100, &mut batch[72..4_572]).unwrap();
        lender.gather(1, 5_000, &mut batch[4_644..9_000]).unwrap();
        lender.gather(1, 7, &mut batch[9_072..9_172]).unwrap();
        (batch, holes)
    }

    fn joined(batch: &[u8], holes: &[Hole], owner: &Owner) -> Option<Vec<u8>> {
        let mut list = [IoSlice::new(&[]); MOST_PIECES];
        let count = pieces(batch, holes, owner, &mut list)?;
        Some(list[..count].iter().flat_map(|piece| piece.to_vec()).collect())
    }

    #[test]
    fn pieces_are_what_a_copy_would_be() {
        let mut owner = Owner::new();
        let (mut batch, holes) = batch(&mut owner);
        assert_eq!(holes.len(), 2, "the last one is short and was copied");
        assert_eq!(batch[72..4_572], [0xee; 4_500], "nobody wrote it");
        assert_eq!(batch[9_072..], owner.bytes[7..107]);
        let sent = joined(&batch, &holes, &owner).unwrap();
        fill(&mut batch, &holes, &mut owner).unwrap();
        assert!(sent == batch);
        assert_eq!(batch[72..4_572], owner.bytes[100..4_600]);
        assert_eq!(batch[4_644..9_000], owner.bytes[5_000..9_356]);
        assert_eq!(batch[9_000..9_072], [0xee; 72], "a header");
    }

    #[test]
    fn what_is_not_lent_any_more_is_copied_and_what_is_gone_is_not_sent() {
        let mut owner = Owner::new();
        let (mut batch, holes) = batch(&mut owner);
        owner.lends = false;
        assert_eq!(joined(&batch, &holes, &owner), None);
        fill(&mut batch, &holes, &mut owner).unwrap();
        assert_eq!(batch[72..4_572], owner.bytes[100..4_600]);
        owner.bytes.truncate(9_000);
        assert_eq!(fill(&mut batch, &holes, &mut owner), Err(Gone));
        // A hole that is not in the batch.
        assert_eq!(joined(&batch[..4_000], &holes, &Owner::new()), None);
        assert_eq!(fill(&mut batch[..4_000], &holes, &mut Owner::new()), Err(Gone));
    }

    #[test]
    fn a_batch_has_room_for_as_many_holes_as_there_can_be() {
        let mut owner = Owner::new();
        let (mut batch, mut holes) = (vec![0; 65_535], Vec::new());
        let mut lender = Lender::new(&mut owner, &mut holes, &batch);
        for part in batch.chunks_mut(LEAST) {
            lender.gather(1, 0, part).unwrap();
        }
        assert_eq!(holes.len(), MOST_HOLES);
        let sent = joined(&batch, &holes, &owner).unwrap();
        fill(&mut batch, &holes, &mut owner).unwrap();
        assert!(sent == batch);
    }
}
