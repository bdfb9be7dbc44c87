//! What two incarnations of a pair share.

use crate::congestion::{Controller, Setup};
use crate::key::Sealer;
use crate::number::high;
use crate::outbox::Outbox;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::wire::{Body, Packet, SEND_BYTES};
use crate::{Config, Instant, Stats};

/// How packets of a session are addressed and sealed.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Largest datagram, in bytes of UDP payload.
    pub(crate) datagram: usize,
    /// The peer's index of the context.
    pub(crate) context: u32,
    pub(crate) epoch: u16,
    pub(crate) out: Sealer,
    /// Whether tags cover payloads.
    pub(crate) cover: bool,
}

/// What the halves of a session use of the context that they belong to.
#[derive(Debug)]
pub(crate) struct Owner<'a, L> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) local: &'a mut L,
    pub(crate) stats: &'a mut Stats,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session<C> {
    /// The peer's incarnation.
    pub(crate) incarnation: u64,
    pub(crate) wire: Wire,
    /// Checks what comes, under the present key.
    pub(crate) check: Sealer,
    /// The same under the key before, until the present one was seen [SEC-9].
    pub(crate) check_before: Option<(u16, Sealer)>,
    pub(crate) sender: Sender<C>,
    pub(crate) receiver: Receiver,
    /// When the peer was last heard of in this session, and when it was last asked whether it lives.
    pub(crate) heard: Instant,
    pub(crate) asked: Instant,
}

/// What the peer's HELLO said, within the protocol's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) incarnation: u64,
    pub(crate) context: u32,
    pub(crate) datagram: usize,
    pub(crate) window: u32,
    pub(crate) operations: u16,
    pub(crate) cover: bool,
}

impl<C: Controller> Session<C> {
    /// A session on these terms [SES-6]; `seals` are for what goes out and for what comes in.
    pub(crate) fn new(
        now: Instant,
        config: &Config,
        terms: Terms,
        epoch: u16,
        seals: [Sealer; 2],
        seed: u64,
    ) -> Self {
        let datagram = config.datagram.min(terms.datagram);
        let packet = (datagram - SEND_BYTES) as u64;
        let controller = C::new(Setup {
            packet,
            most: packet * u64::from(terms.window),
            queue_delay: config.queue_delay,
        });
        let [out, check] = seals;
        Self {
            incarnation: terms.incarnation,
            wire: Wire {
                datagram,
                context: terms.context,
                epoch,
                out,
                cover: config.cover_payload && terms.cover,
            },
            check,
            check_before: None,
            sender: Sender::new(now, config, controller, terms.window, datagram, seed),
            receiver: Receiver::new(config.window, config.operations, config.ack_delay),
            heard: now,
            asked: now,
        }
    }

    /// When the peer has to be asked whether it lives, because this end has nothing to send and waits for the response to a read [REL-12].
    pub(crate) fn ask(&self, outbox: &Outbox, config: &Config) -> Option<Instant> {
        let waits = self.sender.outstanding() == 0 && outbox.only_waits();
        waits.then(|| self.heard.max(self.asked) + config.silence_limit / ASKS)
    }

    /// The upper bits of a packet's number, which do not travel but are under the tag [REL-1] [SEC-3].
    pub(crate) fn upper(&self, packet: &Packet<'_>) -> [u8; 4] {
        let sequence = packet.base.sequence.get();
        let number = match packet.body {
            Body::Data { .. } => self.receiver.whole(sequence),
            _ => self.sender.whole(sequence),
        };
        high(number).to_be_bytes()
    }
}

/// As how many parts of the silence limit a peer is asked.
const ASKS: u32 = 8;
