//! The receiving end of a connection: what is next in order, and nothing else.

use std::collections::VecDeque;

use super::segment::{END_BYTES, Segment};
use super::sender::connection_tag;
use crate::Datagram;
use crate::ledger::MessageEvent;

#[derive(Debug)]
pub(crate) struct Receiver {
    opener: u32,
    nonce: u64,
    next: u64,
    /// Where the last message ended.
    last_end: u64,
}

impl Receiver {
    /// A connection that `opener` names at its sender and `nonce` here.
    pub(crate) const fn new(opener: u32, nonce: u64) -> Self {
        Self {
            opener,
            nonce,
            next: 0,
            last_end: 0,
        }
    }

    /// Another request to open: a repetition changes nothing, another connection takes the place of this one.
    pub(crate) const fn reopen(&mut self, opener: u32, nonce: u64) {
        if opener != self.opener {
            *self = Self::new(opener, nonce);
        }
    }

    pub(crate) const fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(crate) const fn tag(&self) -> u32 {
        connection_tag(self.opener, self.nonce)
    }

    /// The place up to which all is there.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Takes a segment if it is next; tells whether it brought the stream on.
    pub(crate) fn take(
        &mut self,
        segment: &Segment,
        datagram: &Datagram,
        events: &mut VecDeque<MessageEvent>,
    ) -> bool {
        let end = segment.seq.saturating_add(u64::from(segment.length_bytes));
        if segment.seq > self.next || end <= self.next {
            return false;
        }
        for (offset, id) in Segment::ends(&datagram.payload) {
            let at = segment.seq + u64::from(offset);
            if at <= self.next {
                continue;
            }
            let framed = at.saturating_sub(self.last_end);
            let size = framed.saturating_sub(u64::try_from(END_BYTES).unwrap_or(0));
            events.push_back(MessageEvent::Delivered {
                id,
                from: datagram.source,
                size_bytes: u32::try_from(size).unwrap_or(u32::MAX),
                intact: true,
            });
            self.last_end = at;
        }
        self.next = end;
        true
    }
}
