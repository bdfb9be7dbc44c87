//! An interface for a virtual machine or a driver of the user's own (`trinic attach --vfio-user`): an ENA
//! function behind a socket, and nothing else.
//!
//! Whoever connects to the socket has the interface. When it goes, the function is as at power-on and waits for
//! the next one.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{InstanceSpec, InterfaceSpec};

use super::backend::{Instance, Plug};
use super::ena::Functions;

/// The socket of one interface.
#[derive(Debug)]
pub struct DeviceInstance {
    socket: PathBuf,
    functions: Functions,
}

/// What another card needs to open the socket again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handle {
    socket: PathBuf,
}

impl DeviceInstance {
    /// An instance that has no interface yet.
    #[must_use]
    pub fn new(socket: &str, functions: Functions) -> Self {
        Self {
            socket: socket.into(),
            functions,
        }
    }

    /// The one of an earlier card, if that is what the record is of.
    #[must_use]
    pub fn adopt(record: &Value, functions: &Functions) -> Option<Self> {
        let Handle { socket } = Handle::deserialize(record).ok()?;
        Some(Self {
            socket,
            functions: functions.clone(),
        })
    }

    /// What such an instance cannot have.
    ///
    /// # Errors
    ///
    /// When its spec has more than one interface.
    pub fn check(spec: &InstanceSpec) -> anyhow::Result<()> {
        anyhow::ensure!(
            spec.interfaces.len() <= 1,
            "A vfio-user socket is one interface; attach each one to a socket of its own"
        );
        Ok(())
    }
}

impl Instance for DeviceInstance {
    fn pid(&self) -> u32 {
        0
    }

    fn attach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        self.functions.make(interface)
    }

    fn activate(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        self.functions.serve(&interface.id, &self.socket)
    }

    fn configure(&mut self, _: &InterfaceSpec, _: &InterfaceSpec) -> anyhow::Result<()> {
        // Whoever has the interface asks DHCP and the metadata service.
        Ok(())
    }

    fn detach(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        self.functions.close(&interface.id);
        Ok(())
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn ended(&self) -> Option<OwnedFd> {
        None
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        // Its function goes with its interface.
        Ok(())
    }

    fn record(&self) -> Value {
        let handle = Handle {
            socket: self.socket.clone(),
        };
        serde_json::to_value(handle).unwrap_or_default()
    }
}
