//! What the device offers, and what is set of it.

use trinic_pci::{Bus, Memory};
use zerocopy::byteorder::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::admin::Admin;
use super::{Config, Driver, DriverError};
use crate::datapath::Llq;
use crate::spec::admin::MemoryAddress;
use crate::spec::aenq::Group;
use crate::spec::feature::{
    AccelerationFlags, AenqConfig, Capabilities, DeviceAttributes, FeatureId, HASH_PROTOCOLS, HashControl,
    HashFunction, HashFunctionId, HashInput, HashKey, HeaderLocation, HostAttributes, IndirectionEntry,
    IndirectionTable, LlqEntrySize, LlqFeature, LlqStride, MaxQueuesExt, Mtu, Offloads, ProtocolFields,
    RxOffloads, TxOffloads,
};
use crate::spec::host_info::{Bdf, DriverFeatures, DriverVersion, HOST_INFO_PAGE_BYTES, HostInfo, OsType};

/// Newest versions of the features that the driver knows. Source: `ENA_FEATURE_MAX_QUEUE_EXT_VER`,
/// `ENA_FEATURE_LLQ_VERSION_1`.
const MAX_QUEUES_VERSION: u8 = 1;
const LLQ_VERSION: u8 = 1;

/// Most entries of the RSS table that the driver asks for, as a power of two's exponent. Source:
/// `ENA_RX_RSS_TABLE_LOG_SIZE`.
const TABLE_LOG2: u16 = 7;

/// Fields that are hashed, by kind of packet: addresses and ports of TCP and UDP, addresses of other IP packets.
/// Source: `ena_com_set_default_hash_ctrl`.
const HASH_FIELDS: [u16; 8] = [0x3c, 0x3c, 0x3c, 0x3c, 0x0c, 0x0c, 0x0c, 0x03];

/// What the device offers and what was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// MAC address.
    pub mac: [u8; 6],
    /// Largest MTU, bytes without the Ethernet header.
    pub max_mtu: u32,
    /// Bit n: feature n can be asked for.
    pub features: u32,
    /// What it can besides.
    pub capabilities: Capabilities,
    /// What it does for frames sent.
    pub tx_offloads: TxOffloads,
    /// What it says of frames received.
    pub rx_offloads: RxOffloads,
    /// Queue pairs at most.
    pub max_queue_pairs: u16,
    /// Buffers of a frame that is sent, at most.
    pub max_tx_buffers: u16,
    /// Whether the transmit queues are low-latency queues.
    pub llq: bool,
    /// Groups of events that are enabled.
    pub event_groups: u32,
}

/// What the driver keeps of it.
#[derive(Debug)]
pub(super) struct Features {
    pub(super) offer: Offer,
    /// Form of the low-latency queues, without their places.
    pub(super) llq: Option<Llq>,
    pub(super) meta_caching: bool,
    pub(super) max_header: u16,
    pub(super) max_tx_depth: u16,
    pub(super) max_rx_depth: u16,
}

impl Features {
    fn has(&self, id: FeatureId) -> bool {
        self.offer.features & id.bit() != 0
    }

    /// Asks the device what it has, and agrees on events and on the placement of transmit queues.
    pub(super) fn negotiate<B: Bus>(
        bus: &B,
        admin: &mut Admin,
        config: &Config,
        host_info: u64,
    ) -> Result<Self, DriverError> {
        introduce(bus, admin, config, host_info)?;
        let attributes: DeviceAttributes = admin.get(bus, FeatureId::DEVICE_ATTRIBUTES, 0, 0)?;
        let queues: MaxQueuesExt = admin.get(bus, FeatureId::MAX_QUEUES_EXT, MAX_QUEUES_VERSION, 0)?;
        if queues.version != MaxQueuesExt::VERSION {
            return Err(offer("version of max queues ext", u64::from(queues.version)));
        }
        let pairs = [
            queues.max_tx_sq,
            queues.max_tx_cq,
            queues.max_rx_sq,
            queues.max_rx_cq,
        ]
        .into_iter()
        .map(U32::get)
        .min()
        .unwrap_or_default();
        let mut features = Self {
            offer: Offer {
                mac: attributes.mac,
                max_mtu: attributes.max_mtu.get(),
                features: attributes.supported_features.get(),
                capabilities: Capabilities::from_bits(attributes.capabilities.get()),
                tx_offloads: TxOffloads::new(),
                rx_offloads: RxOffloads::new(),
                max_queue_pairs: u16::try_from(pairs).unwrap_or(u16::MAX),
                max_tx_buffers: queues.max_tx_descriptors.get().saturating_sub(1),
                llq: false,
                event_groups: 0,
            },
            llq: None,
            meta_caching: true,
            max_header: u16::try_from(queues.max_tx_header.get()).unwrap_or(u16::MAX),
            max_tx_depth: depth(queues.max_tx_sq_depth.get().min(queues.max_tx_cq_depth.get())),
            max_rx_depth: depth(queues.max_rx_sq_depth.get().min(queues.max_rx_cq_depth.get())),
        };
        if features.offer.max_queue_pairs == 0 {
            return Err(offer("number of queues", 0));
        }
        if features.offer.max_tx_buffers == 0 {
            return Err(offer("number of transmit descriptors", 0));
        }
        if features.offer.mac[0] & 1 == 1 || features.offer.mac == [0; 6] {
            return Err(offer("MAC address", u64::from(features.offer.mac[0])));
        }
        features.agree_on_events(bus, admin)?;
        if features.has(FeatureId::STATELESS_OFFLOAD) {
            let offloads: Offloads = admin.get(bus, FeatureId::STATELESS_OFFLOAD, 0, 0)?;
            features.offer.tx_offloads = TxOffloads::from_bits(offloads.tx.get());
            features.offer.rx_offloads = RxOffloads::from_bits(offloads.rx_supported.get());
        }
        if config.llq && features.has(FeatureId::LLQ) {
            features.agree_on_llq(bus, admin)?;
        }
        Ok(features)
    }

    fn agree_on_events<B: Bus>(&mut self, bus: &B, admin: &mut Admin) -> Result<(), DriverError> {
        let config: AenqConfig = admin.get(bus, FeatureId::AENQ_CONFIG, 0, 0)?;
        let wanted = [
            Group::LINK_CHANGE,
            Group::FATAL_ERROR,
            Group::WARNING,
            Group::NOTIFICATION,
            Group::KEEP_ALIVE,
            Group::DEVICE_REQUEST_RESET,
        ]
        .into_iter()
        .fold(0, |groups, group| groups | group.bit());
        let groups = wanted & config.supported_groups.get();
        let config = AenqConfig {
            supported_groups: 0.into(),
            enabled_groups: groups.into(),
        };
        admin.set(bus, FeatureId::AENQ_CONFIG, &config, 0)?;
        self.offer.event_groups = groups;
        Ok(())
    }

    /// The narrowest entries and two descriptors before the header if there is a choice, as Linux.
    fn agree_on_llq<B: Bus>(&mut self, bus: &B, admin: &mut Admin) -> Result<(), DriverError> {
        let offered: LlqFeature = admin.get(bus, FeatureId::LLQ, LLQ_VERSION, 0)?;
        if offered.header_location_supported.get() & HeaderLocation::INLINE.0 == 0
            || offered.max_queues.get() < u32::from(self.offer.max_queue_pairs)
        {
            return Ok(());
        }
        let recommended = LlqEntrySize(u16::from(offered.entry_size_recommended));
        let size = [
            recommended,
            LlqEntrySize::BYTES_128,
            LlqEntrySize::BYTES_192,
            LlqEntrySize::BYTES_256,
        ]
        .into_iter()
        .find(|size| size.bytes().is_some() && offered.entry_size_supported.get() & size.0 != 0);
        let before = [2, 1, 4, 8]
            .into_iter()
            .find(|count| offered.descriptors_before_header_supported.get() & count != 0);
        let stride = [LlqStride::MULTIPLE, LlqStride::SINGLE]
            .into_iter()
            .find(|stride| offered.stride_supported.get() & stride.0 != 0);
        let (Some(size), Some(before), Some(stride)) = (size, before, stride) else {
            return Ok(());
        };
        let accelerated = AccelerationFlags::from_bits(offered.acceleration_flags.get());
        if accelerated.limit_tx_burst() {
            // Host placement is the better answer than to count bytes between doorbells.
            return Ok(());
        }
        let mut chosen = offered;
        chosen.header_location_enabled = HeaderLocation::INLINE.0.into();
        chosen.entry_size_enabled = size.0.into();
        chosen.descriptors_before_header_enabled = before.into();
        chosen.stride_enabled = stride.0.into();
        chosen.acceleration_flags = AccelerationFlags::new()
            .with_disable_meta_caching(accelerated.disable_meta_caching())
            .into_bits()
            .into();
        admin.set(bus, FeatureId::LLQ, &chosen, 0)?;
        self.meta_caching = !accelerated.disable_meta_caching();
        let mut most = depth(offered.max_depth.get());
        let wide = offered.max_wide_depth.get();
        if size != LlqEntrySize::BYTES_128 && wide != 0 {
            most = most.min(depth(u32::from(wide)));
        }
        self.max_tx_depth = self.max_tx_depth.min(most);
        self.offer.llq = true;
        self.llq = Some(Llq {
            offset: 0,
            entry_bytes: size.bytes().unwrap_or(128),
            descriptors_before_header: u8::try_from(before).unwrap_or(2),
            several_per_entry: stride == LlqStride::MULTIPLE,
        });
        Ok(())
    }
}

impl<B: Bus> Driver<B> {
    /// Sets the largest packet that is received, bytes without the Ethernet header.
    ///
    /// # Errors
    ///
    /// When the device does not take it.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<(), DriverError> {
        if mtu > self.features.offer.max_mtu {
            return Err(DriverError::Config {
                what: "MTU",
                value: u64::from(mtu),
            });
        }
        let bus = &*self.bus;
        self.admin.set(bus, FeatureId::MTU, &Mtu { mtu: mtu.into() }, 0)?;
        self.config.mtu = mtu;
        Ok(())
    }

    /// Chooses receive queues by Toeplitz's hash with this key (first byte first), through a table that names
    /// the queues in turn.
    ///
    /// # Errors
    ///
    /// When the device does not take it.
    pub fn set_rss(&mut self, key: [u8; 40]) -> Result<(), DriverError> {
        self.config.hash_key = key;
        let bus = &*self.bus;
        let admin = &mut self.admin;
        let limits: IndirectionTable = admin.get(bus, FeatureId::RSS_INDIRECTION_TABLE, 0, 0)?;
        let log2 = TABLE_LOG2.clamp(
            limits.min_log2.get().min(TABLE_LOG2),
            limits.max_log2.get().min(TABLE_LOG2),
        );
        let entries: Vec<IndirectionEntry> = (0..1_u16 << log2)
            .map(|index| IndirectionEntry {
                queue: U16::new(index % self.config.queue_pairs),
                reserved: U16::ZERO,
            })
            .collect();
        let bytes = entries.as_bytes();
        bus.memory().write(admin.control, bytes)?;
        let mut table = IndirectionTable::new_zeroed();
        table.size_log2 = log2.into();
        table.inline_index = IndirectionTable::WHOLE.into();
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        admin.set(bus, FeatureId::RSS_INDIRECTION_TABLE, &table, length)?;

        let mut buffer = HashKey {
            parts: 10.into(),
            reserved: 0.into(),
            key,
        };
        buffer.key.reverse();
        bus.memory().write(admin.control, buffer.as_bytes())?;
        let mut function = HashFunction::new_zeroed();
        function.selected = (1_u32 << HashFunctionId::TOEPLITZ.0).into();
        let length = u32::try_from(size_of::<HashKey>()).unwrap_or_default();
        admin.set(bus, FeatureId::RSS_HASH_FUNCTION, &function, length)?;

        let mut control = HashControl::new_zeroed();
        let mut fields = [ProtocolFields::new_zeroed(); HASH_PROTOCOLS];
        for (to, from) in fields.iter_mut().zip(HASH_FIELDS) {
            to.fields = from.into();
        }
        control.selected = fields;
        bus.memory().write(admin.control, control.as_bytes())?;
        let mut input = HashInput::new_zeroed();
        // Both kinds of sorting are announced as done, as Linux always does.
        input.enabled_sort = 6.into();
        let length = u32::try_from(size_of::<HashControl>()).unwrap_or_default();
        admin.set(bus, FeatureId::RSS_HASH_INPUT, &input, length)
    }

    /// What depends on the queues: MTU, and RSS where the device has it.
    pub(super) fn set_features(&mut self) -> Result<(), DriverError> {
        self.set_mtu(self.config.mtu)?;
        if self.features.has(FeatureId::RSS_INDIRECTION_TABLE) {
            self.set_rss(self.config.hash_key)?;
        }
        Ok(())
    }
}

/// Says who the driver is.
fn introduce<B: Bus>(bus: &B, admin: &mut Admin, config: &Config, page: u64) -> Result<(), DriverError> {
    let mut info = HostInfo::new_zeroed();
    info.os_type = OsType::LINUX.0.into();
    for (to, from) in info.kernel.iter_mut().zip(b"trinic user-mode driver") {
        *to = *from;
    }
    info.driver_version = DriverVersion::new().with_minor(1).into_bits().into();
    info.spec_version = 0x0200.into();
    info.bdf = Bdf::from_bits(config.bdf).into_bits().into();
    info.cpu_count = config.queue_pairs.into();
    info.driver_features = DriverFeatures::new()
        .with_rx_offset(true)
        .with_interrupt_moderation(true)
        .with_rss_configurable(true)
        .with_tx_ipv6_checksum(true)
        .into_bits()
        .into();
    bus.memory().write(page, info.as_bytes())?;
    let attributes = HostAttributes {
        host_info: MemoryAddress::new(page),
        debug_area: MemoryAddress::new(0),
        debug_area_bytes: 0.into(),
    };
    debug_assert!(info.as_bytes().len() as u64 <= HOST_INFO_PAGE_BYTES);
    admin.set(bus, FeatureId::HOST_ATTRIBUTES, &attributes, 0)
}

/// The largest power of two that is not above, and fits a queue's 16-bit counts.
fn depth(most: u32) -> u16 {
    u16::try_from(1_u32 << most.clamp(1, 0x8000).ilog2()).unwrap_or(1)
}

fn offer(what: &'static str, value: u64) -> DriverError {
    DriverError::Offer { what, value }
}
