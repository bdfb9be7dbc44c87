//! The time service at 169.254.169.123 and fd00:ec2::123: the host's wall clock, over NTP.
//!
//! It answers clients only, with one message of the size of theirs. What it says of itself is what
//! `chronyc ntpdata` shows of Amazon's: stratum 3, reference 169.254.169.122.
//!
//! Source: [RFC 5905], [AWS doc docs.aws.amazon.com/AWSEC2/latest/UserGuide/set-time.html].

use trinic_wire::ntp::{HEADER_LEN, Leap, Mode, Repr, Timestamp};

use crate::context::WallTime;
use crate::refusal::Refusal;

/// Distance from a reference clock.
const STRATUM: u8 = 3;
/// 2^-20 s, about a microsecond: what a system clock resolves.
const PRECISION: i8 = -20;
/// 2^-12 s, in units of 2^-16. [assumed A-20]
const ROOT_DELAY: u32 = 16;
/// 2^-16 s.
const ROOT_DISPERSION: u32 = 1;
const REFERENCE_ID: [u8; 4] = [169, 254, 169, 122];
/// The clock was set at the last multiple of this.
const REFERENCE_INTERVAL_NS: u64 = 16_000_000_000;

/// Answers one message.
pub fn answer(wall: WallTime, message: &[u8]) -> Result<[u8; HEADER_LEN], Refusal> {
    let request = Repr::parse(message).map_err(|_| Refusal::NtpMalformed)?;
    if request.mode != Mode::Client {
        return Err(Refusal::NtpMalformed);
    }
    let now = Timestamp::from_unix_nanos(wall.0);
    let reply = Repr {
        leap: Leap::None,
        version: request.version,
        mode: Mode::Server,
        stratum: STRATUM,
        poll: request.poll,
        precision: PRECISION,
        root_delay: ROOT_DELAY,
        root_dispersion: ROOT_DISPERSION,
        reference_id: REFERENCE_ID,
        reference: Timestamp::from_unix_nanos(wall.0 - wall.0 % REFERENCE_INTERVAL_NS),
        origin: request.transmit,
        receive: now,
        transmit: now,
    };
    let mut out = [0; HEADER_LEN];
    reply.emit(&mut out).map_err(|_| Refusal::NtpMalformed)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_own_time_back_and_ours() {
        let mut request = [0; 48];
        request[0] = 0x23;
        request[2] = 6;
        request[40..].copy_from_slice(&[0xe9, 1, 2, 3, 4, 5, 6, 7]);
        // 2026-11-23 13:30:00.5 UTC.
        let reply = answer(WallTime(1_795_440_600_500_000_000), &request).unwrap();
        let want = [0x24, 3, 6, 0xec, 0, 0, 0, 16, 0, 0, 0, 1, 169, 254, 169, 122];
        assert_eq!(reply[..16], want);
        assert_eq!(reply[24..32], request[40..]);
        // 1,795,440,600 + 2,208,988,800 = 0xeeae_be58.
        let now = [0xee, 0xae, 0xbe, 0x58, 0x80, 0, 0, 0];
        assert_eq!(reply[32..40], now);
        assert_eq!(reply[40..48], now);
        assert!(reply[16..24] <= now[..]);
    }

    #[test]
    fn only_clients_are_answered() {
        for word in [0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x03, 0x2b] {
            let mut request = [0; 48];
            request[0] = word;
            assert_eq!(
                answer(WallTime(0), &request),
                Err(Refusal::NtpMalformed),
                "{word:#x}"
            );
        }
        assert_eq!(answer(WallTime(0), &[0x23; 47]), Err(Refusal::NtpMalformed));
    }
}
