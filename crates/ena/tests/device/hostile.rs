//! Drivers that do anything at all.
