//! Messages as bytes: layouts, numbers, and the decoding of what a client asks.
//!
//! All fields are in the machine's own byte order. Source: [QEMU docs/interop/vfio-user.rst] for everything here
//! that does not say otherwise.

use zerocopy::byteorder::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::refusal::Refusal;

/// Before every message.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    /// The sender's, echoed in the reply.
    pub(super) id: U16,
    pub(super) command: U16,
    /// Bytes with this header.
    pub(super) size: U32,
    pub(super) flags: U32,
    /// Error number of a reply.
    pub(super) error: U32,
}
const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// `struct vfio_iommu_type1_dma_map` with a file offset.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DmaMap {
    pub(super) argsz: U32,
    pub(super) flags: U32,
    pub(super) offset: U64,
    pub(super) address: U64,
    pub(super) size: U64,
}
const _: () = assert!(size_of::<DmaMap>() == 32);

/// `struct vfio_iommu_type1_dma_unmap`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DmaUnmap {
    pub(super) argsz: U32,
    pub(super) flags: U32,
    pub(super) address: U64,
    pub(super) size: U64,
}
const _: () = assert!(size_of::<DmaUnmap>() == 24);

/// `struct vfio_device_info`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DeviceInfo {
    pub(super) argsz: U32,
    pub(super) flags: U32,
    pub(super) regions: U32,
    pub(super) irqs: U32,
}
const _: () = assert!(size_of::<DeviceInfo>() == 16);

/// `struct vfio_region_info`. Source: [linux/vfio.h], as the next four.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RegionInfo {
    pub(super) argsz: U32,
    pub(super) flags: U32,
    pub(super) index: U32,
    pub(super) cap_offset: U32,
    pub(super) size: U64,
    /// What mmap adds to the offset of an area.
    pub(super) offset: U64,
}
const _: () = assert!(size_of::<RegionInfo>() == 32);

/// `struct vfio_region_info_cap_sparse_mmap` before its areas.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SparseMmap {
    pub(super) id: U16,
    pub(super) version: U16,
    /// Offset of the next capability from the start of the region info.
    pub(super) next: U32,
    pub(super) areas: U32,
    pub(super) reserved: U32,
}
const _: () = assert!(size_of::<SparseMmap>() == 16);

/// `struct vfio_region_sparse_mmap_area`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SparseArea {
    pub(super) offset: U64,
    pub(super) size: U64,
}
const _: () = assert!(size_of::<SparseArea>() == 16);

/// `struct vfio_irq_info`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct IrqInfo {
    pub(super) argsz: U32,
    pub(super) flags: U32,
    pub(super) index: U32,
    pub(super) count: U32,
}
const _: () = assert!(size_of::<IrqInfo>() == 16);

/// `struct vfio_irq_set` before its data.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct IrqSet {
    pub(super) argsz: U32,
    pub(super) flags: U32,
    pub(super) index: U32,
    pub(super) start: U32,
    pub(super) count: U32,
}
const _: () = assert!(size_of::<IrqSet>() == 20);

/// A region access before its data.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RegionAccess {
    pub(super) offset: U64,
    pub(super) region: U32,
    pub(super) count: U32,
}
const _: () = assert!(size_of::<RegionAccess>() == 16);

/// One write of several in a message.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SmallWrite {
    pub(super) access: RegionAccess,
    pub(super) data: [u8; 8],
}
const _: () = assert!(size_of::<SmallWrite>() == 24);

/// What a client asks.
#[derive(Debug)]
pub(super) enum Request<'a> {
    Version { major: u16, data: &'a [u8] },
    DmaMap(DmaMap),
    DmaUnmap(DmaUnmap),
    DeviceInfo,
    RegionInfo(RegionInfo),
    IrqInfo(IrqInfo),
    SetIrqs { set: IrqSet, data: &'a [u8] },
    RegionRead(RegionAccess),
    RegionWrite { access: RegionAccess, data: &'a [u8] },
    WriteMany(&'a [SmallWrite]),
    Reset,
}

impl<'a> Request<'a> {
    /// Decodes the message after its header. What is left after the fields of a command is ignored, except where
    /// a count says how much there is.
    pub(super) fn decode(command: u16, body: &'a [u8]) -> Result<Self, Refusal> {
        Ok(match command {
            command::VERSION => {
                let ([major, _minor], data) = take::<[U16; 2]>(body)?;
                Self::Version {
                    major: major.get(),
                    data,
                }
            }
            command::DMA_MAP => Self::DmaMap(take(body)?.0),
            command::DMA_UNMAP => Self::DmaUnmap(take(body)?.0),
            command::DEVICE_GET_INFO => take::<DeviceInfo>(body).map(|_| Self::DeviceInfo)?,
            command::DEVICE_GET_REGION_INFO => Self::RegionInfo(take(body)?.0),
            command::DEVICE_GET_IRQ_INFO => Self::IrqInfo(take(body)?.0),
            command::DEVICE_SET_IRQS => {
                let (set, data) = take(body)?;
                Self::SetIrqs { set, data }
            }
            command::REGION_READ => {
                let (access, _) = take::<RegionAccess>(body)?;
                bounded(access)?;
                Self::RegionRead(access)
            }
            command::REGION_WRITE => {
                let (access, data) = take::<RegionAccess>(body)?;
                let data = data.get(..bounded(access)?).ok_or(Refusal::Length)?;
                Self::RegionWrite { access, data }
            }
            command::REGION_WRITE_MULTI => {
                let (count, writes) = take::<U64>(body)?;
                let count = usize::try_from(count.get()).map_err(|_| Refusal::Length)?;
                let writes = <[SmallWrite]>::ref_from_prefix_with_elems(writes, count);
                Self::WriteMany(writes.map_err(|_| Refusal::Length)?.0)
            }
            command::DEVICE_RESET => Self::Reset,
            _ => return Err(Refusal::Command),
        })
    }
}

/// The fields at the start of a message, and the rest.
fn take<T: FromBytes>(body: &[u8]) -> Result<(T, &[u8]), Refusal> {
    T::read_from_prefix(body).map_err(|_| Refusal::Length)
}

/// How many bytes an access moves, if that is not too many.
fn bounded(access: RegionAccess) -> Result<usize, Refusal> {
    usize::try_from(access.count.get())
        .ok()
        .filter(|count| *count <= DATA_BYTES_MOST)
        .ok_or(Refusal::Length)
}

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 16;
/// Most bytes of data in a message; what the server tells its clients. Config space, the largest thing that a
/// client reads at once, has 4,096.
pub(super) const DATA_BYTES_MOST: usize = 64 * 1024;
/// Most bytes of a message.
pub(super) const MESSAGE_BYTES_MOST: usize = DATA_BYTES_MOST + 64;
/// Most file descriptors of a message; what the server tells its clients. QEMU sends no more.
pub(super) const DESCRIPTORS_MOST: usize = 16;

/// Numbers of commands.
pub(super) mod command {
    pub(in super::super) const VERSION: u16 = 1;
    pub(in super::super) const DMA_MAP: u16 = 2;
    pub(in super::super) const DMA_UNMAP: u16 = 3;
    pub(in super::super) const DEVICE_GET_INFO: u16 = 4;
    pub(in super::super) const DEVICE_GET_REGION_INFO: u16 = 5;
    pub(in super::super) const DEVICE_GET_IRQ_INFO: u16 = 7;
    pub(in super::super) const DEVICE_SET_IRQS: u16 = 8;
    pub(in super::super) const REGION_READ: u16 = 9;
    pub(in super::super) const REGION_WRITE: u16 = 10;
    pub(in super::super) const DEVICE_RESET: u16 = 13;
    pub(in super::super) const REGION_WRITE_MULTI: u16 = 15;
}

/// Flags of a header.
pub(super) mod flag {
    /// Which bits are the type.
    pub(in super::super) const TYPE: u32 = 0xf;
    pub(in super::super) const COMMAND: u32 = 0;
    pub(in super::super) const REPLY: u32 = 1;
    /// No reply is wanted.
    pub(in super::super) const NO_REPLY: u32 = 0x10;
    /// The reply tells of an error.
    pub(in super::super) const ERROR: u32 = 0x20;
}

/// Numbers of VFIO. Source: [linux/vfio.h].
pub(super) mod vfio {
    /// `VFIO_DEVICE_FLAGS_RESET`.
    pub(in super::super) const DEVICE_RESET: u32 = 1;
    /// `VFIO_DEVICE_FLAGS_PCI`.
    pub(in super::super) const DEVICE_PCI: u32 = 2;
    /// `VFIO_PCI_NUM_REGIONS`: six BARs, ROM, config space, VGA.
    pub(in super::super) const REGIONS: u32 = 9;
    /// `VFIO_PCI_CONFIG_REGION_INDEX`.
    pub(in super::super) const REGION_CONFIG: u32 = 7;
    /// `VFIO_REGION_INFO_FLAG_READ` and `_WRITE`.
    pub(in super::super) const REGION_READ_WRITE: u32 = 3;
    /// `VFIO_REGION_INFO_FLAG_MMAP`.
    pub(in super::super) const REGION_MMAP: u32 = 4;
    /// `VFIO_REGION_INFO_FLAG_CAPS`.
    pub(in super::super) const REGION_CAPS: u32 = 8;
    /// `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
    pub(in super::super) const CAP_SPARSE_MMAP: u16 = 1;
    /// `VFIO_PCI_NUM_IRQS`: INTx, MSI, MSI-X, error, request.
    pub(in super::super) const IRQS: u32 = 5;
    /// `VFIO_PCI_MSIX_IRQ_INDEX`.
    pub(in super::super) const IRQ_MSIX: u32 = 2;
    /// `VFIO_IRQ_INFO_EVENTFD`. Without `VFIO_IRQ_INFO_NORESIZE`: with that QEMU takes all vectors down to add one.
    pub(in super::super) const IRQ_EVENTFD: u32 = 1;
    /// `VFIO_IRQ_SET_DATA_NONE`.
    pub(in super::super) const SET_NONE: u32 = 1;
    /// `VFIO_IRQ_SET_DATA_BOOL`.
    pub(in super::super) const SET_BOOL: u32 = 2;
    /// `VFIO_IRQ_SET_DATA_EVENTFD`.
    pub(in super::super) const SET_EVENTFD: u32 = 4;
    /// `VFIO_IRQ_SET_ACTION_MASK`.
    pub(in super::super) const SET_MASK: u32 = 8;
    /// `VFIO_IRQ_SET_ACTION_UNMASK`.
    pub(in super::super) const SET_UNMASK: u32 = 16;
    /// `VFIO_IRQ_SET_ACTION_TRIGGER`.
    pub(in super::super) const SET_TRIGGER: u32 = 32;
    /// `VFIO_DMA_MAP_FLAG_READ`.
    pub(in super::super) const MAP_READ: u32 = 1;
    /// `VFIO_DMA_MAP_FLAG_WRITE`.
    pub(in super::super) const MAP_WRITE: u32 = 2;
    /// `VFIO_DMA_UNMAP_FLAG_ALL`.
    pub(in super::super) const UNMAP_ALL: u32 = 2;
}
