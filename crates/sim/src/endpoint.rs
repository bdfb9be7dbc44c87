//! The face of a host's transport.

use crate::{Datagram, Instant, Transmit};

/// A transport without IO, driven by the world: the same verbs as the engines that the world tries out.
///
/// After each call to `handle_datagram` or `handle_timeout` the world takes datagrams with `poll_transmit` until
/// there are none or the host's link has enough of them queued, then asks `poll_timeout`. A transport that
/// something else touched (a message to send) gets the same from [`crate::World::with_endpoint`].
pub trait Endpoint {
    /// Takes a datagram that arrived for this host.
    fn handle_datagram(&mut self, now: Instant, datagram: &Datagram);

    /// Called at or after the time of `poll_timeout`; must do what was due, so that the time moves on.
    fn handle_timeout(&mut self, now: Instant);

    /// When `handle_timeout` is wanted next, if at all. A time in the past means now.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next datagram to send, its payload written to `payload`, which is empty and keeps its memory from
    /// one call to the next. Called again until it gives `None`, or until the host's link is busy.
    fn poll_transmit(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Transmit>;
}

impl<T: Endpoint + ?Sized> Endpoint for Box<T> {
    fn handle_datagram(&mut self, now: Instant, datagram: &Datagram) {
        (**self).handle_datagram(now, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        (**self).handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Transmit> {
        (**self).poll_transmit(now, payload)
    }
}
