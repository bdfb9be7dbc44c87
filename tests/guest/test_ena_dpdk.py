"""DPDK's `net_ena`, from Debian's packages: testpmd in a guest answers pings, and forwards between two functions.

It binds with vfio-pci under QEMU's emulated IOMMU, for Debian's kernels have no vfio without one.
"""

import re
import time

import pytest

from ena_lab import EnaLab, eventually, system_lab
from harness import GUESTS, KERNELS, Guest, VfioUser

ADDRESS, SERVER = "10.80.1.60", "10.80.2.10"
FIRST, SECOND = "0000:01:00.0", "0000:02:00.0"
QUESTIONS = 300
ARCHIVE = GUESTS / "dpdk.cpio"

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="no DPDK: scripts/setup-guests makes it")


class DpdkGuest(Guest):
    """A guest with an IOMMU, huge pages and testpmd."""

    def __init__(self, *sockets):
        super().__init__(
            KERNELS[0], [VfioUser(socket) for socket in sockets], memory="1G", modules=["vfio-pci", "vfio_iommu_type1"], dhcp=(), name="dpdk",
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


def bind(vm, *places):
    """Gives functions to vfio-pci, and makes huge pages."""
    vm.check("mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages")
    for place in places:
        vm.check(BIND.replace("PLACE", place))


def run_testpmd(vm, places, *options):
    """Starts it on functions; it says its statistics when it is interrupted."""
    words = [*(f"-a {place}" for place in places), "--", *options]
    return vm.background(f"{TESTPMD.replace('OPTIONS', ' '.join(words))} </dev/null >/tmp/testpmd 2>&1")


def end_testpmd(vm, running) -> str:
    """What it said."""
    vm.check("kill -INT $(pidof dpdk-testpmd)")
    running.wait()
    return vm.check("cat /tmp/testpmd")


def has_queues(lab, eni):
    return lab.device(eni)["rx_queues"] and lab.device(eni)["tx_queues"]


def test_testpmd_answers(lab):
    eni = lab.function(ADDRESS)
    with DpdkGuest(lab.functions[eni]["socket"]) as vm:
        bind(vm, FIRST)
        # It answers ARP and echo requests itself.
        testpmd = run_testpmd(vm, [FIRST], "--forward-mode=icmpecho")
        # vfio-pci sets nothing up: the first queues are DPDK's.
        eventually(lambda: has_queues(lab, eni), 60, 0.5, "DPDK's queues")
        device = lab.device(eni)
        assert device["host"]["os"] == "DPDK" and device["driver"] == "running"
        assert device["tx_queues"][0]["is_llq"] and device["tx_queues"][0]["vector"] is None
        for size in (56, 1400):
            # Its loop begins a moment after its queues.
            eventually(lambda size=size: lab.card.ping(lab.peer, ADDRESS, 3, 2, "-s", str(size)), 30, 0.5, "an echo")
        # Its watchdog waits for 3 s: keep-alives come in time.
        time.sleep(5)
        said = end_testpmd(vm, testpmd)
        received = re.findall(r"RX-packets: (\d+)", said)
        assert received and int(received[-1]) >= 6, said[-3000:]
        eventually(lambda: lab.device(eni)["driver"] == "no-driver", what="DPDK has left")
        lab.assert_healthy(eni)


@pytest.fixture
def between(lab):
    """An appliance between two subnets: the interfaces of one guest, to which the subnets' routes to each other lead."""
    near, far = lab.net, lab.ec2.create_subnet(
        VpcId=lab.vpc, CidrBlock="10.80.2.0/24", Ipv6CidrBlock=lab.ipv6_blocks[2]
    )["Subnet"]["SubnetId"]
    server = lab.instance(far, [lab.open], SERVER)
    functions = [lab.function("10.80.1.61", subnet=near), lab.function("10.80.2.61", subnet=far)]
    for eni, subnet, beyond in zip(functions, (near, far), ("10.80.2.0/24", "10.80.1.0/24")):
        # What it forwards is neither from nor for itself.
        lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
        table = lab.ec2.create_route_table(VpcId=lab.vpc)["RouteTable"]["RouteTableId"]
        lab.ec2.create_route(RouteTableId=table, DestinationCidrBlock=beyond, NetworkInterfaceId=eni)
        lab.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    macs = [
        lab.describe(instance)["NetworkInterfaces"][0]["MacAddress"] for instance in (lab.peer, server["InstanceId"])
    ]
    return server["InstanceId"], functions, macs


def test_testpmd_forwards_from_port_to_port(lab, between):
    server, functions, macs = between
    with DpdkGuest(*(lab.functions[eni]["socket"] for eni in functions)) as vm:
        bind(vm, FIRST, SECOND)
        assert not lab.card.ping(lab.peer, SERVER, 2, 1), "there is another way than through the guest"
        peers = [f"--eth-peer={port},{mac}" for port, mac in enumerate(macs)]
        testpmd = run_testpmd(vm, [FIRST, SECOND], "--forward-mode=mac", *peers)
        eventually(lambda: all(has_queues(lab, eni) for eni in functions), 60, 0.5, "DPDK's queues")
        for size in (56, 1400):
            eventually(lambda size=size: lab.card.ping(lab.peer, SERVER, 3, 2, "-s", str(size)), 30, 0.5, "an echo")
        before = [lab.card.stats(eni) for eni in functions]
        with system_lab.background(lab.card, server, "python3", "-c", ECHO) as echo:
            assert echo.stdout.readline().strip() == "up"
            asked = lab.card.exec(lab.peer, "python3", "-c", ASK, SERVER, str(QUESTIONS), check=True, timeout=120)
            echo.stdin.close()
            arrived = int(echo.stdout.readline())
        sent, answered = map(int, asked.stdout.split())
        after = [lab.card.stats(eni) for eni in functions]
        said = end_testpmd(vm, testpmd)
        # Both ends: each question was answered, by the server, through the guest.
        assert answered == QUESTIONS <= arrived <= sent
        # The card: in at one interface, out at the other, and back.
        moved = [{name: now[name] - then[name] for name in now if name.startswith("packets_")} for then, now in zip(before, after)]
        assert moved[0]["packets_in"] >= arrived and moved[1]["packets_out"] >= arrived, moved
        assert moved[1]["packets_in"] >= answered and moved[0]["packets_out"] >= answered, moved
        # testpmd: what came in at one port went out at the other.
        (rx0, tx0), (rx1, tx1) = forwarded(said)
        assert rx0 >= arrived + 6 and rx1 >= answered + 6 and (tx0, tx1) == (rx1, rx0), said[-3000:]
        for eni in functions:
            lab.assert_healthy(eni)


def forwarded(said: str) -> list:
    """Packets received and sent by each of two ports, as testpmd says them at its end."""
    found = re.findall(r"Forward statistics for port \d.*?RX-packets: (\d+).*?TX-packets: (\d+)", said, re.S)
    assert len(found) == 2, said[-3000:]
    return [(int(received), int(sent)) for received, sent in found]


# Echoes datagrams until its input ends, and then says how many came.
ECHO = """
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7000))
print("up", flush=True)
count = 0
while True:
    ready = select.select([s, sys.stdin], [], [])[0]
    if s in ready:
        body, peer = s.recvfrom(2048)
        count += 1
        s.sendto(body, peer)
    elif not sys.stdin.read(1):
        break
print(count, flush=True)
"""

# Asks until each question is answered; how often it asked, and how many answers it has.
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7000))
s.settimeout(2)
sent = answered = 0
for number in range(int(sys.argv[2])):
    body = number.to_bytes(4, "big") * (1 + number)
    for _ in range(10):
        s.send(body)
        sent += 1
        try:
            while s.recv(2048) != body: pass
        except TimeoutError: continue
        answered += 1
        break
print(sent, answered)
"""

# Interrupts are not remapped here, which vfio must be told.
BIND = """
echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
echo vfio-pci >/sys/bus/pci/devices/PLACE/driver_override
echo PLACE >/sys/bus/pci/drivers_probe
test "$(readlink /sys/bus/pci/devices/PLACE/driver)" = ../../../../bus/pci/drivers/vfio-pci
"""

TESTPMD = """
exec dpdk-testpmd -l 0,1 -m 200 -d librte_bus_pci.so -d librte_mempool_ring.so -d librte_net_ena.so \\
  OPTIONS --auto-start --stats-period 1 --total-num-mbufs=8192
""".strip()
