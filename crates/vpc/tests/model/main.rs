//! The model as its users see it: calls, card reports, tables.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![expect(clippy::too_many_lines, reason = "a scenario reads best in one piece")]
#![expect(
    clippy::needless_update,
    reason = "the macros fill in defaults, also where a command has no more fields"
)]

mod world;

mod ena;
mod groups;
mod images;
mod interfaces;
mod launch;
mod networks;
mod random;
mod scale;
