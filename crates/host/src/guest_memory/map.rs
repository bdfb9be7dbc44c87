//! The map: regions sorted by bus address, none of which overlap.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use trinic_pci::Intent;

use super::{Access, Limits, MapError};
use crate::sys::{Faults, Mapping};

/// Everything that a client has mapped. Never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct Map {
    regions: Vec<Arc<Region>>,
    bytes: u64,
}

impl Map {
    /// Whether one more region may be there.
    pub(super) fn check(&self, address: u64, size: u64, offset: u64, limits: Limits) -> Result<(), MapError> {
        let whole = [address, size, offset]
            .iter()
            .all(|part| part.is_multiple_of(PAGE_BYTES));
        let ends = address.checked_add(size).zip(offset.checked_add(size));
        let Some((end, _)) = ends.filter(|_| whole && size > 0) else {
            return Err(MapError::Unaligned {
                address,
                size,
                offset,
            });
        };
        let next = self.regions.partition_point(|region| region.end() <= address);
        if let Some(region) = self.regions.get(next).filter(|region| region.base < end) {
            return Err(MapError::Overlap(region.base.max(address)));
        }
        if self.regions.len() >= limits.maps {
            return Err(MapError::TooMany(limits.maps));
        }
        if self
            .bytes
            .checked_add(size)
            .is_none_or(|bytes| bytes > limits.bytes)
        {
            return Err(MapError::TooLarge(limits.bytes));
        }
        Ok(())
    }

    /// A copy with one more region, which was checked.
    pub(super) fn with(&self, region: Region) -> Self {
        let at = self.regions.partition_point(|other| other.base < region.base);
        let bytes = self.bytes + region.size;
        let mut regions = self.regions.clone();
        regions.insert(at, Arc::new(region));
        Self { regions, bytes }
    }

    /// A copy without the regions of a range, and those. A range may not end within one.
    pub(super) fn without(&self, address: u64, size: u64) -> Result<(Self, Vec<Arc<Region>>), MapError> {
        // The last byte and not the end: the upper half of all addresses is a range too.
        let last = size.checked_sub(1).and_then(|most| address.checked_add(most));
        let last = last.ok_or(MapError::Range { address, size })?;
        let first = self.regions.partition_point(|region| region.end() <= address);
        let behind = self.regions.partition_point(|region| region.base <= last);
        let inside = self.regions.get(first..behind).unwrap_or_default();
        if let Some(split) = inside
            .iter()
            .find(|region| region.base < address || region.end() - 1 > last)
        {
            return Err(MapError::Split(split.base));
        }
        let mut regions = self.regions.clone();
        let gone: Vec<Arc<Region>> = regions.drain(first..behind).collect();
        let bytes = self.bytes - gone.iter().map(|region| region.size).sum::<u64>();
        Ok((Self { regions, bytes }, gone))
    }

    /// The region that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<&Arc<Region>> {
        let next = self.regions.partition_point(|region| region.base <= address);
        let region = self.regions.get(next.checked_sub(1)?)?;
        (address < region.end()).then_some(region)
    }

    pub(super) fn all(&self) -> Vec<Arc<Region>> {
        self.regions.clone()
    }

    pub(super) fn size(&self) -> (usize, u64) {
        (self.regions.len(), self.bytes)
    }
}

/// One map. Addresses are the bus's.
#[derive(Debug)]
pub(super) struct Region {
    base: u64,
    size: u64,
    is_readable: bool,
    is_writable: bool,
    /// A region without memory has none, and no access succeeds.
    mapping: Option<Mapping>,
}

impl Region {
    pub(super) fn without_memory(base: u64, size: u64) -> Self {
        Self {
            base,
            size,
            is_readable: false,
            is_writable: false,
            mapping: None,
        }
    }

    pub(super) fn of_file(
        base: u64,
        size: u64,
        file: BorrowedFd<'_>,
        offset: u64,
        access: Access,
        faults: &Arc<Faults>,
    ) -> Result<Self, MapError> {
        let page_bytes = check_file(file, offset + size)?;
        let length = usize::try_from(size).map_err(|_| MapError::TooLarge(size))?;
        let mapping = Mapping::new(file, offset, length, access.write, page_bytes, faults)?;
        Ok(Self {
            base,
            size,
            is_readable: access.read,
            is_writable: access.write,
            mapping: Some(mapping),
        })
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn is_writable(&self) -> bool {
        self.is_writable
    }

    pub(super) fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }

    /// How many bytes there are from an address in it to its end.
    pub(super) fn bytes_from(&self, address: u64) -> usize {
        usize::try_from(self.end() - address).unwrap_or(usize::MAX)
    }

    /// Lets go of the client's file.
    pub(super) fn release(&self) {
        if let Some(mapping) = &self.mapping {
            // Where the host counts every private page (overcommit mode 2) the kernel may refuse; then the file
            // is let go of when the last holder drops the region.
            let _ = mapping.release();
        }
    }

    #[inline]
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.readable()
            .is_some_and(|mapping| mapping.read(address.wrapping_sub(self.base), into))
    }

    #[inline]
    pub(super) fn write(&self, address: u64, from: &[u8]) -> bool {
        self.writable()
            .is_some_and(|mapping| mapping.write(address.wrapping_sub(self.base), from))
    }

    #[inline]
    pub(super) fn load_u32(&self, address: u64) -> Option<u32> {
        let word = self.readable()?.load_u32(address.wrapping_sub(self.base))?;
        Some(u32::from_le(word))
    }

    #[inline]
    pub(super) fn store_u32(&self, address: u64, value: u32) -> bool {
        self.writable()
            .is_some_and(|mapping| mapping.store_u32(address.wrapping_sub(self.base), value.to_le()))
    }

    #[inline]
    pub(super) fn store_u16(&self, address: u64, value: u16) -> bool {
        self.writable()
            .is_some_and(|mapping| mapping.store_u16(address.wrapping_sub(self.base), value.to_le()))
    }

    /// A hint, so whether the device may read or write is not asked.
    #[inline]
    pub(super) fn prefetch(&self, addresses: impl Iterator<Item = u64>, intent: Intent) {
        if let Some(mapping) = &self.mapping {
            for address in addresses {
                mapping.prefetch(address.wrapping_sub(self.base), intent);
            }
        }
    }

    #[inline]
    pub(super) fn copy(&self, address: u64, other: &Self, to: u64, length: usize) -> bool {
        match (self.readable(), other.writable()) {
            (Some(from), Some(target)) => {
                let (at, to) = (address.wrapping_sub(self.base), to.wrapping_sub(other.base));
                from.copy(at, target, to, length)
            }
            _ => false,
        }
    }

    fn end(&self) -> u64 {
        self.base + self.size
    }

    #[inline]
    fn readable(&self) -> Option<&Mapping> {
        self.mapping.as_ref().filter(|_| self.is_readable)
    }

    #[inline]
    fn writable(&self) -> Option<&Mapping> {
        self.mapping.as_ref().filter(|_| self.is_writable)
    }
}

/// Whether a file can be guest memory up to `end`, and how large its pages are.
fn check_file(file: BorrowedFd<'_>, end: u64) -> Result<u64, MapError> {
    let status = rustix::fs::fstat(file).map_err(std::io::Error::from)?;
    let system = rustix::fs::fstatfs(file).map_err(std::io::Error::from)?;
    let kind = u64::try_from(system.f_type).unwrap_or(u64::MAX);
    let is_file = rustix::fs::FileType::from_raw_mode(status.st_mode).is_file();
    if !is_file || !FILE_SYSTEMS.contains(&kind) {
        return Err(MapError::FileType(kind));
    }
    let bytes = u64::try_from(status.st_size).unwrap_or(0);
    if end > bytes {
        return Err(MapError::BeyondFile { file: bytes, end });
    }
    let huge = u64::try_from(system.f_bsize).ok().filter(|_| kind == HUGETLBFS);
    Ok(huge.filter(|page| page.is_power_of_two()).unwrap_or(PAGE_BYTES))
}

/// Bytes of a page, and what the server tells its clients.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Source: [linux/magic.h], as the others.
const HUGETLBFS: u64 = 0x9584_58f6;

/// File systems whose pages the kernel itself brings: an access of a file on FUSE or on a network would wait for
/// as long as the client, or a server of its choice, likes. memfds are of tmpfs or hugetlbfs.
const FILE_SYSTEMS: [u64; 8] = [
    HUGETLBFS,
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
];
