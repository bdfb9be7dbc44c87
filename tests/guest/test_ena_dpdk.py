"""DPDK's `net_ena`, from Debian's packages: testpmd in a guest answers pings from the card's function.

It binds with vfio-pci under QEMU's emulated IOMMU, for Debian's kernels have no vfio without one.
"""

import re
import time

import pytest

from ena_lab import EnaLab, eventually
from harness import GUESTS, KERNELS, Guest, VfioUser

ADDRESS = "10.80.1.60"
ARCHIVE = GUESTS / "dpdk.cpio"

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="no DPDK: scripts/setup-guests makes it")


class DpdkGuest(Guest):
    """A guest with an IOMMU, huge pages and testpmd."""

    def __init__(self, socket):
        super().__init__(
            KERNELS[0], [VfioUser(socket)], memory="1G", modules=["vfio-pci", "vfio_iommu_type1"], dhcp=(), name="dpdk",
            append="intel_iommu=on iommu=pt hugepages=128",
        )

    def command_line(self, *fds):
        words = super().command_line(*fds)
        at = words.index("-kernel")
        # Before the device that it stands in front of. DPDK's virtual addresses have 48 bits.
        words[at:at] = ["-device", "intel-iommu,caching-mode=on,intremap=off,aw-bits=48"]
        return words

    def initramfs(self):
        return ARCHIVE.read_bytes() + super().initramfs()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = EnaLab(tmp_path_factory.mktemp("ena"))
    yield running
    running.stop()


def test_testpmd_forwards(lab):
    eni = lab.function(ADDRESS)
    with DpdkGuest(lab.functions[eni]["socket"]) as vm:
        vm.check(BIND)
        testpmd = vm.background(TESTPMD)
        # vfio-pci sets nothing up: the first queues are DPDK's.
        eventually(lambda: lab.device(eni)["rx_queues"] and lab.device(eni)["tx_queues"], 60, 0.5, "DPDK's queues")
        device = lab.device(eni)
        assert device["host"]["os"] == "DPDK" and device["driver"] == "running"
        assert device["tx_queues"][0]["is_llq"] and device["tx_queues"][0]["vector"] is None
        for size in (56, 1400):
            # Its loop begins a moment after its queues.
            eventually(lambda size=size: lab.card.ping(lab.peer, ADDRESS, 3, 2, "-s", str(size)), 30, 0.5, "an echo")
        # Its watchdog waits for 3 s: keep-alives come in time.
        time.sleep(5)
        vm.check("kill -INT $(pidof dpdk-testpmd)")
        testpmd.wait()
        said = vm.check("cat /tmp/testpmd")
        received = re.findall(r"RX-packets: (\d+)", said)
        assert received and int(received[-1]) >= 6, said[-3000:]
        eventually(lambda: lab.device(eni)["driver"] == "no-driver", what="DPDK has left")
        lab.assert_healthy(eni)


# Interrupts are not remapped here, which vfio must be told.
BIND = """
echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
echo vfio-pci >/sys/bus/pci/devices/0000:01:00.0/driver_override
echo 0000:01:00.0 >/sys/bus/pci/drivers_probe
mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages
test "$(readlink /sys/bus/pci/devices/0000:01:00.0/driver)" = ../../../../bus/pci/drivers/vfio-pci
"""

# It answers ARP and echo requests itself, and says its statistics until it is interrupted.
TESTPMD = """
exec dpdk-testpmd -l 0,1 -m 200 -d librte_bus_pci.so -d librte_mempool_ring.so -d librte_net_ena.so -a 0000:01:00.0 -- \\
  --forward-mode=icmpecho --auto-start --stats-period 1 --total-num-mbufs=8192 </dev/null >/tmp/testpmd 2>&1
"""
