//! The other side's view: memory that this process made for a device to reach.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use trinic_pci::{DmaFault, Intent, Memory};

use super::map::Region;
use super::{Access, MapError};
use crate::sys::Faults;

/// One sealed file of memory at a bus address. Clones reach the same bytes, from any thread.
#[derive(Debug, Clone)]
pub struct OwnMemory {
    region: Arc<Region>,
}

impl OwnMemory {
    /// `bytes` zeroed bytes at bus address `address`, whole pages both, and the file to give to a server.
    pub(crate) fn new(address: u64, bytes: u64) -> Result<(Self, OwnedFd), MapError> {
        address.checked_add(bytes).ok_or(MapError::TooLarge(bytes))?;
        let file = sealed_file(bytes)?;
        let region = Region::of_file(address, bytes, file.as_fd(), 0, Access::BOTH, &Faults::new()?)?;
        let memory = Self {
            region: Arc::new(region),
        };
        Ok((memory, file))
    }

    fn checked(done: bool, address: u64, length: usize) -> Result<(), DmaFault> {
        if done {
            Ok(())
        } else {
            Err(DmaFault { address, length })
        }
    }
}

impl Memory for OwnMemory {
    #[inline]
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        Self::checked(self.region.read(address, into), address, into.len())
    }

    #[inline]
    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        Self::checked(self.region.write(address, from), address, from.len())
    }

    #[inline]
    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        let word = self.region.load_u32(address);
        word.ok_or(DmaFault { address, length: 4 })
    }

    #[inline]
    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        Self::checked(self.region.store_u32(address, value), address, 4)
    }

    #[inline]
    fn store_u16(&self, address: u64, value: u16) -> Result<(), DmaFault> {
        Self::checked(self.region.store_u16(address, value), address, 2)
    }

    #[inline]
    fn prefetch(&self, addresses: impl Iterator<Item = u64>, intent: Intent) {
        self.region.prefetch(addresses, intent);
    }

    #[inline]
    fn copy_to(&self, from: u64, other: &Self, at: u64, length: usize) -> Result<(), DmaFault> {
        Self::checked(self.region.copy(from, &other.region, at, length), from, length)
    }
}

/// A file that nobody can cut off.
fn sealed_file(bytes: u64) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("trinic-dma", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_reached_from_any_thread_and_nowhere_else() {
        let (memory, file) = OwnMemory::new(0x10000, 0x2000).unwrap();
        let other = memory.clone();
        std::thread::spawn(move || other.store_u32(0x11ffc, 0x0403_0201).unwrap())
            .join()
            .unwrap();
        assert_eq!(memory.load_u32(0x11ffc), Ok(0x0403_0201));
        memory.copy_to(0x11ffc, &memory, 0x10000, 4).unwrap();
        let mut bytes = [0; 4];
        rustix::io::pread(&file, &mut bytes, 0).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
        for (address, length) in [(0xffff, 2), (0x12000, 1), (u64::MAX, 1)] {
            let fault = Err(DmaFault { address, length });
            assert_eq!(memory.read(address, &mut vec![0; length]), fault);
            assert_eq!(memory.write(address, &vec![0; length]), fault);
            assert_eq!(memory.copy_to(address, &memory, 0x10000, length), fault);
            assert!(memory.copy_to(0x10000, &memory, address, length).is_err());
        }
        assert!(memory.load_u32(0x10002).is_err() && memory.store_u16(0x10001, 0).is_err());
        assert!(OwnMemory::new(u64::MAX - 0xfff, 0x2000).is_err());
    }
}
