//! The first tier of the packet path: a flow that the cache knows.

use std::hint::black_box;

use trinic_wire::packet::Parsed;
use trinic_wire::time::Instant;

use super::Switch;
use crate::ROUTER_MAC;
use crate::cache::{CachedGate, Destination, FlowCache, Glance, Rewrite, Settled};
use crate::conntrack;
use crate::packet::{Output, Packet, PortId, Verdict};
use crate::shaper::Load;
use crate::trace::Direction;
use crate::walk::Origin;

/// The time, and what it is to connections: a division that a batch makes once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    second: u32,
}

impl Moment {
    #[inline]
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now,
            second: conntrack::second(now),
        }
    }
}

/// Packets of [`Switch::process_batch`] that are looked up together.
pub const BATCH: usize = 64;

impl Switch {
    /// Decides about frames of one port, in order, as [`Self::process`] does one by one, and for less: the cache
    /// slots of [`BATCH`] frames are loaded together before the first is needed.
    ///
    /// A frame's verdict is at its position in `verdicts`; of two lists of different length the shorter one counts.
    /// Where there is a frame for the sender, `reply` gets it with the packet's position, in the middle of the work;
    /// `out` is the room for it and means nothing afterwards.
    pub fn process_batch(
        &mut self,
        now: Instant,
        from: PortId,
        packets: &mut [Packet<'_>],
        verdicts: &mut [Verdict],
        out: &mut Output,
        mut reply: impl FnMut(usize, &[u8]),
    ) {
        let mut start = 0;
        for (packets, verdicts) in packets.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            let mut glances = std::mem::take(&mut self.glances);
            glances.clear();
            glances.extend(packets.iter().map(|packet| Glance::of(packet, self.hash)));
            self.touch_slots(from, &glances);
            let moment = Moment::new(now);
            let frames = packets.iter_mut().zip(verdicts).zip(&glances);
            for (position, ((packet, verdict), glance)) in frames.enumerate() {
                *verdict = self.decide(moment, from, packet, glance.as_ref(), out);
                if let Some(frame) = out.frame() {
                    reply(start + position, frame);
                }
            }
            start += BATCH;
            self.glances = glances;
        }
    }

    /// Loads the cache's slots of these frames, so that the memory answers all of them at once.
    #[inline]
    fn touch_slots(&self, from: PortId, glances: &[Option<Glance>]) {
        let Some(cache) = self.origin(from).and_then(|origin| self.cache_of(origin)) else {
            return;
        };
        let words = glances.iter().flatten().map(|glance| cache.peek(glance.hash));
        black_box(words.fold(0, |all, word| all ^ word));
    }

    #[inline]
    fn cache_of(&self, origin: Origin) -> Option<&FlowCache> {
        match origin {
            Origin::Interface(index) => Some(&self.states.get(index)?.cache),
            Origin::Internet => Some(&self.states.internet.cache),
        }
    }

    #[inline]
    fn cache_of_mut(&mut self, origin: Origin) -> Option<&mut FlowCache> {
        match origin {
            Origin::Interface(index) => Some(&mut self.states.get_mut(index)?.cache),
            Origin::Internet => Some(&mut self.states.internet.cache),
        }
    }

    /// What "now" is to the cache.
    #[inline]
    pub(super) fn settled(&self, now: Instant) -> Settled {
        Settled::new(conntrack::second(now), self.changes)
    }

    /// One search of the cache, a comparison of what the walk's verdict depends on, and two MACs to write. Once a
    /// second a flow's connections are looked at and touched. `None`, with nothing changed: take the walk.
    #[inline]
    pub(super) fn fast(
        &mut self,
        moment: Moment,
        origin: Origin,
        glance: &Glance,
        packet: &mut Packet<'_>,
    ) -> Option<Verdict> {
        let now = moment.now;
        let macs: &[u8; 12] = packet.window.first_chunk()?;
        let (cache, is_own) = match origin {
            Origin::Interface(index) => {
                let state = self.states.get(index)?;
                (&state.cache, macs[6..] == state.mac)
            }
            Origin::Internet => (&self.states.internet.cache, true),
        };
        let at = cache.find(glance.hash, &glance.key)?;
        let slot = cache.slot(at);
        let fits = glance.segment_len <= u32::from(slot.mtu) && glance.ttl > slot.least_ttl;
        if !is_own || macs[..6] != slot.destination_mac || !fits {
            return None;
        }
        let (to, rewrite) = (slot.to, slot.rewrite);
        if slot.settled != Settled::new(moment.second, self.changes) {
            self.settle(now, origin, at, glance)?;
        }
        if rewrite == Rewrite::Routed {
            let edits = self.cache_of(origin)?.details(at).edits;
            let mut parsed = Parsed::parse(packet.window, packet.total_len).ok()?;
            return Some(self.forward(now, origin, to, &mut parsed, packet, &edits));
        }
        let (port, mac, counters) = match to {
            Destination::Interface(index) => {
                let state = self.states.get_mut(index)?;
                let port = state.port?;
                if state.shaper.is_some()
                    && let Some(reason) =
                        state.exceeds(now, Load::of_plain(packet, glance), Direction::Inbound)
                {
                    state.counters.drop(reason);
                    return Some(Verdict::Drop(reason));
                }
                (port, state.mac, &mut state.counters)
            }
            Destination::Internet => {
                let internet = &mut self.states.internet;
                (internet.port?, internet.mac, &mut internet.counters)
            }
        };
        counters.inbound(packet.total_len);
        let macs: &mut [u8; 12] = packet.window.first_chunk_mut()?;
        macs[..6].copy_from_slice(&mac);
        if rewrite == Rewrite::FromRouter {
            macs[6..].copy_from_slice(&ROUTER_MAC);
        }
        Some(Verdict::Forward { to: port })
    }

    /// Whether a cached verdict holds: made under these tables, with its connections alive. They are touched.
    #[inline(never)]
    fn settle(&mut self, now: Instant, origin: Origin, at: usize, glance: &Glance) -> Option<()> {
        let cache = self.cache_of(origin)?;
        let (details, to) = (*cache.details(at), cache.slot(at).to);
        if details.generation != self.policy.generation() {
            return None;
        }
        let sender = Destination::from(origin);
        let sides = [(sender, Direction::Outbound), (to, Direction::Inbound)];
        let gates = || sides.iter().zip(details.gates);
        for ((side, _), gate) in gates() {
            if let (Destination::Interface(index), CachedGate::Tracked(handle)) = (*side, gate)
                && !self.states.get(index)?.tracker.is_alive(now, handle)
            {
                return None;
            }
        }
        for ((side, direction), gate) in gates() {
            if let (Destination::Interface(index), CachedGate::Tracked(handle)) = (*side, gate) {
                let tracker = &mut self.states.get_mut(index)?.tracker;
                tracker.touch(now, handle, *direction, glance.signal());
            }
        }
        let settled = self.settled(now);
        self.cache_of_mut(origin)?.settle(at, settled);
        Some(())
    }
}
