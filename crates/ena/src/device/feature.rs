//! Features: what the device tells of itself and what the driver sets.

use trinic_pci::{Interrupts, Memory};
use zerocopy::byteorder::{U16, U32};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::command::{Answer, DONE, answer, strict};
use super::events::SUPPORTED_GROUPS;
use super::registers::DMA_WIDTH;
use super::rss::{MAX_TABLE_LOG2, RssState, supported_fields};
use super::{Config, Device, Refusal, layout};
use crate::datapath::{Change, Link};
use crate::spec::admin::{ControlBuffer, Direction};
use crate::spec::feature::{
    AccelerationFlags, AenqConfig, Capabilities, DeviceAttributes, FeatureCommand, FeatureId, HashControl,
    HashFunction, HashFunctionId, HashInput, HashKey, HeaderLocation, HostAttributes, IndirectionEntry,
    IndirectionTable, LinkConfig, LinkFlags, LlqEntrySize, LlqFeature, LlqStride, MaxQueuesExt, Moderation,
    Mtu, Offloads, ProtocolFields,
};
use crate::spec::host_info::HostInfo;

/// Nanoseconds in a unit of interrupt delay: the finest that the feature can express.
pub(super) const MODERATION_UNIT_NS: u32 = 1000;

/// What the driver has set; a reset takes it all back.
#[derive(Debug)]
pub(super) struct Features {
    mtu: u32,
    llq: Option<LlqForm>,
    is_meta_caching_disabled: bool,
    rss: RssState,
    host_info: Option<Box<HostInfo>>,
    has_host_attributes: bool,
}

/// The form of low-latency entries that the driver chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LlqForm {
    pub(super) entry_bytes: u16,
    pub(super) descriptors_before_header: u8,
    pub(super) several_per_entry: bool,
    entry_size: u16,
    stride: u16,
}

impl Features {
    /// Until the driver sets an MTU it is the largest: iPXE sets none, posts buffers of that size and tells its
    /// peers so (`ena_get_device_attributes`, `ena.c`). [assumed A-30]
    pub(super) fn new(config: &Config) -> Self {
        Self {
            mtu: config.max_mtu,
            llq: None,
            is_meta_caching_disabled: false,
            rss: RssState::new(),
            host_info: None,
            has_host_attributes: false,
        }
    }

    pub(super) fn mtu(&self) -> u32 {
        self.mtu
    }

    pub(super) fn llq(&self) -> Option<LlqForm> {
        self.llq
    }

    pub(super) fn is_meta_caching_disabled(&self) -> bool {
        self.is_meta_caching_disabled
    }

    pub(super) fn host_info(&self) -> Option<&HostInfo> {
        self.host_info.as_deref()
    }
}

impl<M: Memory, I: Interrupts, L: Link> Device<M, I, L> {
    pub(super) fn get_feature(&mut self, get: &FeatureCommand) -> Answer {
        if self.config.strict {
            strict(get.control_buffer.address.reserved.get() == 0)?;
            strict(get.header.flags & !0b11 == 0 && get.header.reserved == 0)?;
        }
        let buffer = get.control_buffer;
        match FeatureId(get.header.feature_id) {
            FeatureId::DEVICE_ATTRIBUTES => self.get_attributes(),
            FeatureId::LLQ if self.config.llq => answer(&self.get_llq()),
            FeatureId::MAX_QUEUES_EXT => answer(&self.get_max_queues()),
            FeatureId::RSS_HASH_FUNCTION => self.get_hash_function(buffer),
            FeatureId::STATELESS_OFFLOAD => answer(&Offloads {
                tx: U32::new(self.config.tx_offloads.into_bits()),
                rx_supported: U32::new(self.config.rx_offloads.into_bits()),
                rx_enabled: U32::new(self.config.rx_offloads.into_bits()),
            }),
            FeatureId::RSS_INDIRECTION_TABLE => self.get_table(buffer),
            FeatureId::RSS_HASH_INPUT => self.get_hash_input(buffer),
            FeatureId::INTERRUPT_MODERATION => answer(&Moderation {
                resolution_us: U16::new(1),
                reserved: U16::ZERO,
            }),
            FeatureId::AENQ_CONFIG => answer(&AenqConfig {
                supported_groups: U32::new(SUPPORTED_GROUPS),
                enabled_groups: U32::new(self.events.enabled_groups()),
            }),
            FeatureId::LINK_CONFIG => answer(&LinkConfig {
                speed_mbps: U32::new(self.config.link_speed_mbps),
                supported: U32::new(speed_bit(self.config.link_speed_mbps)),
                flags: U32::new(LinkFlags::new().with_full_duplex(true).into_bits()),
            }),
            FeatureId::MTU | FeatureId::HOST_ATTRIBUTES => Err(Refusal::FeatureNotReadable),
            _ => Err(Refusal::UnsupportedFeature),
        }
    }

    pub(super) fn set_feature(&mut self, set: &FeatureCommand) -> Answer {
        if self.config.strict {
            strict(set.control_buffer.address.reserved.get() == 0)?;
            strict(set.header.flags & !0b11 == 0 && set.header.reserved == 0)?;
        }
        let buffer = set.control_buffer;
        match FeatureId(set.header.feature_id) {
            FeatureId::LLQ if self.config.llq => self.set_llq(&payload(set)),
            FeatureId::RSS_HASH_FUNCTION => self.set_hash_function(&payload(set), buffer),
            FeatureId::RSS_INDIRECTION_TABLE => self.set_table(&payload(set), buffer),
            FeatureId::MTU => self.set_mtu(payload::<Mtu>(set).mtu.get()),
            FeatureId::RSS_HASH_INPUT => self.set_hash_input(&payload(set), buffer),
            FeatureId::AENQ_CONFIG => self.set_event_groups(payload::<AenqConfig>(set).enabled_groups.get()),
            FeatureId::HOST_ATTRIBUTES => self.set_host_attributes(&payload(set)),
            FeatureId::DEVICE_ATTRIBUTES
            | FeatureId::MAX_QUEUES_EXT
            | FeatureId::STATELESS_OFFLOAD
            | FeatureId::INTERRUPT_MODERATION
            | FeatureId::LINK_CONFIG => Err(Refusal::FeatureNotSettable),
            _ => Err(Refusal::UnsupportedFeature),
        }
    }

    /// Bit n: feature n can be asked for.
    fn supported_features(&self) -> u32 {
        let always = [
            FeatureId::DEVICE_ATTRIBUTES,
            FeatureId::MAX_QUEUES_EXT,
            FeatureId::RSS_HASH_FUNCTION,
            FeatureId::STATELESS_OFFLOAD,
            FeatureId::RSS_INDIRECTION_TABLE,
            FeatureId::MTU,
            FeatureId::RSS_HASH_INPUT,
            FeatureId::INTERRUPT_MODERATION,
            FeatureId::AENQ_CONFIG,
            FeatureId::LINK_CONFIG,
            FeatureId::HOST_ATTRIBUTES,
        ];
        let llq = if self.config.llq { FeatureId::LLQ.bit() } else { 0 };
        always.iter().fold(llq, |bits, feature| bits | feature.bit())
    }

    fn get_attributes(&self) -> Answer {
        if self.config.strict && !self.features.has_host_attributes {
            return Err(Refusal::HostInfoMissing);
        }
        let capabilities = Capabilities::new()
            .with_eni_stats(true)
            .with_srd_info(true)
            .with_customer_metrics(true)
            .with_extended_reset_reasons(true);
        answer(&DeviceAttributes {
            implementation_id: U32::new(1),
            device_version: U32::new(1),
            supported_features: U32::new(self.supported_features()),
            capabilities: U32::new(capabilities.into_bits()),
            physical_width: U32::new(u32::from(DMA_WIDTH)),
            virtual_width: U32::new(u32::from(DMA_WIDTH)),
            mac: self.config.mac,
            flow_steering_max: U16::ZERO,
            max_mtu: U32::new(self.config.max_mtu),
        })
    }

    fn get_max_queues(&self) -> MaxQueuesExt {
        let pairs = U32::new(u32::from(self.config.queue_pairs));
        let tx_depth = U32::new(u32::from(self.config.tx_depth));
        let rx_depth = U32::new(u32::from(self.config.rx_depth));
        MaxQueuesExt {
            version: MaxQueuesExt::VERSION,
            reserved: [0; 3],
            max_tx_sq: pairs,
            max_tx_cq: pairs,
            max_rx_sq: pairs,
            max_rx_cq: pairs,
            max_tx_sq_depth: tx_depth,
            max_tx_cq_depth: tx_depth,
            max_rx_sq_depth: rx_depth,
            max_rx_cq_depth: rx_depth,
            max_tx_header: U32::new(MAX_TX_HEADER),
            max_tx_descriptors: U16::new(layout::MAX_TX_DESCRIPTORS),
            max_rx_descriptors: U16::new(layout::MAX_RX_DESCRIPTORS),
        }
    }

    fn get_llq(&self) -> LlqFeature {
        let form = self.features.llq;
        let acceleration =
            AccelerationFlags::new().with_disable_meta_caching(self.config.disable_meta_caching);
        let max_wide_depth = layout::MAX_WIDE_LLQ_DEPTH.min(self.config.tx_depth);
        LlqFeature {
            max_queues: U32::new(u32::from(self.config.queue_pairs)),
            max_depth: U32::new(u32::from(self.config.tx_depth)),
            header_location_supported: U16::new(HeaderLocation::INLINE.0),
            header_location_enabled: U16::new(form.map_or(0, |_| HeaderLocation::INLINE.0)),
            entry_size_supported: U16::new(LLQ_ENTRY_SIZES),
            entry_size_enabled: U16::new(form.map_or(0, |form| form.entry_size)),
            descriptors_before_header_supported: U16::new(LLQ_DESCRIPTORS),
            descriptors_before_header_enabled: U16::new(
                form.map_or(0, |form| u16::from(form.descriptors_before_header)),
            ),
            stride_supported: U16::new(LLQ_STRIDES),
            stride_enabled: U16::new(form.map_or(0, |form| form.stride)),
            version: LLQ_VERSION,
            entry_size_recommended: 0,
            max_wide_depth: U16::new(max_wide_depth),
            acceleration_flags: U16::new(acceleration.into_bits()),
            max_burst_bytes: U16::ZERO,
            reserved: U32::ZERO,
        }
    }

    fn set_llq(&mut self, set: &LlqFeature) -> Answer {
        let (size, stride) = (set.entry_size_enabled.get(), set.stride_enabled.get());
        if HeaderLocation(set.header_location_enabled.get()) != HeaderLocation::INLINE {
            return Err(Refusal::LlqHeaderLocation);
        }
        let entry_bytes = LlqEntrySize(size).bytes().ok_or(Refusal::LlqEntrySize)?;
        let before = set.descriptors_before_header_enabled.get();
        let has_header =
            before.is_power_of_two() && before & LLQ_DESCRIPTORS != 0 && before * 16 < entry_bytes;
        let descriptors_before_header = u8::try_from(before).map_err(|_| Refusal::LlqDescriptors)?;
        if !has_header {
            return Err(Refusal::LlqDescriptors);
        }
        let several_per_entry = match LlqStride(stride) {
            LlqStride::SINGLE => false,
            LlqStride::MULTIPLE => true,
            _ => return Err(Refusal::LlqStride),
        };
        let acceleration = AccelerationFlags::from_bits(set.acceleration_flags.get());
        // Known flags that the device did not offer are taken: Linux sets them whatever it was offered.
        if self.config.strict && acceleration.into_bits() & !0b11 != 0 {
            return Err(Refusal::LlqAcceleration);
        }
        if self.queues.has_llq() {
            return Err(Refusal::LlqInUse);
        }
        self.features.is_meta_caching_disabled =
            self.config.disable_meta_caching && acceleration.disable_meta_caching();
        self.features.llq = Some(LlqForm {
            entry_bytes,
            descriptors_before_header,
            several_per_entry,
            entry_size: size,
            stride,
        });
        DONE
    }

    fn get_hash_function(&self, buffer: ControlBuffer) -> Answer {
        if buffer.length.get() != 0 {
            let key = HashKey {
                parts: U32::new(HASH_KEY_PARTS),
                reserved: U32::ZERO,
                key: self.features.rss.key,
            };
            self.write_buffer(buffer, key.as_bytes())?;
        }
        answer(&HashFunction {
            supported: U32::new(TOEPLITZ),
            selected: U32::new(TOEPLITZ),
            initial_value: U32::new(self.features.rss.initial_value),
        })
    }

    fn set_hash_function(&mut self, set: &HashFunction, buffer: ControlBuffer) -> Answer {
        if set.selected.get() != TOEPLITZ {
            return Err(Refusal::HashFunction);
        }
        let mut rss = self.features.rss.clone();
        if buffer.length.get() != 0 {
            let given: HashKey = zerocopy::transmute!(self.read_buffer::<48>(buffer)?);
            if given.parts.get() != HASH_KEY_PARTS {
                return Err(Refusal::HashKey);
            }
            rss.key = given.key;
        }
        rss.initial_value = set.initial_value.get();
        self.set_rss(rss)
    }

    fn get_table(&self, buffer: ControlBuffer) -> Answer {
        let rss = &self.features.rss;
        if buffer.length.get() != 0 {
            let entry = |queue: &u16| IndirectionEntry {
                queue: U16::new(*queue),
                reserved: U16::ZERO,
            };
            let table: Vec<_> = rss.table.iter().map(entry).collect();
            self.write_buffer(buffer, table.as_bytes())?;
        }
        answer(&IndirectionTable {
            min_log2: U16::ZERO,
            max_log2: U16::new(MAX_TABLE_LOG2),
            size_log2: U16::new(rss.table_log2()),
            flags: 0,
            reserved: 0,
            inline_index: U32::new(IndirectionTable::WHOLE),
            inline_entry: IndirectionEntry::new_zeroed(),
        })
    }

    fn set_table(&mut self, set: &IndirectionTable, buffer: ControlBuffer) -> Answer {
        if set.inline_index.get() != IndirectionTable::WHOLE {
            return Err(Refusal::TableInline);
        }
        let size_log2 = set.size_log2.get();
        if size_log2 > MAX_TABLE_LOG2 {
            return Err(Refusal::TableSize);
        }
        let mut entries = [IndirectionEntry::new_zeroed(); 1 << MAX_TABLE_LOG2];
        let entries = entries.get_mut(..1 << size_log2).ok_or(Refusal::TableSize)?;
        self.read_buffer_into(buffer, entries.as_mut_bytes())?;
        let table: Vec<u16> = entries.iter().map(|entry| entry.queue.get()).collect();
        let can_be = |queue: &u16| {
            *queue < self.config.queue_pairs
                && (!self.config.strict || self.queues.has_sq(Direction::RX, *queue))
        };
        if !table.iter().all(can_be) {
            return Err(Refusal::TableQueue);
        }
        let rss = RssState {
            table,
            ..self.features.rss.clone()
        };
        self.set_rss(rss)
    }

    fn get_hash_input(&self, buffer: ControlBuffer) -> Answer {
        let rss = &self.features.rss;
        if buffer.length.get() != 0 {
            let fields = |fields: u16| ProtocolFields {
                fields: U16::new(fields),
                reserved: U16::ZERO,
            };
            let control = HashControl {
                supported: std::array::from_fn(|protocol| fields(supported_fields(protocol))),
                selected: rss.fields.map(fields),
                reserved: [0; 128],
            };
            self.write_buffer(buffer, control.as_bytes())?;
        }
        answer(&HashInput {
            supported_sort: U16::ZERO,
            enabled_sort: U16::new(rss.enabled_sort),
        })
    }

    /// Sorting is not offered, but Linux always asks for it, so it is kept and not done. [assumed A-33]
    fn set_hash_input(&mut self, set: &HashInput, buffer: ControlBuffer) -> Answer {
        let control: HashControl = zerocopy::transmute!(self.read_buffer::<256>(buffer)?);
        let fields = control.selected.map(|selected| selected.fields.get());
        let are_supported = (0..)
            .zip(&fields)
            .all(|(protocol, fields)| fields & !supported_fields(protocol) == 0);
        if !are_supported {
            return Err(Refusal::HashFields);
        }
        let rss = RssState {
            fields,
            enabled_sort: set.enabled_sort.get(),
            ..self.features.rss.clone()
        };
        self.set_rss(rss)
    }

    fn set_rss(&mut self, rss: RssState) -> Answer {
        self.apply(Change::Rss(Box::new(rss.to_datapath())))?;
        self.features.rss = rss;
        DONE
    }

    fn set_mtu(&mut self, mtu: u32) -> Answer {
        if !(layout::MIN_MTU..=self.config.max_mtu).contains(&mtu) {
            return Err(Refusal::Mtu);
        }
        self.apply(Change::Mtu(mtu))?;
        self.features.mtu = mtu;
        DONE
    }

    fn set_event_groups(&mut self, groups: u32) -> Answer {
        if groups & !SUPPORTED_GROUPS != 0 {
            return Err(Refusal::EventGroups);
        }
        self.events.enable(groups);
        self.events_wanted();
        DONE
    }

    /// Linux sets them twice: before it knows anything, and with its debug area when it is ready. The debug
    /// area is the driver's own and never written.
    fn set_host_attributes(&mut self, set: &HostAttributes) -> Answer {
        let address = set.host_info.get();
        if address == 0 {
            return Err(Refusal::HostInfoAddress);
        }
        let mut bytes = [0; size_of::<HostInfo>()];
        let read = self.memory.read(address, &mut bytes);
        read.map_err(|_| Refusal::HostInfoAddress)?;
        let info: HostInfo = zerocopy::transmute!(bytes);
        self.features.host_info = Some(Box::new(info));
        self.features.has_host_attributes = true;
        DONE
    }
}

/// The payload of a set as this feature's.
fn payload<T: FromBytes + FromZeros>(set: &FeatureCommand) -> T {
    T::read_from_prefix(&set.payload).map_or_else(|_| T::new_zeroed(), |(payload, _)| payload)
}

/// The bit of a link speed; 0 for one that has none.
fn speed_bit(mbps: u32) -> u32 {
    let speeds: [u32; 10] = [
        1000, 2500, 5000, 10_000, 25_000, 40_000, 50_000, 100_000, 200_000, 400_000,
    ];
    let bits = (0..).zip(speeds);
    bits.fold(0, |bits, (bit, speed)| bits | u32::from(speed == mbps) << bit)
}

/// Most header bytes of a pushed packet: an entry of 128 bytes less two descriptors.
const MAX_TX_HEADER: u32 = 96;

/// All three sizes of low-latency entries.
const LLQ_ENTRY_SIZES: u16 =
    LlqEntrySize::BYTES_128.0 | LlqEntrySize::BYTES_192.0 | LlqEntrySize::BYTES_256.0;

/// One, two, four or eight descriptors before the header.
const LLQ_DESCRIPTORS: u16 = 0b1111;

/// Both strides.
const LLQ_STRIDES: u16 = LlqStride::SINGLE.0 | LlqStride::MULTIPLE.0;

/// The version with a recommended entry size. Source: `ENA_ADMIN_LLQ_FEATURE_VERSION_1`.
const LLQ_VERSION: u8 = 1;

/// The bit of the one hash function.
const TOEPLITZ: u32 = 1 << HashFunctionId::TOEPLITZ.0;

/// Words of the hash key. Source: `ENA_ADMIN_RSS_KEY_PARTS`.
const HASH_KEY_PARTS: u32 = 10;
