//! What the public drivers' headers fix: registers, admin commands, descriptors. Values only, no behaviour.
//!
//! Source of all of it: `ena_regs_defs.h`, `ena_admin_defs.h`, `ena_eth_io_defs.h`, `ena_common_defs.h` of the Linux
//! driver and of amzn-drivers. Everything is little endian; sizes are asserted when this is compiled.

pub mod descriptor;
