//! The packets of docs/spec/srd.md, section 2: views over received bytes, and what is needed to write them.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::key::TAG_BYTES;

/// The version of the protocol that this crate speaks.
pub(crate) const VERSION: u8 = 1;

/// What a 128-bit GID says on the wire.
pub type Gid = [u8; 16];

/// The kinds of packets.
pub(crate) const HELLO: u8 = 1;
pub(crate) const DATA: u8 = 2;
pub(crate) const ACK: u8 = 3;

/// Flags of the base header.
pub(crate) const FLAG_NOW: u8 = 0x01;
pub(crate) const FLAG_AGAIN: u8 = 0x02;
pub(crate) const FLAG_COVERED: u8 = 0x04;

/// Features of a HELLO.
pub(crate) const FEATURE_COVER: u16 = 0x0001;

/// The offset that says that a read cannot go on [LIM-3].
pub(crate) const OFFSET_FAILED: u32 = u32::MAX;

/// Most entries of an ACK [PKT-9].
pub(crate) const ACK_WORDS: usize = 128;
pub(crate) const ACK_ECHOES: usize = 64;
pub(crate) const ACK_REFUSALS: usize = 64;

/// Path numbers are below this [PKT-5].
pub(crate) const PATHS: usize = 64;

/// Header bytes, tag included.
pub(crate) const HELLO_BYTES: usize = size_of::<Base>() + size_of::<Hello>() + TAG_BYTES;
pub(crate) const SEND_BYTES: usize = size_of::<Base>() + size_of::<Ends>() + TAG_BYTES;
pub(crate) const WRITE_BYTES: usize = SEND_BYTES + size_of::<WriteFields>();
pub(crate) const READ_BYTES: usize = SEND_BYTES + size_of::<ReadFields>();
pub(crate) const RESPONSE_BYTES: usize = SEND_BYTES + size_of::<ResponseFields>();
pub(crate) const ACK_BYTES: usize = size_of::<Base>() + size_of::<Counts>() + TAG_BYTES;

/// The base header [PKT-3].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Base {
    pub(crate) version_kind: u8,
    pub(crate) flags: u8,
    pub(crate) length: U16,
    pub(crate) context: U32,
    pub(crate) sequence: U32,
    pub(crate) transmission: U32,
    pub(crate) path: u8,
    pub(crate) operation: u8,
    pub(crate) epoch: U16,
}

/// What follows the base header of DATA.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ends {
    pub(crate) source: U16,
    pub(crate) destination: U16,
    pub(crate) qkey: U32,
    pub(crate) immediate: U32,
}

/// What all DATA begins with: two blocks of a tag.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Front {
    pub(crate) base: Base,
    pub(crate) ends: Ends,
}

impl Front {
    /// Its bytes as numbers, the first of each lowest.
    pub(crate) fn blocks(self) -> [u128; 2] {
        let blocks: [[u8; 16]; 2] = zerocopy::transmute!(self);
        blocks.map(u128::from_le_bytes)
    }
}

/// WRITE and `WRITE_IMMEDIATE`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct WriteFields {
    pub(crate) id: U32,
    pub(crate) key: U32,
    pub(crate) address: U64,
    pub(crate) index: U32,
    pub(crate) count: U32,
}

/// `READ_REQUEST`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ReadFields {
    pub(crate) id: U32,
    pub(crate) key: U32,
    pub(crate) address: U64,
    pub(crate) length: U32,
    pub(crate) zero: U32,
}

/// `READ_RESPONSE`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ResponseFields {
    pub(crate) id: U32,
    pub(crate) offset: U32,
    pub(crate) total: U32,
}

/// What follows the base header of ACK.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Counts {
    pub(crate) words: u8,
    pub(crate) echoes: u8,
    pub(crate) refusals: u8,
    pub(crate) zero: u8,
}

/// What a path brought, in an ACK.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Echo {
    pub(crate) path: u8,
    pub(crate) zero: u8,
    /// Since the highest TXN arrived, in units of 64 ns.
    pub(crate) delay: U16,
    pub(crate) transmission: U32,
    pub(crate) marked: U16,
    pub(crate) packets: U16,
}

/// A packet that was not taken, in an ACK.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Refused {
    pub(crate) sequence: U32,
    pub(crate) reason: u8,
    pub(crate) zero: [u8; 3],
}

/// What follows the base header of HELLO.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Hello {
    pub(crate) lowest: u8,
    pub(crate) highest: u8,
    pub(crate) datagram: U16,
    pub(crate) window: U32,
    pub(crate) operations: U16,
    pub(crate) features: U16,
    pub(crate) sender_incarnation: U64,
    pub(crate) receiver_incarnation: U64,
    pub(crate) sender: Gid,
    pub(crate) receiver: Gid,
}

/// What a DATA packet wants done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    Send {
        immediate: bool,
    },
    Void,
    Write {
        fields: &'a WriteFields,
        immediate: bool,
    },
    ReadRequest(&'a ReadFields),
    ReadResponse(&'a ResponseFields),
}

/// The codes of the operations.
pub(crate) mod code {
    pub(crate) const SEND: u8 = 1;
    pub(crate) const SEND_IMMEDIATE: u8 = 2;
    pub(crate) const VOID: u8 = 3;
    pub(crate) const WRITE: u8 = 4;
    pub(crate) const WRITE_IMMEDIATE: u8 = 5;
    pub(crate) const READ_REQUEST: u8 = 6;
    pub(crate) const READ_RESPONSE: u8 = 7;
}

/// What follows the base header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    Hello(&'a Hello),
    Data {
        ends: &'a Ends,
        operation: Operation<'a>,
    },
    Ack {
        words: &'a [U64],
        echoes: &'a [Echo],
        refusals: &'a [Refused],
    },
}

/// A received packet whose lengths are right; its tag is not yet checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) base: &'a Base,
    /// The header without the tag, which is its end [PKT-4].
    pub(crate) header: &'a [u8],
    pub(crate) tag: &'a [u8; TAG_BYTES],
    pub(crate) body: Body<'a>,
    pub(crate) payload: &'a [u8],
}

/// Why bytes are not a packet [PKT-5] [PKT-6].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Shorter than its header, or its length field differs from the datagram's.
    Length,
    /// Another version.
    Version,
    /// A type, operation or flag that does not exist.
    Unknown,
}

impl<'a> Packet<'a> {
    /// Reads a datagram's payload.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (base, rest) = Base::ref_from_prefix(bytes).map_err(|_| Malformed::Length)?;
        let (version, kind) = (base.version_kind >> 4, base.version_kind & 0x0f);
        // A HELLO of any version has the layout of this one as far as it is needed [NEG-2].
        if version != VERSION && kind != HELLO {
            return Err(Malformed::Version);
        }
        if usize::from(base.length.get()) != bytes.len() {
            return Err(Malformed::Length);
        }
        if base.flags & !(FLAG_NOW | FLAG_AGAIN | FLAG_COVERED) != 0 || usize::from(base.path) >= PATHS {
            return Err(Malformed::Unknown);
        }
        let (body, rest) = match kind {
            HELLO => take(rest).map(|(hello, rest)| (Body::Hello(hello), rest))?,
            DATA => {
                let (ends, rest) = take(rest)?;
                let (operation, rest) = operation(base.operation, rest)?;
                (Body::Data { ends, operation }, rest)
            }
            ACK => {
                let (counts, rest) = take::<Counts>(rest)?;
                let (words, rest) = list(rest, counts.words, ACK_WORDS)?;
                let (echoes, rest) = list(rest, counts.echoes, ACK_ECHOES)?;
                let (refusals, rest) = list(rest, counts.refusals, ACK_REFUSALS)?;
                (
                    Body::Ack {
                        words,
                        echoes,
                        refusals,
                    },
                    rest,
                )
            }
            _ => return Err(Malformed::Unknown),
        };
        let header = &bytes[..bytes.len() - rest.len()];
        let (tag, payload) = rest.split_first_chunk().ok_or(Malformed::Length)?;
        if kind != DATA && !payload.is_empty() {
            return Err(Malformed::Length);
        }
        Ok(Self {
            base,
            header,
            tag,
            body,
            payload,
        })
    }

    /// What the fields of a DATA packet say against each other [PKT-8].
    pub(crate) fn contradicts_itself(&self) -> bool {
        let Body::Data { operation, .. } = self.body else {
            return false;
        };
        match operation {
            Operation::Send { .. } => false,
            Operation::Void => !self.payload.is_empty(),
            Operation::Write { fields, .. } => fields.index.get() >= fields.count.get(),
            Operation::ReadRequest(fields) => !self.payload.is_empty() || fields.length.get() == 0,
            Operation::ReadResponse(fields) if fields.offset.get() == OFFSET_FAILED => {
                !self.payload.is_empty()
            }
            Operation::ReadResponse(fields) => u32::try_from(self.payload.len())
                .ok()
                .and_then(|length| fields.offset.get().checked_add(length))
                .is_none_or(|end| end > fields.total.get() || self.payload.is_empty()),
        }
    }
}

fn operation(number: u8, rest: &[u8]) -> Result<(Operation<'_>, &[u8]), Malformed> {
    Ok(match number {
        code::SEND | code::SEND_IMMEDIATE => (
            Operation::Send {
                immediate: number == code::SEND_IMMEDIATE,
            },
            rest,
        ),
        code::VOID => (Operation::Void, rest),
        code::WRITE | code::WRITE_IMMEDIATE => {
            let (fields, rest) = take(rest)?;
            (
                Operation::Write {
                    fields,
                    immediate: number == code::WRITE_IMMEDIATE,
                },
                rest,
            )
        }
        code::READ_REQUEST => take(rest).map(|(fields, rest)| (Operation::ReadRequest(fields), rest))?,
        code::READ_RESPONSE => take(rest).map(|(fields, rest)| (Operation::ReadResponse(fields), rest))?,
        _ => return Err(Malformed::Unknown),
    })
}

fn take<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8]) -> Result<(&T, &[u8]), Malformed> {
    T::ref_from_prefix(bytes).map_err(|_| Malformed::Length)
}

fn list<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    bytes: &[u8],
    count: u8,
    limit: usize,
) -> Result<(&[T], &[u8]), Malformed> {
    let count = usize::from(count);
    if count > limit {
        return Err(Malformed::Length);
    }
    <[T]>::ref_from_prefix_with_elems(bytes, count).map_err(|_| Malformed::Length)
}

/// Writes a header piece by piece into a buffer that is long enough.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// Appends a piece; what does not fit is left out, and [`Pen::written`] shows it.
    pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, piece: &T) {
        let bytes = piece.as_bytes();
        if let Some(place) = self.buffer.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    /// Bytes written.
    pub(crate) const fn written(&self) -> usize {
        self.at
    }
}

/// A base header of this version; what is not filled in afterwards is 0 [PKT-10].
pub(crate) fn base(kind: u8, flags: u8, length: usize, context: u32, epoch: u16) -> Base {
    Base {
        version_kind: VERSION << 4 | kind,
        flags,
        length: U16::new(u16::try_from(length).unwrap_or(u16::MAX)),
        context: U32::new(context),
        sequence: U32::ZERO,
        transmission: U32::ZERO,
        path: 0,
        operation: 0,
        epoch: U16::new(epoch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_have_the_lengths_of_the_specification() {
        // [PKT-3] [PKT-4] [PKT-7]
        assert_eq!(size_of::<Base>(), 20);
        assert_eq!(
            (HELLO_BYTES, SEND_BYTES, WRITE_BYTES, READ_BYTES, RESPONSE_BYTES),
            (92, 44, 68, 68, 56)
        );
        assert_eq!((ACK_BYTES, size_of::<Echo>(), size_of::<Refused>()), (36, 12, 8));
        assert_eq!(crate::Config::default().datagram - SEND_BYTES, 8_928);
    }

    #[test]
    fn what_is_no_packet_is_told_apart() {
        // [PKT-5] [PKT-6]
        let mut bytes = [0; SEND_BYTES];
        let mut header = base(DATA, 0, SEND_BYTES, 1, 0);
        header.operation = code::SEND;
        bytes[..20].copy_from_slice(header.as_bytes());
        assert!(Packet::parse(&bytes).is_ok());
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes;
            bytes[at] = value;
            Packet::parse(&bytes).unwrap_err()
        };
        assert_eq!(changed(0, 0x22), Malformed::Version);
        assert_eq!(changed(0, 0x14), Malformed::Unknown);
        assert_eq!(changed(1, 0x08), Malformed::Unknown);
        assert_eq!(changed(3, 45), Malformed::Length);
        assert_eq!(changed(17, 0), Malformed::Unknown);
        assert_eq!(changed(17, 8), Malformed::Unknown);
        assert_eq!(changed(16, 64), Malformed::Unknown);
        assert_eq!(changed(17, code::WRITE), Malformed::Length);
        assert_eq!(Packet::parse(&bytes[..43]).unwrap_err(), Malformed::Length);
        assert_eq!(Packet::parse(&[]).unwrap_err(), Malformed::Length);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 1u8..5, operation in 0u8..9) {
            let length = u16::try_from(bytes.len()).unwrap();
            if bytes.len() >= 20 {
                bytes[0] = 0x10 | kind;
                bytes[1] &= 7;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[17] = operation;
            }
            if let Ok(packet) = Packet::parse(&bytes) {
                let parts = packet.header.len() + TAG_BYTES + packet.payload.len();
                prop_assert_eq!(parts, bytes.len());
                let _ = packet.contradicts_itself();
            }
        }
    }
}
