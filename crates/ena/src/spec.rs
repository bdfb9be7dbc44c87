//! What the public drivers' headers fix: registers, admin commands, descriptors. Values only, no behaviour.
//!
//! Source of all of it: `ena_regs_defs.h`, `ena_admin_defs.h`, `ena_eth_io_defs.h`, `ena_common_defs.h` of the Linux
//! driver and of amzn-drivers. Everything is little endian; sizes are asserted when this is compiled.
//!
//! - [`registers`]: BAR 0, and why a driver resets.
//! - [`admin`]: commands and completions; [`feature`] and [`statistics`] what two of them carry.
//! - [`aenq`]: events that the device reports.
//! - [`host_info`]: the page in which a driver says who it is.

/// A number that somebody else chose, with names for the values that we know: any value is legal.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($repr:ty) {
            $($(#[$value_meta:meta])* $value_name:ident = $value:literal => $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$value_meta])* pub const $value_name: Self = Self($value);)*

            /// All values that have a name.
            pub const NAMED: &[Self] = &[$(Self($value)),*];

            /// What the value is called, if it has a name.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($word),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "unknown ({:#x})", self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:#x} {})", stringify!($name), self.0, self.name().unwrap_or("unknown"))
            }
        }
    };
}

pub mod admin;
pub mod aenq;
pub mod descriptor;
pub mod feature;
pub mod host_info;
pub mod registers;
pub mod statistics;
