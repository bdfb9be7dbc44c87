//! What a card reports about the instances and interfaces that it was told to make.

use serde::{Deserialize, Serialize};

use crate::action::{finish_termination, release_public, set_state};
use crate::draft::Draft;
use crate::ids::{InstanceId, NetworkInterfaceId};
use crate::resource::{Attachment, AttachmentStatus, Instance, InstanceState, ShutdownBehavior, StateReason};

/// A report of a card. Reports may come late or twice; one that no longer fits changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CardReport {
    /// The instance is there and runs.
    InstanceRunning {
        /// The instance.
        instance_id: InstanceId,
    },
    /// The instance could not be made; it goes to `terminated` with the reason, or back to `stopped` when it
    /// was started after a stop.
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

impl CardReport {
    /// The instance that the report is about.
    pub fn instance_id(&self) -> InstanceId {
        match self {
            Self::InstanceRunning { instance_id }
            | Self::InstanceFailed { instance_id, .. }
            | Self::InstanceExited { instance_id }
            | Self::InstanceGone { instance_id }
            | Self::InterfaceAttached { instance_id, .. }
            | Self::InterfaceDetached { instance_id, .. } => *instance_id,
        }
    }
}

/// Takes a report into a draft of the scope that has the instance.
pub(crate) fn take(draft: &mut Draft<'_>, report: &CardReport) {
    let id = report.instance_id();
    let Some(state) = draft.get::<Instance>(id).map(|i| i.state) else {
        return;
    };
    match report {
        CardReport::InstanceRunning { .. } if state == InstanceState::Pending => {
            set_state(draft, id, InstanceState::Running);
            let attached: Vec<_> = draft.interfaces_of(id).iter().map(|i| i.id).collect();
            for interface in attached {
                set_attached(draft, interface, id);
            }
        }
        CardReport::InstanceFailed { reason, .. } if is_up(state) => {
            because(draft, id, "Server.InternalError", reason);
            let starts = draft.get::<Instance>(id).map_or(0, |i| i.starts);
            if state == InstanceState::Pending && starts > 0 {
                stopped(draft, id);
            } else {
                finish_termination(draft, id);
            }
        }
        CardReport::InstanceExited { .. } if is_up(state) => {
            because(
                draft,
                id,
                "Client.InstanceInitiatedShutdown",
                "Instance initiated shutdown",
            );
            let behavior = draft.get::<Instance>(id).map(|i| i.shutdown_behavior);
            match behavior {
                Some(ShutdownBehavior::Terminate) => finish_termination(draft, id),
                _ => stopped(draft, id),
            }
        }
        // A shutdown that was asked for may also look like an exit to the card.
        CardReport::InstanceGone { .. } | CardReport::InstanceExited { .. } => match state {
            InstanceState::ShuttingDown => finish_termination(draft, id),
            InstanceState::Stopping => stopped(draft, id),
            _ => {}
        },
        CardReport::InterfaceAttached { interface_id, .. } => set_attached(draft, *interface_id, id),
        CardReport::InterfaceDetached { interface_id, .. } => {
            draft.change_interface(*interface_id, |interface| {
                let leaving = |a: &Attachment| a.instance_id == id && a.status == AttachmentStatus::Detaching;
                if interface.attachment.as_ref().is_some_and(leaving) {
                    interface.attachment = None;
                }
            });
        }
        CardReport::InstanceRunning { .. } | CardReport::InstanceFailed { .. } => {}
    }
}

fn is_up(state: InstanceState) -> bool {
    matches!(state, InstanceState::Pending | InstanceState::Running)
}

fn stopped(draft: &mut Draft<'_>, id: InstanceId) {
    set_state(draft, id, InstanceState::Stopped);
    release_public(draft, id);
    let attached: Vec<_> = draft.interfaces_of(id).iter().map(|i| i.id).collect();
    for interface in attached {
        // Nothing is left to wait for: what was on its way in is in, what was on its way out is out.
        set_attached(draft, interface, id);
        draft.change_interface(interface, |interface| {
            let leaving = |a: &Attachment| a.status == AttachmentStatus::Detaching;
            if interface.attachment.as_ref().is_some_and(leaving) {
                interface.attachment = None;
            }
        });
    }
}

fn set_attached(draft: &mut Draft<'_>, interface: NetworkInterfaceId, instance: InstanceId) {
    draft.change_interface(interface, |interface| {
        if let Some(attachment) = &mut interface.attachment
            && attachment.instance_id == instance
            && attachment.status == AttachmentStatus::Attaching
        {
            attachment.status = AttachmentStatus::Attached;
        }
    });
}

fn because(draft: &mut Draft<'_>, id: InstanceId, code: &str, message: &str) {
    // A card's reason is text from outside; it is kept for an hour, so it is kept short.
    let message: String = message.chars().take(256).collect();
    draft.change::<Instance>(id, |instance| {
        instance.state_reason = Some(StateReason {
            code: code.to_owned(),
            message: format!("{code}: {message}"),
        });
    });
}
