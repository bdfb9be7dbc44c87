//! What a card reports about the instances and interfaces that it was told to make.

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, NetworkInterfaceId};

/// A report of a card. Reports may come late or twice; one that no longer fits changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CardReport {
    /// The instance is there and runs.
    InstanceRunning {
        /// The instance.
        instance_id: InstanceId,
    },
    /// The instance could not be made; it goes to `terminated` with the reason.
    InstanceFailed {
        /// The instance.
        instance_id: InstanceId,
        /// Why.
        reason: String,
    },
    /// The instance ended by itself; its shutdown behaviour decides what it becomes.
    InstanceExited {
        /// The instance.
        instance_id: InstanceId,
    },
    /// The instance was taken down as asked: `shutting-down` to `terminated`, `stopping` to `stopped`.
    InstanceGone {
        /// The instance.
        instance_id: InstanceId,
    },
    /// The interface is in place at the instance.
    InterfaceAttached {
        /// The interface.
        interface_id: NetworkInterfaceId,
        /// The instance.
        instance_id: InstanceId,
    },
    /// The interface has left the instance.
    InterfaceDetached {
        /// The interface.
        interface_id: NetworkInterfaceId,
        /// The instance.
        instance_id: InstanceId,
    },
}
