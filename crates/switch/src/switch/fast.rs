//! The first tier of the packet path: a flow that the cache knows.

use std::hint::black_box;

use trinic_wire::packet::Parsed;
use trinic_wire::time::Instant;

use super::Switch;
use crate::cache::{CachedGate, Destination, FlowCache, Glance, Rewrite, Settled};
use crate::conntrack;
use crate::packet::{Output, Packet, PortId, Verdict};
use crate::shaper::Load;
use crate::state::MacWord;
use crate::trace::Direction;
use crate::walk::Origin;
use crate::{DropReason, ROUTER_MAC};

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
    /// slots of [`BATCH`] frames are loaded together before the first is needed, and what is the port's is looked up
    /// once.
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
        reply: impl FnMut(usize, &[u8]),
    ) {
        self.process_frames(now, from, packets, Packet::again, verdicts, out, reply);
    }

    /// As [`Self::process_batch`], of frames in whatever form the caller has them. `view` says where a frame is; it is
    /// asked two or three times for each, and must say the same.
    #[expect(
        clippy::too_many_arguments,
        reason = "Each is another owner's, and may not be copied for every batch."
    )]
    #[inline]
    pub fn process_frames<T>(
        &mut self,
        now: Instant,
        from: PortId,
        frames: &mut [T],
        view: impl Fn(&mut T) -> Packet<'_>,
        verdicts: &mut [Verdict],
        out: &mut Output,
        mut reply: impl FnMut(usize, &[u8]),
    ) {
        let moment = Moment::new(now);
        let mut glances = std::mem::take(&mut self.glances);
        let mut start = 0;
        for (frames, verdicts) in frames.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            let count = frames.len().min(verdicts.len());
            let (frames, verdicts) = (&mut frames[..count], &mut verdicts[..count]);
            let Some(origin) = self.origin(from) else {
                self.unknown_port += count as u64;
                verdicts.fill(Verdict::Drop(DropReason::UnknownPort));
                continue;
            };
            let mut bytes = 0;
            for (glance, frame) in glances.iter_mut().zip(&mut *frames) {
                let packet = view(frame);
                bytes += packet.total_len;
                glance.look(&packet, self.hash);
            }
            self.touch_slots(origin, &glances[..count]);
            let is_shaped = self.count_sent(origin, count as u64, bytes);
            let frames = frames.iter_mut().zip(verdicts).zip(&glances);
            for (position, ((frame, verdict), glance)) in frames.enumerate() {
                let glance = glance.known();
                if let Some(glance) = glance
                    && !is_shaped
                    && self.fast(moment, origin, glance, view(frame), verdict).is_some()
                {
                    continue;
                }
                out.clear();
                let port = (from, origin);
                *verdict = self.decide_slowly(moment, port, is_shaped, &mut view(frame), glance, out);
                if let Some(frame) = out.frame() {
                    reply(start + position, frame);
                }
            }
            start += BATCH;
        }
        self.glances = glances;
    }

    /// Loads the cache's slots of these frames, so that the memory answers all of them at once.
    #[inline]
    fn touch_slots(&self, origin: Origin, glances: &[Glance]) {
        let Some(cache) = self.cache_of(origin) else {
            return;
        };
        let words = glances.iter().map(|glance| cache.peek(glance.hash));
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
    ///
    /// The verdict is written in its place, and what is seldom needed gets the packet as a copy, so that the rest can
    /// stay in registers.
    #[inline]
    pub(super) fn fast(
        &mut self,
        moment: Moment,
        origin: Origin,
        glance: &Glance,
        packet: Packet<'_>,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let now = moment.now;
        if origin == Origin::Internet {
            self.learn(packet.window);
        }
        let (destination, source) = MacWord::of_frame(packet.window.first_chunk()?);
        let (cache, is_own) = match origin {
            Origin::Interface(index) => {
                let state = self.states.get(index)?;
                (&state.cache, source == state.mac)
            }
            Origin::Internet => (&self.states.internet.cache, true),
        };
        let at = cache.find(glance.hash, &glance.key)?;
        let slot = cache.slot(at);
        if !is_own || !slot.takes(destination, glance) {
            return None;
        }
        let (to, rewrite) = (slot.to, slot.rewrite);
        if slot.settled != Settled::new(moment.second, self.changes) {
            self.settle(now, origin, at, glance)?;
        }
        if rewrite == Rewrite::Routed {
            *verdict = self.fast_routed(now, origin, (at, to), packet)?;
            return Some(());
        }
        let (port, mac, counters) = match to {
            Destination::Interface(index) => {
                let state = self.states.get_mut(index)?;
                let port = state.port?;
                if state.shaper.is_some() {
                    let load = Load::of_plain(packet.total_len, packet.offload, glance);
                    if let Some(reason) = state.exceeds(now, load, Direction::Inbound) {
                        state.counters.drop(reason);
                        *verdict = Verdict::Drop(reason);
                        return Some(());
                    }
                }
                (port, state.mac, &mut state.counters)
            }
            Destination::Internet => {
                let internet = &mut self.states.internet;
                (internet.port?, internet.mac.into(), &mut internet.counters)
            }
        };
        counters.inbound(packet.total_len);
        write_macs(packet.window, mac, rewrite)?;
        *verdict = Verdict::Forward { to: port };
        Some(())
    }

    /// The rest of [`Self::fast`] behind an internet gateway: every edit that the walk found.
    #[inline(never)]
    fn fast_routed(
        &mut self,
        now: Instant,
        origin: Origin,
        (at, to): (usize, Destination),
        mut packet: Packet<'_>,
    ) -> Option<Verdict> {
        let edits = self.cache_of(origin)?.details(at).edits;
        let mut parsed = Parsed::parse(packet.window, packet.total_len).ok()?;
        Some(self.forward(now, origin, to, &mut parsed, &mut packet, &edits))
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

/// Gives a frame its receiver's MAC, and the router's where it comes from there. `None`: it is too short for any.
#[inline]
fn write_macs(window: &mut [u8], to: MacWord, rewrite: Rewrite) -> Option<()> {
    let macs: &mut [u8; 12] = window.first_chunk_mut()?;
    macs[..6].copy_from_slice(&to.bytes());
    if rewrite == Rewrite::FromRouter {
        macs[6..].copy_from_slice(&ROUTER_MAC);
    }
    Some(())
}
