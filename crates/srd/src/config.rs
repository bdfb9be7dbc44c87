//! What the owner of an interface decides.

use std::time::Duration;

/// Settings of an endpoint; docs/spec/srd.md, section 9, has their limits, which [`Config::limited`] applies.
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest datagram that this end takes, in bytes of UDP payload.
    pub datagram: usize,
    /// Packets that a peer may have outstanding towards this end; a power of two.
    pub window: u32,
    /// RDMA operations outstanding in each direction; a power of two.
    pub operations: u16,
    /// Messages of one peer that may wait or be outstanding.
    pub messages: usize,
    /// Paths to a peer, each a source port.
    pub paths: u8,
    /// Whether tags cover payloads, if the peer wants it too [SEC-7].
    pub cover_payload: bool,
    /// How long a peer is called before what waits for it fails [SES-2].
    pub connect_limit: Duration,
    /// How long nothing may be acknowledged before a session ends [REL-9].
    pub silence_limit: Duration,
    /// Instant that packets may spend in queues, above the shortest round trip, before the sender slows down [CC-2].
    pub queue_delay: Duration,
    /// Longest time that an acknowledgement waits for more packets [REL-5].
    pub ack_delay: Duration,
    /// The shortest time after which a silent path counts as having lost a packet [REL-7]; longer than the scheduling delays of the hosts.
    pub least_timeout: Duration,
    /// Full packets to a peer that may leave together; the rest of a window is spread over four fifths of a round trip [CC-5]. Without a number a window leaves at once. It takes a
    /// caller that comes back at [`Endpoint::poll_timeout`](crate::Endpoint::poll_timeout) within the time of a few packets.
    pub burst: Option<u16>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            datagram: 8_972,
            window: 4_096,
            operations: 64,
            messages: 4_096,
            paths: 16,
            cover_payload: false,
            connect_limit: Duration::from_secs(1),
            silence_limit: Duration::from_secs(2),
            queue_delay: Duration::from_micros(25),
            ack_delay: Duration::from_micros(20),
            least_timeout: Duration::from_micros(100),
            burst: None,
        }
    }
}

impl Config {
    /// The same within the protocol's limits [NEG-3].
    #[must_use]
    pub fn limited(mut self) -> Self {
        self.datagram = self.datagram.clamp(LEAST_DATAGRAM, 65_507);
        self.window = limited_window(self.window);
        self.operations = limited_operations(self.operations);
        self.messages = self.messages.clamp(1, 1 << 20);
        self.paths = self.paths.clamp(1, 64);
        self
    }
}

/// A window within the protocol's limits: a power of two [NEG-3].
pub(crate) fn limited_window(window: u32) -> u32 {
    let window = window.clamp(16, 8_192);
    1 << window.ilog2()
}

/// A number of operations within the protocol's limits: a power of two [NEG-3].
pub(crate) fn limited_operations(operations: u16) -> u16 {
    1 << operations.clamp(1, 256).ilog2()
}

/// The smallest datagram with which a session is possible [NEG-3].
pub(crate) const LEAST_DATAGRAM: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_take_the_place_of_what_is_beyond_them() {
        // [NEG-3]
        let config = Config {
            datagram: 9,
            window: 5_000,
            operations: 0,
            paths: 200,
            ..Config::default()
        }
        .limited();
        assert_eq!(
            (config.datagram, config.window, config.operations, config.paths),
            (256, 4_096, 1, 64)
        );
        assert_eq!(limited_window(u32::MAX), 8_192);
        assert_eq!(limited_window(0), 16);
    }
}
