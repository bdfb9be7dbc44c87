//! Instances.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Idempotency, PrivateDnsOptions, Tags, VmImage, default_root_device, text_enum};
use crate::ids::{InstanceId, ReservationId, SubnetId, VpcId};

/// An instance. Its interfaces are those whose attachment names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`.
    pub id: InstanceId,
    /// The call that launched it; `DescribeInstances` groups by it.
    pub reservation_id: ReservationId,
    /// Index within the launch.
    pub ami_launch_index: u32,
    /// ImageId as given.
    pub image_id: String,
    /// What the image has for a virtual machine; `None` for an instance that is a namespace.
    #[serde(default)]
    pub vm: Option<VmImage>,
    /// RootDeviceName of the image.
    #[serde(default = "default_root_device")]
    pub root_device_name: String,
    /// EnaSupport: of the image at launch; changed while stopped.
    #[serde(default = "yes")]
    pub ena_support: bool,
    /// SriovNetSupport is `simple` (the Intel 82599 virtual function); it cannot be taken back.
    #[serde(default)]
    pub sriov_net_support: bool,
    /// BandwidthWeighting.
    #[serde(default)]
    pub bandwidth_weighting: BandwidthWeighting,
    /// InstanceType.
    pub instance_type: String,
    /// KeyName.
    pub key_name: Option<String>,
    /// When it was launched or last started.
    pub launch_time: Timestamp,
    /// State.
    pub state: InstanceState,
    /// How often it was rebooted; the card follows the number.
    #[serde(default)]
    pub reboots: u32,
    /// How often it was started after a stop; 0 during its launch.
    #[serde(default)]
    pub starts: u32,
    /// Why it is in a state that it was not asked to be in.
    pub state_reason: Option<StateReason>,
    /// StateTransitionReason; empty for none.
    pub transition_reason: String,
    /// When it came to be terminated; it is forgotten some time later.
    pub terminated: Option<Timestamp>,
    /// VPC of the primary interface.
    pub vpc_id: VpcId,
    /// Subnet of the primary interface.
    pub subnet_id: SubnetId,
    /// Zone.
    pub availability_zone: String,
    /// PrivateDnsName; kept when the interfaces are gone.
    pub private_dns_name: String,
    /// PrivateDnsNameOptions.
    pub private_dns: PrivateDnsOptions,
    /// MetadataOptions.
    pub metadata: MetadataOptions,
    /// User data, decoded; at most [`crate::quota::USER_DATA_BYTES`].
    pub user_data: Option<Vec<u8>>,
    /// DisableApiTermination.
    pub disable_api_termination: bool,
    /// DisableApiStop.
    #[serde(default)]
    pub disable_api_stop: bool,
    /// What a shutdown from inside does.
    pub shutdown_behavior: ShutdownBehavior,
    /// The call that launched it, for idempotency.
    pub idempotency: Option<Idempotency>,
    /// Tags.
    pub tags: Tags,
}

impl Instance {
    /// Whether the card should have it: packets flow through its interfaces.
    pub fn is_live(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }
}

/// Code and message of a state's reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateReason {
    /// `Client.UserInitiatedShutdown` and the like.
    pub code: String,
    /// Text.
    pub message: String,
}

text_enum! {
    /// States of an instance.
    InstanceState {
        /// The card is making it.
        Pending = "pending",
        /// It runs.
        Running = "running",
        /// The card is taking it down for good.
        ShuttingDown = "shutting-down",
        /// Gone; shown for a while.
        Terminated = "terminated",
        /// The card is taking it down.
        Stopping = "stopping",
        /// Down; it can start again.
        Stopped = "stopped",
    }
}

impl InstanceState {
    /// The number beside the name in responses.
    ///
    /// Source: [AWS doc AWSEC2/latest/APIReference/API_InstanceState.html, 2026-11-23].
    pub const fn code(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }
}

text_enum! {
    /// InstanceInitiatedShutdownBehavior.
    ShutdownBehavior {
        /// Stop.
        Stop = "stop",
        /// Terminate.
        Terminate = "terminate",
    }
}

text_enum! {
    /// BandwidthWeighting.
    #[derive(Default)]
    BandwidthWeighting {
        /// The type's own balance.
        #[default] Default = "default",
        /// More for the network, less for EBS.
        Vpc = "vpc-1",
        /// More for EBS, less for the network.
        Ebs = "ebs-1",
    }
}

fn yes() -> bool {
    true
}

/// MetadataOptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// HttpEndpoint = enabled.
    pub enabled: bool,
    /// HttpTokens = required.
    pub tokens_required: bool,
    /// HttpPutResponseHopLimit, 1 to 64.
    pub hop_limit: u8,
    /// HttpProtocolIpv6 = enabled.
    pub ipv6: bool,
    /// InstanceMetadataTags = enabled.
    pub tags: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            tokens_required: false,
            hop_limit: 1,
            ipv6: false,
            tags: false,
        }
    }
}
