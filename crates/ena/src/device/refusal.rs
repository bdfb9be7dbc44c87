//! Every reason why the device does not do what its driver asks. Each is a counter and a line of the trace.
//! The statuses are those whose words fit best; no header says which error has which. [assumed A-31]

use crate::spec::admin::Status;

/// Declares the reasons once: the variant, the status of the command (if it is one's), the name of its counter,
/// what it means.
macro_rules! refusals {
    ($($variant:ident $status:ident $name:literal $text:literal,)*) => {
        /// Why something was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $(#[doc = $text] $variant,)*
        }

        impl Refusal {
            /// All of them, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of its counter.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The reason in words.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// What a command that is refused for it completes with.
            pub const fn status(self) -> Status {
                match self {
                    $(Self::$variant => Status::$status,)*
                }
            }
        }
    };
}

// Accesses and rings have no command to complete; their status is never sent.
refusals! {
    AccessSize UNKNOWN_ERROR "access_size" "An access of a BAR that is not one of whole registers.",
    OutsideBar UNKNOWN_ERROR "outside_bar" "An access outside the BARs.",
    MappedPart UNKNOWN_ERROR "mapped_part" "An access of a mapped part of a BAR that came as a call.",
    UnknownRegister UNKNOWN_ERROR "unknown_register" "A register that is not there.",
    ReadOnlyRegister UNKNOWN_ERROR "read_only_register" "A write of a register that can only be read.",
    DeviceControl UNKNOWN_ERROR "device_control" "A bit of DEV_CTL that asks for what this device does not do.",
    DuringReset UNKNOWN_ERROR "during_reset" "A doorbell while the device is in reset.",
    ReadlessNoAddress UNKNOWN_ERROR "readless_no_address" "A readless read without an address for the answer.",
    ReadlessDma UNKNOWN_ERROR "readless_dma" "A readless read whose answer would not go to memory.",
    AdminQueue UNKNOWN_ERROR "admin_queue" "An admin doorbell without a queue that could be.",
    AdminQueueDepth UNKNOWN_ERROR "admin_queue_depth" "An admin queue whose depth is not a power of two (strict).",
    AdminDoorbell UNKNOWN_ERROR "admin_doorbell" "An admin doorbell for more commands than the queue holds.",
    AdminPhase UNKNOWN_ERROR "admin_phase" "A command was announced whose phase bit is wrong.",
    AdminDma UNKNOWN_ERROR "admin_dma" "A command that cannot be read.",
    CompletionQueue UNKNOWN_ERROR "completion_queue" "A command without a completion queue that could be.",
    CompletionDma UNKNOWN_ERROR "completion_dma" "A completion that cannot be written.",
    EventQueue UNKNOWN_ERROR "event_queue" "An event doorbell without a queue that could be.",
    EventDoorbell UNKNOWN_ERROR "event_doorbell" "An event doorbell for more entries than the queue holds.",
    EventFull UNKNOWN_ERROR "event_full" "An event for which the driver left no room.",
    EventDma UNKNOWN_ERROR "event_dma" "An event that cannot be written.",

    BadOpcode BAD_OPCODE "bad_opcode" "No such command.",
    ReservedBits MALFORMED_REQUEST "reserved_bits" "Reserved bits of a command are not zero (strict).",
    UnsupportedFeature UNSUPPORTED_OPCODE "unsupported_feature" "A feature that the device does not have.",
    FeatureNotReadable UNSUPPORTED_OPCODE "feature_not_readable" "A feature that can only be set.",
    FeatureNotSettable UNSUPPORTED_OPCODE "feature_not_settable" "A feature that can only be read.",
    HostInfoMissing ILLEGAL_PARAMETER "host_info_missing" "Device attributes were asked before host attributes were set (strict).",
    ControlBufferMissing MALFORMED_REQUEST "control_buffer_missing" "A command that needs a control buffer and has none.",
    ControlBufferShort ILLEGAL_PARAMETER "control_buffer_short" "A control buffer too short for what belongs into it.",
    ControlBufferDma ILLEGAL_PARAMETER "control_buffer_dma" "A control buffer that is not memory.",
    DatapathGone UNKNOWN_ERROR "datapath_gone" "The device's datapath has ended.",

    CqDepth ILLEGAL_PARAMETER "cq_depth" "A completion queue's depth is not a power of two, or too large.",
    CqEntrySize ILLEGAL_PARAMETER "cq_entry_size" "A completion queue's entries have not 8, 16 or 32 bytes.",
    CqAddress ILLEGAL_PARAMETER "cq_address" "A completion queue cannot be at that address.",
    CqVector ILLEGAL_PARAMETER "cq_vector" "A completion queue's vector is not one of the device's.",
    CqManagementVector ILLEGAL_PARAMETER "cq_management_vector" "A completion queue's vector is that of management (strict).",
    CqLimit RESOURCE_ALLOCATION_FAILURE "cq_limit" "More completion queues than the device has.",
    CqUnknown ILLEGAL_PARAMETER "cq_unknown" "No such completion queue.",
    CqInUse ILLEGAL_PARAMETER "cq_in_use" "A completion queue whose submission queue still exists.",
    SqDirection ILLEGAL_PARAMETER "sq_direction" "A submission queue's direction is neither transmit nor receive.",
    SqPlacement ILLEGAL_PARAMETER "sq_placement" "A submission queue's placement is unknown, or a receive queue's is the device.",
    SqCompletionPolicy ILLEGAL_PARAMETER "sq_completion_policy" "A completion policy that the device does not have.",
    SqContiguous ILLEGAL_PARAMETER "sq_contiguous" "A submission queue that is not contiguous in memory.",
    SqDepth ILLEGAL_PARAMETER "sq_depth" "A submission queue's depth is not a power of two, or too large.",
    SqAddress ILLEGAL_PARAMETER "sq_address" "A submission queue cannot be at that address.",
    SqCompletionQueue ILLEGAL_PARAMETER "sq_completion_queue" "A submission queue's completion queue does not exist, is another's, or has entries of a wrong size.",
    SqLimit RESOURCE_ALLOCATION_FAILURE "sq_limit" "More submission queues than the device has.",
    SqUnknown ILLEGAL_PARAMETER "sq_unknown" "No such submission queue.",
    LlqNotSet ILLEGAL_PARAMETER "llq_not_set" "A low-latency queue before its form was set.",
    LlqDepth ILLEGAL_PARAMETER "llq_depth" "A low-latency queue deeper than its memory.",

    LlqHeaderLocation ILLEGAL_PARAMETER "llq_header_location" "A header location that the device does not have.",
    LlqEntrySize ILLEGAL_PARAMETER "llq_entry_size" "A low-latency entry size that the device does not have.",
    LlqDescriptors ILLEGAL_PARAMETER "llq_descriptors" "A number of descriptors before the header that is none, several, or leaves no room for it.",
    LlqStride ILLEGAL_PARAMETER "llq_stride" "A stride that the device does not have.",
    LlqAcceleration ILLEGAL_PARAMETER "llq_acceleration" "An acceleration flag that is not known (strict).",
    LlqInUse ILLEGAL_PARAMETER "llq_in_use" "The form of low-latency queues changes while there are some.",
    HashFunction ILLEGAL_PARAMETER "hash_function" "A hash function that the device does not have.",
    HashKey ILLEGAL_PARAMETER "hash_key" "A hash key that has not 40 bytes.",
    HashFields ILLEGAL_PARAMETER "hash_fields" "Header fields that the device does not hash.",
    TableSize ILLEGAL_PARAMETER "table_size" "An RSS table larger than the device's.",
    TableInline ILLEGAL_PARAMETER "table_inline" "A single entry of the RSS table, which the device does not set.",
    TableQueue ILLEGAL_PARAMETER "table_queue" "An RSS table with a receive queue that cannot be (strict: that is not there).",
    Mtu ILLEGAL_PARAMETER "mtu" "An MTU out of the device's range.",
    EventGroups ILLEGAL_PARAMETER "event_groups" "Event groups that the device does not report.",
    HostInfoAddress ILLEGAL_PARAMETER "host_info_address" "Host attributes whose host info is not in memory.",
    StatisticsType UNSUPPORTED_OPCODE "statistics_type" "Statistics that the device does not have.",
    StatisticsDevice ILLEGAL_PARAMETER "statistics_device" "Statistics of another device.",
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// How often each reason was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalCounts([u64; Refusal::ALL.len()]);

impl RefusalCounts {
    /// None was met.
    pub(super) const fn new() -> Self {
        Self([0; Refusal::ALL.len()])
    }

    pub(super) fn add(&mut self, refusal: Refusal) {
        // The variants are numbered from 0 in the order of `ALL`.
        if let Some(count) = self.0.get_mut(refusal as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// How often a reason was met.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.0.get(refusal as usize).copied().unwrap_or(0)
    }

    /// Those that were met.
    pub fn met(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        let all = Refusal::ALL.iter().copied().zip(self.0.iter().copied());
        all.filter(|(_, count)| *count > 0)
    }
}
