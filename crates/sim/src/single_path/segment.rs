//! The model's segments: 24 bytes of header, as much as TCP's has more than UDP's with its time stamps.
//!
//! Layout, big-endian: 0 sequence number (8) · 8 stream bytes in it (4) · 12 tag of the connection (4) · 16
//! kind (1) · 17 checksum over the rest of the stored bytes (7), then of each message that ends in it 12 bytes:
//! where it ends, from the sequence number (4), and its number (8). Those 12 bytes belong to the stream; the
//! rest of the stream is virtual.

use crate::MessageId;
use crate::random::hash_bytes;

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kind: Kind,
    /// Which connection: the opener's number in `Open` and `Accept`, both ends' in the others.
    pub(crate) tag: u32,
    /// `Data`: the first byte's place in the stream. `Acknowledge`: the place up to which all is there.
    /// `Accept`: the acceptor's number.
    pub(crate) seq: u64,
    /// Bytes of the stream in it.
    pub(crate) length_bytes: u32,
}

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    Accept,
    Data,
    Acknowledge,
    Reset,
}

/// A message that ends in a segment: where, and which.
pub(crate) type End = (u32, MessageId);

impl Segment {
    /// Reads a header whose checksum is right.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if checksum(bytes)? != bytes[CHECKSUM_AT..HEADER_BYTES] {
            return None;
        }
        let kind = match bytes[16] {
            0 => Kind::Open,
            1 => Kind::Accept,
            2 => Kind::Data,
            3 => Kind::Acknowledge,
            4 => Kind::Reset,
            _ => return None,
        };
        Some(Self {
            kind,
            tag: u32::from_be_bytes(array(bytes, 12)?),
            seq: u64::from_be_bytes(array(bytes, 0)?),
            length_bytes: u32::from_be_bytes(array(bytes, 8)?),
        })
    }

    /// Writes the header and the ends of messages.
    pub(crate) fn emit(&self, ends: impl Iterator<Item = End>, to: &mut Vec<u8>) {
        to.clear();
        to.extend_from_slice(&self.seq.to_be_bytes());
        to.extend_from_slice(&self.length_bytes.to_be_bytes());
        to.extend_from_slice(&self.tag.to_be_bytes());
        to.push(self.kind as u8);
        to.extend_from_slice(&[0; HEADER_BYTES - CHECKSUM_AT]);
        for (offset, id) in ends {
            to.extend_from_slice(&offset.to_be_bytes());
            to.extend_from_slice(&id.0.to_be_bytes());
        }
        if let Some(sum) = checksum(to) {
            to[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum);
        }
    }

    /// The messages that end in a segment.
    pub(crate) fn ends(bytes: &[u8]) -> impl Iterator<Item = End> {
        bytes
            .get(HEADER_BYTES..)
            .unwrap_or_default()
            .chunks_exact(END_BYTES)
            .filter_map(|end| {
                let offset = u32::from_be_bytes(array(end, 0)?);
                Some((offset, MessageId(u64::from_be_bytes(array(end, 4)?))))
            })
    }
}

/// The checksum of a segment's stored bytes but the checksum itself; `None` if they are too few. It is stronger
/// than TCP's, so that the model's messages are never wrong for its sake.
fn checksum(bytes: &[u8]) -> Option<[u8; HEADER_BYTES - CHECKSUM_AT]> {
    let ends = bytes.get(HEADER_BYTES..)?;
    let hash = hash_bytes(&bytes[..CHECKSUM_AT]) ^ hash_bytes(ends).rotate_left(1);
    array(&hash.to_be_bytes(), 1)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Bytes of a header.
///
/// Source: TCP's header of 20 (RFC 9293 §3.1) with time stamps of 12 (RFC 7323 §3.2, padded), less UDP's 8.
pub(crate) const HEADER_BYTES: usize = 24;

/// Bytes that a message takes in the stream beside its content.
pub(crate) const END_BYTES: usize = 12;

const CHECKSUM_AT: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_comes_back_and_a_flipped_bit_is_noticed() {
        let segment = Segment {
            kind: Kind::Data,
            tag: 0xdead_beef,
            seq: 1 << 40,
            length_bytes: 8_928,
        };
        let ends = [(100, MessageId(7)), (8_928, MessageId(u64::MAX))];
        let mut bytes = Vec::new();
        segment.emit(ends.into_iter(), &mut bytes);
        assert_eq!(bytes.len(), 48);
        assert_eq!(Segment::parse(&bytes), Some(segment));
        assert_eq!(Segment::ends(&bytes).collect::<Vec<End>>(), ends);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Segment::parse(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Segment::parse(&bytes[..23]), None);
    }
}
