//! The trinic binary.

fn main() {}
