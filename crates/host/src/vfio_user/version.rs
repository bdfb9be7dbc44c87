//! The handshake: a version and what each side can do, as JSON.
//! Source: [QEMU docs/interop/vfio-user.rst, VFIO_USER_VERSION].

use serde::{Deserialize, Serialize};

use super::protocol::{DATA_BYTES_MOST, DESCRIPTORS_MOST};
use super::refusal::Refusal;

/// The version spoken here, 0.0.
pub(super) const MAJOR: u16 = 0;
/// As [`MAJOR`].
pub(super) const MINOR: u16 = 0;

/// The JSON of a version message. Unknown names are ignored: a later version may add some.
#[derive(Debug, Default, Serialize, Deserialize)]
struct VersionData {
    #[serde(default)]
    capabilities: Capabilities,
}

/// What a side can do; what it does not say has the default of the specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Capabilities {
    /// Most descriptors that it receives in a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_msg_fds: Option<u64>,
    /// Most bytes of data that it receives in a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_data_xfer_size: Option<u64>,
    /// Most maps at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_dma_maps: Option<u64>,
    /// Page sizes of maps, one bit each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pgsizes: Option<u64>,
    /// Several writes in one message are understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) write_multiple: Option<bool>,
}

impl Capabilities {
    /// What we have, for up to `maps` maps.
    pub(super) fn ours(maps: usize) -> Self {
        Self {
            max_msg_fds: u64::try_from(DESCRIPTORS_MOST).ok(),
            max_data_xfer_size: u64::try_from(DATA_BYTES_MOST).ok(),
            max_dma_maps: u64::try_from(maps).ok(),
            pgsizes: Some(4096),
            write_multiple: Some(true),
        }
    }

    /// What to answer a client: a subset of what it has proposed, but for the limits that have a default.
    pub(super) fn answer(&self, maps: usize) -> Self {
        let mut ours = Self::ours(maps);
        ours.write_multiple = ours.write_multiple.filter(|_| self.write_multiple == Some(true));
        ours.max_dma_maps = ours.max_dma_maps.filter(|_| self.max_dma_maps.is_some());
        ours.pgsizes = ours.pgsizes.filter(|_| self.pgsizes.is_some());
        ours
    }

    /// Reads the data of a version message: nothing, or JSON with a terminating zero.
    pub(super) fn decode(data: &[u8]) -> Result<Self, Refusal> {
        let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
        if text.is_empty() {
            return Ok(Self::default());
        }
        // The decoder would take an array for an object's fields in order.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::Version);
        }
        let data: VersionData = serde_json::from_slice(text).map_err(|_| Refusal::Version)?;
        // A client that receives no descriptor cannot map a BAR, and needs not to.
        let is_usable = data.capabilities.pgsizes.is_none_or(|sizes| sizes & 4096 != 0)
            && data.capabilities.max_data_xfer_size.is_none_or(|most| most >= 8);
        is_usable.then_some(data.capabilities).ok_or(Refusal::Version)
    }

    /// The data of a version message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let data = VersionData {
            capabilities: self.clone(),
        };
        let mut text = serde_json::to_vec(&data).unwrap_or_default();
        text.push(0);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_understood_and_answered() {
        let asked = br#"{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576,"pgsizes":4096,
            "max_dma_maps":65535,"migration":{"pgsize":4096,"max_bitmap_size":268435456},"write_multiple":true}}"#;
        let asked = Capabilities::decode(&[asked, &b"\0"[..]].concat()).unwrap();
        assert_eq!(asked.max_msg_fds, Some(16));
        let answer = String::from_utf8(asked.answer(512).encode()).unwrap();
        let expected = "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":65536,\"max_dma_maps\":512,\
                        \"pgsizes\":4096,\"write_multiple\":true}}\0";
        assert_eq!(answer, expected);
    }

    #[test]
    fn defaults_and_nonsense() {
        assert_eq!(Capabilities::decode(b""), Ok(Capabilities::default()));
        assert_eq!(Capabilities::decode(b"\0"), Ok(Capabilities::default()));
        assert_eq!(Capabilities::decode(b"{}\0"), Ok(Capabilities::default()));
        for bad in [
            &b"{"[..],
            b"[]",
            b"nothing\0",
            b"\xff\xfe",
            br#"{"capabilities":{"max_msg_fds":-1}}"#,
            br#"{"capabilities":{"max_msg_fds":"16"}}"#,
            br#"{"capabilities":{"pgsizes":65536}}"#,
            br#"{"capabilities":{"max_data_xfer_size":4}}"#,
            br#"{"capabilities":7}"#,
        ] {
            assert_eq!(Capabilities::decode(bad), Err(Refusal::Version));
        }
        let answer = Capabilities::default().answer(512);
        assert_eq!((answer.write_multiple, answer.pgsizes), (None, None));
    }
}
