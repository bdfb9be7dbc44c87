//! SRD over UDP sockets of the kernel: what carries the datagrams of a [`trinic_srd::Endpoint`].
//!
//! A [`Carrier`] has one socket for each path, which makes the path's source port, and one on the SRD port, where everything arrives. [`Carrier::turn`] is a round
//! of the loop: it takes what has come, does what is due, sends what may go, and waits if there was nothing. A program that waits for other things as well calls
//! [`Carrier::receive`] and [`Carrier::transmit`] itself.

mod carrier;
mod lent;
mod socket;

use std::time::Duration;

pub use carrier::{Carrier, Counters, HOLD, Options, SRD_PORT};
use trinic_srd::Config;

use crate::error::{Result, Step};

/// Settings of an endpoint whose datagrams a [`Carrier`] brings over a path with this MTU (bytes of an IP packet, IPv4's header without options).
///
/// They differ from [`Config::default`], which is for cards that poll: a process that wakes up may have to wait for its processor until the kernel's next tick (4 ms with
/// `CONFIG_HZ=250`), and that is neither a loss nor a queue in the network. docs/performance.md, "SRD on a kernel path", has what was measured with other values.
#[must_use]
pub fn kernel_config(mtu: usize) -> Config {
    Config {
        datagram: mtu.saturating_sub(IPV4_AND_UDP_BYTES),
        queue_delay: QUEUE_DELAY,
        ack_delay: ACK_DELAY,
        least_timeout: LEAST_TIMEOUT,
        ..Config::default()
    }
    .limited()
}

/// Lets waits of the calling thread end when they are due. Linux else ends them up to 50 µs later, to wake for several at once, which is longer than an
/// acknowledgement may wait. Source: prctl(2), `PR_SET_TIMERSLACK`.
///
/// # Errors
/// When the kernel refuses it.
pub fn wait_exactly() -> Result<()> {
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))
        .step(|| "set the timer slack of a thread".into())
}

/// IPv4's header without options and UDP's.
const IPV4_AND_UDP_BYTES: usize = 28;
/// Half a tick: what is compared with it is a median of round trips, of which few wait for a whole one.
const QUEUE_DELAY: Duration = Duration::from_millis(2);
const ACK_DELAY: Duration = Duration::from_micros(20);
/// A tick. Losses are found sooner by what overtakes them; this is for when nothing comes back, and then it may be that nobody had a processor.
const LEAST_TIMEOUT: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_fits_the_mtu() {
        assert_eq!(kernel_config(9_000).datagram, 8_972);
        assert_eq!(kernel_config(1_500).datagram, 1_472);
        assert_eq!(
            kernel_config(0).datagram,
            256,
            "the least with which a session is possible"
        );
    }
}
