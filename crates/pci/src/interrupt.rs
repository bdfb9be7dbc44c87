//! How a device asks its driver for attention.

use std::fmt::Debug;

/// The MSI-X vectors of one function. Clones reach the same vectors.
pub trait Interrupts: Clone + Debug {
    /// Raises a vector; where the driver has masked it, it is raised when the driver unmasks it. A vector
    /// that the function does not have, or that nobody listens to, is ignored.
    fn trigger(&self, vector: u16);
}
