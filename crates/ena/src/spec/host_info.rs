//! The page in which a driver says who it is. Source: `ena_admin_host_info`, `ena_admin_defs.h`.

use std::fmt;

use bitfield_struct::bitfield;
use zerocopy::byteorder::{LE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a driver writes about itself and its operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct HostInfo {
    /// An [`OsType`].
    pub os_type: U32<LE>,
    /// Distribution, text up to a zero byte. Linux puts the kernel's release here (`ena_config_host_info`).
    pub os_distribution: [u8; 128],
    /// Distribution, a number.
    pub os_distribution_number: U32<LE>,
    /// Kernel, text up to a zero byte. Linux puts the build's version here (`ena_config_host_info`).
    pub kernel: [u8; 32],
    /// Kernel, a number.
    pub kernel_number: U32<LE>,
    /// [`DriverVersion`].
    pub driver_version: U32<LE>,
    /// Not used.
    pub network_features: [u8; 8],
    /// The interface's version that the driver was written for, minor in 7:0, major in 15:8.
    pub spec_version: U16<LE>,
    /// [`Bdf`].
    pub bdf: U16<LE>,
    /// Processors.
    pub cpu_count: U16<LE>,
    /// Zero.
    pub reserved: U16<LE>,
    /// [`DriverFeatures`].
    pub driver_features: U32<LE>,
}

/// Bytes of the memory that a driver gives for it.
pub const HOST_INFO_PAGE_BYTES: u64 = 4096;

impl HostInfo {
    /// The distribution's text.
    pub fn os_distribution(&self) -> String {
        text(&self.os_distribution)
    }

    /// The kernel's text.
    pub fn kernel(&self) -> String {
        text(&self.kernel)
    }
}

/// Printable ASCII up to the first zero byte; anything else becomes a question mark, since it ends on a
/// terminal.
fn text(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| {
            if byte.is_ascii_graphic() || *byte == b' ' {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect()
}

open_enum! {
    /// An operating system. Source: `ENA_ADMIN_OS_*` of the Linux, FreeBSD and DPDK drivers.
    pub struct OsType(u32) {
        /// Linux.
        LINUX = 1 => "Linux",
        /// Windows.
        WINDOWS = 2 => "Windows",
        /// DPDK.
        DPDK = 3 => "DPDK",
        /// FreeBSD.
        FREEBSD = 4 => "FreeBSD",
        /// iPXE.
        IPXE = 5 => "iPXE",
        /// ESXi.
        ESXI = 6 => "ESXi",
    }
}

/// A driver's version.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DriverVersion {
    /// 7:0.
    pub major: u8,
    /// 15:8.
    pub minor: u8,
    /// 23:16.
    pub sub_minor: u8,
    /// 31:24: which build of the driver; DPDK writes a code of its own.
    pub module_type: u8,
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major(), self.minor(), self.sub_minor())
    }
}

/// Where the driver found the device on its bus.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct Bdf {
    /// 2:0.
    #[bits(3)]
    pub function: u8,
    /// 7:3.
    #[bits(5)]
    pub device: u8,
    /// 15:8.
    pub bus: u8,
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

/// What a driver can.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DriverFeatures {
    reserved_0: bool,
    /// Data may begin behind the start of a receive buffer.
    pub rx_offset: bool,
    /// It sets delays of interrupts.
    pub interrupt_moderation: bool,
    /// It mirrors receive buffers.
    pub rx_buffer_mirroring: bool,
    /// It sets the RSS function and key.
    pub rss_configurable: bool,
    reserved_5: bool,
    /// It uses receive pages again.
    pub rx_page_reuse: bool,
    /// It asks for checksums over IPv6.
    pub tx_ipv6_checksum: bool,
    /// It reads the clock.
    pub phc: bool,
    /// Its debug area has a header.
    pub debug_area_extended: bool,
    #[bits(22)]
    reserved_10: u32,
}

const _: () = assert!(size_of::<HostInfo>() == 196);

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn fields_are_where_the_header_has_them() {
        let mut page = [0; 196];
        page[0] = 1;
        page[4..12].copy_from_slice(b"6.12\n\x1b[m");
        page[136..138].copy_from_slice(b"#1");
        page[172..176].copy_from_slice(&[2, 17, 3, 1]);
        page[186..188].copy_from_slice(&0x0328_u16.to_le_bytes());
        page[188] = 8;
        page[192] = 0x12;
        let info = HostInfo::read_from_bytes(&page).unwrap();
        assert_eq!(OsType(info.os_type.get()), OsType::LINUX);
        assert_eq!(info.os_distribution(), "6.12??[m");
        assert_eq!(info.kernel(), "#1");
        assert_eq!(
            DriverVersion::from_bits(info.driver_version.get()).to_string(),
            "2.17.3"
        );
        assert_eq!(Bdf::from_bits(info.bdf.get()).to_string(), "03:05.0");
        assert_eq!(info.cpu_count.get(), 8);
        let features = DriverFeatures::from_bits(info.driver_features.get());
        assert!(features.rx_offset() && features.rss_configurable() && !features.phc());
        assert_eq!(HostInfo::new_zeroed().os_distribution(), "");
    }
}
