//! Root ports of a machine, what is plugged into them, and how it is unplugged.
//!
//! QEMU (seen with 11.1.3) ends with a failed assertion when a vfio-user device with MSI-X is destroyed: its
//! `instance_finalize` takes the pending-bit region out of the BAR that holds it, but an object's children, the
//! BAR among them, are gone before its `instance_finalize` runs (hw/vfio-user/pci.c, `vfio_user_msix_teardown`;
//! system/memory.c; qom/object.c). Unplugging alone does no harm: the guest is asked, lets the device go, its
//! slot is free. So the object is kept from being destroyed by one more reference to it, which any graphic
//! console's `device` property takes. The consoles are those of display devices that no guest sees: they are
//! functions 1 to 7 of slots without function 0, which firmware and kernels do not look at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use trinic_switch::tables::Id;

use crate::protocol::InterfaceSpec;

use super::qmp::Qmp;

/// Where an interface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The root port.
    pub(super) port: u32,
    /// QEMU's name of the device: an interface that comes back is another device.
    pub(super) device: String,
    is_plugged: bool,
}

/// What is unplugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// A vfio-user function.
    Function,
    /// A device of QEMU's own.
    Virtio,
}

/// The root ports of one machine.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: BTreeMap<Id, Place>,
    /// Ports whose device the guest did not let go.
    stuck: Vec<u32>,
    holders_used: u32,
    plugged_so_far: u32,
}

impl Slots {
    /// Takes a port for an interface: that of its device index, or a free one where something else is there.
    ///
    /// # Errors
    ///
    /// When every port is taken.
    pub(super) fn reserve(&mut self, interface: &InterfaceSpec) -> anyhow::Result<()> {
        let is_free =
            |port: &u32| !self.stuck.contains(port) && self.places.values().all(|place| place.port != *port);
        let mut ports = std::iter::once(interface.device_index)
            .filter(|port| *port < PORTS)
            .chain((0..PORTS).rev());
        let port = ports.find(is_free).with_context(|| {
            format!(
                "All {PORTS} ports of the machine are taken; stop and start the instance to have them free"
            )
        })?;
        let place = Place {
            port,
            device: format!("{}.{}", interface.id, self.plugged_so_far),
            is_plugged: false,
        };
        self.plugged_so_far = self.plugged_so_far.wrapping_add(1);
        self.places.insert(interface.id.clone(), place);
        Ok(())
    }

    /// The port is free again; nothing was plugged in.
    pub(super) fn release(&mut self, interface: &str) {
        self.places.remove(interface);
    }

    /// Where an interface is, or will be.
    ///
    /// # Errors
    ///
    /// When it has no port.
    pub(super) fn place(&self, interface: &str) -> anyhow::Result<Place> {
        let place = self.places.get(interface).cloned();
        place.with_context(|| format!("Interface {interface} has no port"))
    }

    /// Whether QEMU has a device for it.
    pub(super) fn is_plugged(&self, interface: &str) -> bool {
        self.places.get(interface).is_some_and(|place| place.is_plugged)
    }

    /// Plugs a device into the port of an interface.
    ///
    /// # Errors
    ///
    /// When QEMU refuses.
    pub(super) fn plug(&mut self, qmp: &mut Qmp, interface: &str, device: &Value) -> anyhow::Result<()> {
        qmp.execute("device_add", device)?;
        if let Some(place) = self.places.get_mut(interface) {
            place.is_plugged = true;
        }
        Ok(())
    }

    /// Asks the guest to let a device go, and waits for that.
    ///
    /// # Errors
    ///
    /// When the guest does not. Its port is lost then: it holds a device that is connected to nothing.
    pub(super) fn unplug(&mut self, qmp: &mut Qmp, interface: &str, kind: Device) -> anyhow::Result<()> {
        let Some(place) = self.places.remove(interface) else {
            return Ok(());
        };
        let gone = self.ask(qmp, &place.device, kind);
        if gone.is_err() {
            self.stuck.push(place.port);
        }
        gone
    }

    fn ask(&mut self, qmp: &mut Qmp, device: &str, kind: Device) -> anyhow::Result<()> {
        if kind == Device::Function {
            anyhow::ensure!(
                self.holders_used < HOLDERS,
                "{HOLDERS} functions were unplugged from this machine, which is the most; it stays in, connected to nothing"
            );
            let hold = json!({
                "path": format!("/backend/console[{}]", self.holders_used),
                "property": "device",
                "value": format!("/machine/peripheral/{device}"),
            });
            qmp.execute("qom-set", &hold)?;
            self.holders_used += 1;
        }
        qmp.execute("device_del", &json!({ "id": device }))?;
        let since = Instant::now();
        while is_there(qmp, device)? {
            anyhow::ensure!(
                since.elapsed() < UNPLUG_LIMIT,
                "The guest did not let it go within {} s",
                UNPLUG_LIMIT.as_secs()
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// QEMU's arguments for the ports and for the displays that nobody sees.
pub(super) fn arguments() -> Vec<String> {
    let mut arguments = Vec::new();
    for port in 0..PORTS {
        let (slot, function) = (PORTS_SLOT + port / FUNCTIONS, port % FUNCTIONS);
        let number = port + 1;
        // Firmware leaves room for the memory BAR of what is plugged in later; without it a driver has no
        // low-latency queues.
        arguments.push(format!(
            "pcie-root-port,id={},chassis={number},slot={number},addr={slot:x}.{function},multifunction=on,\
             io-reserve=0,mem-reserve=2M,pref64-reserve=16M",
            super::qemu::port_name(port)
        ));
    }
    for holder in 0..HOLDERS {
        let (slot, function) = (
            HOLDERS_SLOT + holder / (FUNCTIONS - 1),
            1 + holder % (FUNCTIONS - 1),
        );
        arguments.push(format!("bochs-display,addr={slot:x}.{function},vgamem=4M"));
    }
    arguments
}

/// Whether the machine has a device of that name. The event of its end comes when it is destroyed, which a held
/// one never is.
fn is_there(qmp: &mut Qmp, device: &str) -> anyhow::Result<bool> {
    let list = qmp.execute("qom-list", &json!({ "path": "/machine/peripheral" }))?;
    let mut names = list.as_array().into_iter().flatten();
    Ok(names.any(|entry| entry.get("name").and_then(Value::as_str) == Some(device)))
}

/// Root ports of a machine: the most interfaces that an instance type has on one card, and one for an
/// interface that comes while another goes. Source: AWS, "Maximum IP addresses per network interface" (15,
/// c5.18xlarge and others).
const PORTS: u32 = 16;
/// Functions that can be unplugged from a machine in one life.
const HOLDERS: u32 = 28;
/// Functions of a PCI slot.
const FUNCTIONS: u32 = 8;
/// Slots of q35's root bus: 0 and 0x1f are the chipset's; the lowest free ones are for devices without an address.
const PORTS_SLOT: u32 = 0x10;
const HOLDERS_SLOT: u32 = 0x18;
/// How long a guest may take to let a device go. Its driver waits for commands of its own.
const UNPLUG_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(id: &str, device_index: u32) -> InterfaceSpec {
        let json = json!({
            "id": id, "device_index": device_index, "mac": [2, 0, 0, 0, 0, 1], "mtu": 9001, "ipv4": [],
            "ipv4_prefix_len": 24, "ipv4_router": null, "ipv6": [], "dns": [], "domain": "",
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_port_is_that_of_the_device_index_while_it_is_free() {
        let mut slots = Slots::default();
        for index in [0, 3] {
            slots.reserve(&interface(&format!("eni-{index}"), index)).unwrap();
        }
        assert_eq!(slots.place("eni-3").unwrap().port, 3);
        slots.stuck.push(5);
        slots.reserve(&interface("eni-5", 5)).unwrap();
        assert_eq!(slots.place("eni-5").unwrap().port, PORTS - 1);
        slots.release("eni-3");
        slots.reserve(&interface("eni-x", 3)).unwrap();
        assert_eq!(slots.place("eni-x").unwrap().port, 3);
        assert_eq!(slots.place("eni-x").unwrap().device, "eni-x.3");
    }

    #[test]
    fn a_machine_without_a_free_port_says_so() {
        let mut slots = Slots::default();
        for index in 0..PORTS {
            slots.reserve(&interface(&format!("eni-{index}"), index)).unwrap();
        }
        let error = slots.reserve(&interface("eni-more", 99)).unwrap_err();
        assert!(error.to_string().contains("stop and start"), "{error}");
    }

    #[test]
    fn no_display_is_function_0_and_no_address_is_taken_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for words in arguments() {
            let address = words.split("addr=").nth(1).unwrap().split(',').next().unwrap();
            assert!(seen.insert(address.to_owned()), "{address}");
            assert!(!words.starts_with("bochs") || !address.ends_with(".0"), "{words}");
        }
    }
}
