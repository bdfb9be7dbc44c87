//! Reading a register without a read: the driver writes which one it wants, the device writes the value into
//! the driver's memory. ENA and EFA have it alike.
//!
//! The driver spins, with its interrupts off, until its request id appears: the device answers inside the write
//! of the request, and writes the id last. Source: `ena_com_reg_bar_read32` and
//! `ena_com_mmio_reg_read_request_write_dev_addr` (`ena_com.c`), `efa_com_reg_read32` (`efa_com.c`).

use crate::memory::{DmaFault, Memory};

/// Where answers go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readless {
    low: u32,
    high: u32,
}

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadlessError {
    /// The driver has not said where answers go. Address 0 is never written.
    #[error("There is no address for the answer")]
    NoAddress,
    /// That is not memory.
    #[error(transparent)]
    Dma(#[from] DmaFault),
}

impl Readless {
    /// The driver writes the low half of the address. Halves come in either order.
    pub fn set_low(&mut self, value: u32) {
        self.low = value;
    }

    /// The driver writes the high half of the address.
    pub fn set_high(&mut self, value: u32) {
        self.high = value;
    }

    /// The address of the 8 bytes.
    pub fn address(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    /// Answers a request: the offset and the value of the register, then the request's id.
    ///
    /// # Errors
    ///
    /// When there is no place for the answer.
    pub fn answer<M: Memory>(
        &self,
        memory: &M,
        request_id: u16,
        offset: u16,
        value: u32,
    ) -> Result<(), ReadlessError> {
        let address = self.address();
        if address == 0 {
            return Err(ReadlessError::NoAddress);
        }
        let [a, b] = offset.to_le_bytes();
        let [c, d, e, f] = value.to_le_bytes();
        let end = address.checked_add(2).ok_or(DmaFault { address, length: 8 })?;
        memory.write(end, &[a, b, c, d, e, f])?;
        memory.store_u16(address, request_id)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::PlainMemory;

    #[test]
    fn the_answer_is_laid_out_as_the_header_has_it() {
        let memory = PlainMemory::new(0x1_0000_0000, 16);
        let mut readless = Readless::default();
        assert_eq!(readless.answer(&memory, 1, 2, 3), Err(ReadlessError::NoAddress));
        readless.set_high(1);
        readless.set_low(8);
        readless.answer(&memory, 0x1234, 0x58, 0xaabb_ccdd).unwrap();
        let mut bytes = [0; 8];
        memory.read(0x1_0000_0008, &mut bytes).unwrap();
        assert_eq!(bytes, [0x34, 0x12, 0x58, 0, 0xdd, 0xcc, 0xbb, 0xaa]);
        readless.set_low(12);
        assert!(matches!(
            readless.answer(&memory, 1, 2, 3),
            Err(ReadlessError::Dma(_))
        ));
        readless.set_low(u32::MAX);
        readless.set_high(u32::MAX);
        assert!(readless.answer(&memory, 1, 2, 3).is_err());
    }
}
