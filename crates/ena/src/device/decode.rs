//! Commands and their answers in words.

use std::fmt;

use crate::spec::admin::{
    Command, Completion, CompletionPolicy, ControlBuffer, CreateCq, CreateCqResponse, CreateSq,
    CreateSqResponse, DestroyCq, DestroySq, Direction, NO_VECTOR, Opcode, PlacementPolicy,
};
use crate::spec::feature::{
    AenqConfig, DeviceAttributes, FeatureCommand, FeatureId, HashFunction, HostAttributes, IndirectionTable,
    LinkConfig, LlqEntrySize, LlqFeature, LlqStride, MaxQueuesExt, Moderation, Mtu, Offloads,
};
use crate::spec::statistics::{GetStatistics, StatisticsType};
use zerocopy::FromBytes;

/// What a command asks.
pub(super) struct Request<'a>(pub(super) &'a Command);

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.0;
        let opcode = command.opcode();
        write!(f, "{opcode}")?;
        match opcode {
            Opcode::CREATE_CQ => create_cq(f, &command.payload()),
            Opcode::CREATE_SQ => create_sq(f, &command.payload()),
            Opcode::DESTROY_SQ => {
                let destroy: DestroySq = command.payload();
                let direction = Direction(destroy.identity.direction());
                write!(f, " {direction} {}", destroy.sq_index)
            }
            Opcode::DESTROY_CQ => write!(f, " {}", command.payload::<DestroyCq>().cq_index),
            Opcode::GET_FEATURE => {
                let get: FeatureCommand = command.payload();
                write!(f, " {}", FeatureId(get.header.feature_id))?;
                buffer(f, get.control_buffer)
            }
            Opcode::SET_FEATURE => {
                let set: FeatureCommand = command.payload();
                let id = FeatureId(set.header.feature_id);
                write!(f, " {id}")?;
                buffer(f, set.control_buffer)?;
                feature(f, id, &set.payload)
            }
            Opcode::GET_STATS => {
                let get: GetStatistics = command.payload();
                write!(f, " {}", StatisticsType(get.statistics_type))?;
                buffer(f, get.control_buffer)
            }
            _ => Ok(()),
        }
    }
}

/// What the device answered a command that it did.
pub(super) struct Answer<'a>(pub(super) &'a Command, pub(super) &'a Completion);

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(command, completion) = *self;
        write!(f, "{}", completion.status())?;
        match command.opcode() {
            Opcode::CREATE_CQ => {
                let made: CreateCqResponse = completion.payload();
                let (index, unmask) = (made.cq_index, made.unmask_offset);
                write!(f, ": CQ {index}, unmask at {unmask:#x}")
            }
            Opcode::CREATE_SQ => {
                let made: CreateSqResponse = completion.payload();
                let (index, doorbell, llq) =
                    (made.sq_index, made.doorbell_offset, made.llq_descriptors_offset);
                write!(f, ": SQ {index}, doorbell at {doorbell:#x}, LLQ at {llq:#x}")
            }
            Opcode::GET_FEATURE => {
                let get: FeatureCommand = command.payload();
                feature(f, FeatureId(get.header.feature_id), &completion.payload)
            }
            _ => Ok(()),
        }
    }
}

fn create_cq(f: &mut fmt::Formatter<'_>, create: &CreateCq) -> fmt::Result {
    let bytes = u16::from(create.entry.words()) * 4;
    let (depth, base) = (create.depth, create.base.get());
    write!(f, ", {depth} entries of {bytes} B at {base:#x}")?;
    match create.vector.get() {
        _ if !create.mode.interrupt() => f.write_str(", polled"),
        NO_VECTOR => f.write_str(", no vector"),
        vector => write!(f, ", vector {vector}"),
    }
}

fn create_sq(f: &mut fmt::Formatter<'_>, create: &CreateSq) -> fmt::Result {
    let direction = Direction(create.identity.direction());
    let placement = PlacementPolicy(create.policies.placement());
    let policy = CompletionPolicy(create.policies.completion());
    let (depth, base, cq) = (create.depth, create.base.get(), create.cq_index);
    write!(
        f,
        " {direction}, {depth} entries at {base:#x} ({placement}), CQ {cq}, completes {policy}"
    )
}

fn buffer(f: &mut fmt::Formatter<'_>, buffer: ControlBuffer) -> fmt::Result {
    let (length, address) = (buffer.length.get(), buffer.address.get());
    if length == 0 {
        return Ok(());
    }
    write!(f, ", buffer of {length} B at {address:#x}")
}

fn feature(f: &mut fmt::Formatter<'_>, id: FeatureId, payload: &[u8]) -> fmt::Result {
    match id {
        FeatureId::DEVICE_ATTRIBUTES => read(payload, |it: DeviceAttributes| {
            let (features, capabilities, mtu) = (it.supported_features, it.capabilities, it.max_mtu);
            write!(
                f,
                ", features {features:#x}, capabilities {capabilities:#x}, max MTU {mtu}"
            )
        }),
        FeatureId::MAX_QUEUES_EXT => read(payload, |it: MaxQueuesExt| {
            let (tx, tx_depth) = (it.max_tx_sq, it.max_tx_sq_depth);
            let (rx, rx_depth) = (it.max_rx_sq, it.max_rx_sq_depth);
            write!(f, ", {tx} TX of {tx_depth}, {rx} RX of {rx_depth}")
        }),
        FeatureId::LLQ => read(payload, |it: LlqFeature| llq(f, &it)),
        FeatureId::RSS_HASH_FUNCTION => read(payload, |it: HashFunction| {
            let (selected, initial) = (it.selected, it.initial_value);
            write!(f, ", selected {selected:#x}, initial value {initial:#x}")
        }),
        FeatureId::STATELESS_OFFLOAD => read(payload, |it: Offloads| {
            write!(f, ", TX {:#x}, RX {:#x}", it.tx, it.rx_supported)
        }),
        FeatureId::RSS_INDIRECTION_TABLE => read(payload, |it: IndirectionTable| {
            write!(f, ", 2^{} entries", it.size_log2)
        }),
        FeatureId::MTU => read(payload, |it: Mtu| write!(f, ", {} B", it.mtu)),
        FeatureId::INTERRUPT_MODERATION => read(payload, |it: Moderation| {
            write!(f, ", unit {} us", it.resolution_us)
        }),
        FeatureId::AENQ_CONFIG => read(payload, |it: AenqConfig| {
            let (supported, enabled) = (it.supported_groups, it.enabled_groups);
            write!(f, ", supported {supported:#x}, enabled {enabled:#x}")
        }),
        FeatureId::LINK_CONFIG => read(payload, |it: LinkConfig| write!(f, ", {} Mbit/s", it.speed_mbps)),
        FeatureId::HOST_ATTRIBUTES => read(payload, |it: HostAttributes| {
            let (info, debug, bytes) = (it.host_info.get(), it.debug_area.get(), it.debug_area_bytes);
            write!(
                f,
                ", host info at {info:#x}, debug area of {bytes} B at {debug:#x}"
            )
        }),
        _ => Ok(()),
    }
}

fn llq(f: &mut fmt::Formatter<'_>, it: &LlqFeature) -> fmt::Result {
    if it.entry_size_enabled.get() == 0 {
        let (queues, depth, sizes) = (it.max_queues, it.max_depth, it.entry_size_supported);
        return write!(f, ", {queues} queues of {depth}, entry sizes {sizes:#x}");
    }
    let size = LlqEntrySize(it.entry_size_enabled.get());
    let stride = LlqStride(it.stride_enabled.get());
    let (before, acceleration) = (it.descriptors_before_header_enabled, it.acceleration_flags);
    write!(
        f,
        ", entries of {size} B, {before} descriptors before the header, {stride}, acceleration {acceleration:#x}"
    )
}

fn read<T: FromBytes>(payload: &[u8], print: impl FnOnce(T) -> fmt::Result) -> fmt::Result {
    T::read_from_prefix(payload).map_or(Ok(()), |(it, _)| print(it))
}
