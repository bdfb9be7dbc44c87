//! The traditional card of an interface without ENA: QEMU's virtio card on a tap.
//!
//! QEMU has the tap's queue, and with it the guest's wish for unfinished checksums and super-frames. The card
//! has a packet socket on the tap's interface, which lies in a namespace of the machine's own with nothing else
//! in it. Frames stay whole both ways: the socket carries the same header as the tap.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use anyhow::Context;
use serde_json::{Value, json};
use trinic_host::NetNs;
use trinic_host::packet::PacketPort;
use trinic_host::tap::{self, Tap, TapOptions};
use trinic_switch::tables::Id;

use crate::card::backend::Plug;
use crate::protocol::InterfaceSpec;

use super::qemu;
use super::qmp::Qmp;
use super::slots::Place;

/// The traditional cards of one machine.
#[derive(Debug, Default)]
pub(super) struct Traditional {
    netns: Option<NetNs>,
    next: u32,
    /// Taps that QEMU is still to be given.
    made: BTreeMap<Id, Tap>,
    /// QEMU's names of their backends.
    backends: BTreeMap<Id, String>,
}

impl Traditional {
    /// Whether there can be such cards here.
    ///
    /// # Errors
    ///
    /// When the host allows no taps.
    pub(super) fn check() -> anyhow::Result<()> {
        tap::check_tun_device().map(drop).context(NO_TAPS)
    }

    /// Makes the tap, and the card's end of it.
    ///
    /// # Errors
    ///
    /// When the host allows no taps.
    pub(super) fn make(&mut self, interface: &InterfaceSpec) -> anyhow::Result<Plug> {
        if self.netns.is_none() {
            self.netns = Some(NetNs::create().context(NO_TAPS)?);
        }
        let netns = self.netns.as_ref().context(NO_TAPS)?;
        let options = TapOptions {
            mtu: Some(interface.mtu),
            persist: false,
            ..TapOptions::new(format!("tap{}", self.next))
        };
        self.next = self.next.wrapping_add(1);
        let tap = Tap::open(netns, &options).context(NO_TAPS)?;
        let port = PacketPort::on_interface(netns, &options.name, Some(interface.mtu))?;
        self.made.insert(interface.id.clone(), tap);
        Ok(Plug::Kernel(Box::new(port)))
    }

    /// Gives QEMU the tap; the result is the device to plug in.
    ///
    /// # Errors
    ///
    /// When QEMU refuses it.
    pub(super) fn hand_over(
        &mut self,
        qmp: &mut Qmp,
        interface: &InterfaceSpec,
        place: &Place,
    ) -> anyhow::Result<Value> {
        let tap = self.made.remove(&interface.id);
        let tap = tap.with_context(|| format!("Interface {} has no tap", interface.id))?;
        let queue = tap.queues().first().context("A tap has no queue")?;
        let name = format!("net-{}", place.device);
        qmp.give_descriptor(&name, queue.as_fd())?;
        qmp.execute("netdev_add", &json!({ "type": "tap", "id": name, "fd": name }))?;
        self.backends.insert(interface.id.clone(), name.clone());
        let mac: Vec<String> = interface.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(json!({
            "driver": "virtio-net-pci",
            "id": place.device,
            "bus": qemu::port_name(place.port),
            "netdev": name,
            "mac": mac.join(":"),
            // Nothing boots from the network.
            "romfile": "",
        }))
    }

    /// Takes the backend of a device that is gone from QEMU; with it goes the tap.
    ///
    /// # Errors
    ///
    /// When QEMU refuses.
    pub(super) fn take_back(&mut self, qmp: &mut Qmp, interface: &str) -> anyhow::Result<()> {
        if let Some(name) = self.backends.remove(interface) {
            qmp.execute("netdev_del", &json!({ "id": name }))?;
        }
        Ok(())
    }

    /// Drops a tap that QEMU was not given.
    pub(super) fn forget(&mut self, interface: &str) {
        self.made.remove(interface);
    }
}

const NO_TAPS: &str = "An interface without ENA is a virtio card on a tap, and this host allows no taps (with EnaSupport \
                       there is no need for one)";
