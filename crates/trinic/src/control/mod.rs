//! The control process: the EC2 API, the model and its store, and the card's supervisor.

pub mod card_process;
