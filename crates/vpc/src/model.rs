//! The model: all resources of all scopes, and the one way to change them.

use jiff::Timestamp;
use rand::Rng;

use crate::command::Command;
use crate::error::{Ec2Error, ErrorCode};
use crate::reply::Reply;
use crate::report::CardReport;
use crate::resource::Event;
use crate::scope::Scope;

/// Who calls, where, and when.
#[derive(Debug, Clone)]
pub struct Context {
    /// Account and region.
    pub scope: Scope,
    /// Wall time, for what the API shows.
    pub now: Timestamp,
}

/// All resources of all accounts and regions.
#[derive(Debug, Clone, Default)]
pub struct Model {}

impl Model {
    /// Decides a call: what changes and what the caller is told. The model itself stays as it is until
    /// the events come back through [`Model::apply`].
    pub fn decide(
        &self,
        _context: &Context,
        _rng: &mut dyn Rng,
        command: &Command,
    ) -> Result<(Vec<Event>, Reply), Ec2Error> {
        Err(Ec2Error::new(ErrorCode::Unsupported, command.action()))
    }

    /// Decides what a card's report changes.
    pub fn report(&self, _now: Timestamp, _report: &CardReport) -> Vec<Event> {
        Vec::new()
    }

    /// Decides what the passing of time changes: terminated instances are forgotten.
    pub fn expire(&self, _now: Timestamp) -> Vec<Event> {
        Vec::new()
    }

    /// Applies an event that `decide`, `report` or `expire` returned, or that a store kept.
    pub fn apply(&mut self, _event: &Event) {}
}
