//! The structures inside requests and responses, named and shaped as in EC2's service model.
//!
//! They are plain text, numbers and lists: what a caller sent before it is checked, and what a caller
//! is shown. The model's own state, with typed ids and addresses, is in [`crate::resource`]. Members
//! that no action here reads or fills are left out.
//!
//! Source: [botocore data/ec2/2016-11-15/service-2.json, 1.44].

mod common;
mod image;
mod instance_type;
mod request;
mod response;

pub use common::*;
pub use image::*;
pub use instance_type::*;
pub use request::*;
pub use response::*;
