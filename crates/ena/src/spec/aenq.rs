//! Events that the device reports. Source of all of it: `ena_admin_defs.h`.

use zerocopy::byteorder::{LE, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

open_enum! {
    /// What an event is about (`ena_admin_aenq_group`). Bit n of the enabled groups stands for group n.
    pub struct Group(u16) {
        /// [`LinkChange`].
        LINK_CHANGE = 0 => "link change",
        /// The device failed.
        FATAL_ERROR = 1 => "fatal error",
        /// Something is odd.
        WARNING = 2 => "warning",
        /// See [`Syndrome`].
        NOTIFICATION = 3 => "notification",
        /// [`KeepAlive`].
        KEEP_ALIVE = 4 => "keep alive",
        /// Attributes changed.
        REFRESH_CAPABILITIES = 5 => "refresh capabilities",
        /// Settings that the driver should look at.
        CONFIGURATION_NOTIFICATIONS = 6 => "configuration notifications",
        /// The driver shall reset the device.
        DEVICE_REQUEST_RESET = 7 => "device request reset",
    }
}

impl Group {
    /// Its bit among the enabled groups; 0 where it has none.
    pub const fn bit(self) -> u32 {
        if self.0 < 32 { 1 << self.0 } else { 0 }
    }
}

open_enum! {
    /// Which notification (`ena_admin_aenq_notification_syndrome`).
    pub struct Syndrome(u16) {
        /// New [`HardwareHints`](super::feature::HardwareHints) are in the payload.
        UPDATE_HINTS = 2 => "update hints",
    }
}

/// An entry of the event queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Event {
    /// A [`Group`].
    pub group: U16<LE>,
    /// A [`Syndrome`], in some groups.
    pub syndrome: U16<LE>,
    /// Bit 0: phase.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// When, in two halves, low first. The header does not tell the unit; Linux prints it as
    /// seconds (`ena_com_aenq_intr_handler`) and does nothing else with it.
    pub timestamp: U64<LE>,
    /// What depends on the group.
    pub payload: [u8; 48],
}

impl Event {
    /// An event with this payload; its phase is 0.
    pub fn new<T: IntoBytes + Immutable>(group: Group, syndrome: u16, timestamp: u64, payload: &T) -> Self {
        let mut event = Self::new_zeroed();
        event.group = U16::new(group.0);
        event.syndrome = U16::new(syndrome);
        event.timestamp = U64::new(timestamp);
        let bytes = payload.as_bytes();
        if let Some(to) = event.payload.get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        event
    }

    /// The payload as this group's.
    pub fn payload<T: FromBytes + FromZeros>(&self) -> T {
        T::read_from_prefix(&self.payload).map_or_else(|_| T::new_zeroed(), |(value, _)| value)
    }
}

/// Group 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LinkChange {
    /// Bit 0: the link is up.
    pub flags: U32<LE>,
}

/// Group 4. Source: `ena_admin_aenq_keep_alive_desc`; in-tree drivers before the overruns were added ignore
/// the last counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct KeepAlive {
    /// Packets for the driver that were dropped.
    pub rx_drops: U64<LE>,
    /// Packets of the driver that were dropped.
    pub tx_drops: U64<LE>,
    /// Packets that did not fit.
    pub rx_overruns: U64<LE>,
}

const _: () = {
    assert!(size_of::<Event>() == super::admin::ENTRY_BYTES);
    assert!(size_of::<LinkChange>() == 4);
    assert!(size_of::<KeepAlive>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_laid_out_as_the_header_has_it() {
        let event = Event::new(
            Group::KEEP_ALIVE,
            0,
            0x0102_0304_0506_0708,
            &KeepAlive {
                rx_drops: U64::new(0x11),
                tx_drops: U64::new(0x22),
                rx_overruns: U64::new(0x33),
            },
        );
        let mut wanted = [0; 64];
        wanted[0] = 4;
        wanted[8..16].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
        (wanted[16], wanted[24], wanted[32]) = (0x11, 0x22, 0x33);
        assert_eq!(event.as_bytes(), wanted);
        assert_eq!(Group::KEEP_ALIVE.bit(), 0x10);
    }
}
