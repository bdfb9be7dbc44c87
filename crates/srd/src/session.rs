//! What two incarnations of a pair share.

use crate::congestion::{Controller, Setup};
use crate::key::Sealer;
use crate::outbox::Outbox;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::wire::SEND_BYTES;
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
        }
    }
}
