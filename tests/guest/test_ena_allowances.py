"""What an instance that EC2 throttles sees: the stock driver's counters of a t3.nano's interface on a card with `--allowances`.

The interface is the ENA function of a namespace instance of that type, and a guest's driver maps it. In each test
the traffic is above one allowance, and only its counter moves.

No bound depends on how fast this machine is: what is above a rate comes as super-frames, which wait in a tap's queue
whatever the load is, and what is to stay below one waits for the card. Bandwidth is not among them: a card that is a
debug build on a busy machine does not carry the 5 Gbit/s that are the least of the types with an ENA (crates/switch tests it).
"""

import contextlib
import json
import pathlib
import struct
import time

import pytest

from burst import burst
from ena_lab import EnaLab, counters, eventually, ping
from harness import KERNELS, Guest, VfioUser

# What crates/vpc says of the type: 5 Gbit/s at its peak, a packet for every 10,000 bit/s of it, 68,406
# connections for each of two vCPUs.
TYPE, PACKETS_PER_S, CONNECTIONS = "t3.nano", 500_000, 136_812
# Passes at once in a burst: 1 ms at any speed and 10 ms that are counted.
BURST_S = 0.011
LINK_LOCAL_PER_S = 1_024
QUERIES = 60_000
UDP_HEADERS = 42
# Datagrams of 18 bytes make the smallest frames; a super-frame holds 64.
DATAGRAM, DATAGRAMS = 18, 64
ROUTER = "10.80.1.1"

NAMES = ("bw_in", "bw_out", "pps", "conntrack", "linklocal")
ADDRESSES = {KERNELS[0]: ("10.80.1.40", "10.80.1.70"), KERNELS[1]: ("10.80.1.41", "10.80.1.71")}


class Throttled(EnaLab):
    """A card with allowances, with a sender whose own are out of reach."""

    def __init__(self, folder):
        super().__init__(folder, ["--allowances"])
        try:
            self.sender = self.launch("c5n.18xlarge", "10.80.1.11")
            claim(self.card.json("ls")["card"]["pid"])
            features = self.card.exec(self.sender, "ethtool", "-k", "eth0").stdout
            self.has_udp_super_frames = "tx-udp-segmentation: on" in features
        except BaseException:
            self.stop()
            raise

    def launch(self, kind, address):
        made = self.ec2.run_instances(
            ImageId="ami-0abcdef1234567890", InstanceType=kind, MinCount=1, MaxCount=1, SubnetId=self.net,
            SecurityGroupIds=[self.open], PrivateIpAddress=address,
        )["Instances"][0]["InstanceId"]
        self.running(made)
        return made

    def throttled(self, address, function_address):
        """An interface of an instance of the type, attached as an ENA; its id, and the path of its socket."""
        instance = self.launch(TYPE, address)
        tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "trinic:function", "Value": "ena"}]}]
        interface = self.ec2.create_network_interface(
            SubnetId=self.net, Groups=[self.open], PrivateIpAddress=function_address, TagSpecifications=tags
        )["NetworkInterface"]["NetworkInterfaceId"]
        # So that connections outlive the time that opening all of them takes.
        self.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=interface, ConnectionTrackingSpecification={"UdpTimeout": 60}
        )
        self.ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=1)
        eventually(lambda: interface in {one["interface"] for one in self.card.json("card")}, what="attached")
        socket = self.card.state / "card" / "instances" / instance / "run" / f"{interface}.sock"
        # Under a short name: a path of a socket has 107 bytes at most.
        short = self.folder / f"{function_address}.sock"
        short.symlink_to(socket)
        return interface, short

    def send(self, code, *arguments, timeout=240) -> dict:
        """Runs a program of the sender's, which prints one JSON object."""
        done = self.card.exec(self.sender, "python3", "-c", code, *map(str, arguments), check=True, timeout=timeout)
        return json.loads(done.stdout)

    def keep_neighbours(self, *addresses):
        """Lets the sender find its neighbours' MAC addresses now, and never ask again. While it waits for an answer its
        kernel drops what is above the room of an entry that is not there yet, and no counter of the interface tells.
        Source: arp(7), unres_qlen."""
        for address in addresses:
            self.card.exec(self.sender, "ping", "-n", "-c", "3", "-W", "30", address, check=True)
            known = self.card.exec(self.sender, "ip", "-j", "neigh", "show", address, "dev", "eth0", check=True).stdout
            mac = json.loads(known)[0]["lladdr"]
            entry = (address, "lladdr", mac, "dev", "eth0", "nud", "permanent")
            self.card.exec(self.sender, "ip", "neigh", "replace", *entry, check=True)

    def lost(self) -> int:
        """Frames that the sender's own kernel dropped because the card had not yet taken those before."""
        return int(self.card.exec(self.sender, "cat", "/sys/class/net/eth0/statistics/tx_dropped", check=True).stdout)

    def settled(self, interface) -> dict:
        """The card's counters once no more packets come."""
        while True:
            before = self.card.stats(interface)
            time.sleep(0.3)
            after = self.card.stats(interface)
            if all(after[name] - before[name] < 20 for name in ("packets_in", "packets_out")):
                return after


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = Throttled(tmp_path_factory.mktemp("al"))
    yield running
    running.stop()


@pytest.fixture(scope="module", params=KERNELS)
def vm(request, lab):
    """A guest on such an interface, `vm.eni`."""
    address, function_address = ADDRESSES[request.param]
    eni, socket = lab.throttled(address, function_address)
    files = {"usr/bin/dns-burst": burst("169.254.169.253", 53, query("ip-10-80-1-10.ec2.internal"), QUERIES)}
    with Guest(request.param, [VfioUser(socket)], modules=["ena"], dhcp=["ena"], files=files, name="allowances") as running:
        running.eni, running.address = eni, function_address
        running.lease(timeout=60)
        lab.keep_neighbours(function_address, ROUTER)
        yield running


def claim(process):
    """Gives the session of a process the most weight, where this kernel and user allow it: other work on a shared
    machine makes packets come slower than the allowances. Source: sched(7), the autogroup feature."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{process}/autogroup").write_text("-19")


def query(name: str) -> bytes:
    """A question for an address. Source: RFC 1035, 4.1."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


class Moved:
    """What the driver and the card counted while the block ran, and how long it took for sure."""

    def __init__(self, lab, vm):
        self.lab, self.vm = lab, vm

    def __enter__(self):
        self.card_before, self.driver_before = self.lab.settled(self.vm.eni), counters(self.vm)
        self.began = time.monotonic()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        after = self.lab.settled(self.vm.eni)
        self.seconds = time.monotonic() - self.began
        self.driver = counters(self.vm)
        self.exceeded = {name: self.of_driver(f"{name}_allowance_exceeded") for name in NAMES}
        self.card = {name: after[name] - self.card_before[name] for name in ("packets_in", "bytes_in", "packets_out", "services")}
        drops = {name: count - self.card_before["drops"].get(name, 0) for name, count in after["drops"].items()}
        # Of its own accord a guest sends what is dropped for other reasons, such as multicast.
        self.drops = {name: count for name, count in drops.items() if count and name.endswith("allowance-exceeded")}
        # The driver shows what the card counted.
        assert self.exceeded == {
            name: after[f"{name}_allowance_exceeded"] - self.card_before[f"{name}_allowance_exceeded"] for name in NAMES
        }

    def of_driver(self, name) -> int:
        return self.driver[name] - self.driver_before[name]

    def received(self) -> int:
        return sum(self.of_driver(name) for name in self.driver if name.startswith("queue_") and name.endswith("rx_cnt"))


def test_a_new_interface_has_exceeded_nothing(lab, vm):
    ping(vm, lab.peer_address, 5)
    shown = counters(vm)
    assert [shown[f"{name}_allowance_exceeded"] for name in NAMES] == [0] * 5
    # The ping is tracked.
    assert CONNECTIONS - 20 <= shown["conntrack_allowance_available"] < CONNECTIONS


def test_questions_to_the_resolver_above_1024_a_second(lab, vm, capsys):
    # As few as possible wait in the driver's queue, so that no burst of them is above another allowance.
    vm.check("ethtool -G eth0 tx 256")
    # The resolver's neighbour entry is there before the first question of the burst, or the kernel would lose some.
    ask = "nslookup ip-10-80-1-10.ec2.internal 169.254.169.253"
    assert "10.80.1.10" in vm.eventually(ask)
    with Moved(lab, vm) as moved:
        said = vm.check("cut -d' ' -f1 /proc/uptime; dns-burst; cut -d' ' -f1 /proc/uptime", timeout=180)
    first, last = map(float, said.split())
    passed, dropped = moved.card["services"], moved.exceeded["linklocal"]
    with capsys.disabled():
        print(f"\n{vm.kernel}: {QUERIES} questions in {last - first:.1f} s, {passed} passed, {dropped} did not")
    assert moved.exceeded == {**dict.fromkeys(NAMES, 0), "linklocal": dropped}
    assert moved.drops == {"linklocal-allowance-exceeded": dropped} and dropped > 0
    assert passed + dropped >= QUERIES
    # A second's worth at once, and then the rate. Whenever one was dropped the allowance was used up, so that
    # the last of the dropped ones tells when; it is one of the last questions.
    assert (1 + last - first) * LINK_LOCAL_PER_S * 0.8 <= passed <= (1 + moved.seconds) * LINK_LOCAL_PER_S + 1
    # What passed was answered, and the answers arrived.
    assert moved.received() >= passed * 0.9
    # It is the rate that was exceeded, not the service that is gone.
    assert "10.80.1.10" in vm.eventually(ask)


# Whatever the router answers has waited behind all that was sent before, so that nothing of it waits any more.
WAIT = """
import json, os, socket, struct, sys, time
address, router, numbers = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3:]]
echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
echo.settimeout(0.5)
def wait(number):
    body = struct.pack("!HH", os.getpid() & 0xffff, number & 0xffff)
    total = 0x0800 + sum(struct.unpack("!HH", body))
    checksum = 0xffff - (total & 0xffff) - (total >> 16)
    for _ in range(60):
        echo.sendto(struct.pack("!BBH", 8, 0, checksum & 0xffff) + body, (router, 0))
        try:
            while echo.recv(2048)[24:28] != body: pass
            return
        except TimeoutError: pass
    raise SystemExit("the router does not answer")
"""

# Super-frames of datagrams: a call makes up to 64 packets, and a tap's queue keeps 1,000 super-frames for the card,
# which then takes them as fast as it can. Source: udp(7), UDP_SEGMENT.
FLOOD = WAIT + f"DATAGRAM, DATAGRAMS = {DATAGRAM}, {DATAGRAMS}" + """
(bursts,) = numbers
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, DATAGRAM)
s.connect((address, 9))
try: open("/proc/self/autogroup", "w").write("-19")
except OSError: pass
payload, sent = bytes(DATAGRAM * DATAGRAMS), 0
for number in range(bursts):
    for _ in range(900):
        try: s.send(payload)
        except ConnectionRefusedError: continue
        sent += 1
    wait(number)
print(json.dumps({"sent": sent}))
"""


@contextlib.contextmanager
def stopped(vm):
    """A guest that stands still while the block runs: nobody but the card decides how fast its packets come in."""
    vm.qmp.execute("stop")
    try:
        yield
    finally:
        vm.qmp.execute("cont")


def test_packets_above_the_allowance(lab, vm, capsys):
    if not lab.has_udp_super_frames:
        pytest.skip("this kernel's taps take no super-frames of UDP, so nothing here sends as many packets")
    lost = -lab.lost()
    with Moved(lab, vm) as moved, stopped(vm):
        sent = lab.send(FLOOD, vm.address, ROUTER, 20)["sent"]
    lost += lab.lost()
    passed = (moved.card["bytes_in"] - UDP_HEADERS * moved.card["packets_in"]) / DATAGRAM
    with capsys.disabled():
        allowed = f"{passed:.0f} passed, {passed / PACKETS_PER_S:.2f} s of the allowance"
        print(f"\n{vm.kernel}: {sent * DATAGRAMS} packets in {moved.seconds:.1f} s, {allowed}; {moved.exceeded}")
    dropped = moved.drops.pop("pps-allowance-exceeded", 0)
    assert moved.exceeded == {**dict.fromkeys(NAMES, 0), "pps": moved.exceeded["pps"]} and not moved.drops
    # Queued or dropped: a card that is slower than the allowance drops none, and what is above 1 ms of it is counted.
    assert moved.exceeded["pps"] >= max(dropped * DATAGRAMS, 1)
    burst = BURST_S * PACKETS_PER_S
    assert passed <= burst + DATAGRAMS + moved.seconds * PACKETS_PER_S
    assert abs(passed - (sent - lost - dropped) * DATAGRAMS) < DATAGRAMS
    # When one is dropped, a whole burst has passed.
    assert not dropped or passed >= burst
    lab.assert_healthy(vm.eni)


# A connection for each pair of ports. After some of them the sender waits for the router and for a millisecond, which
# is below all rates.
CONNECT = WAIT + """
first, count = numbers
done = 0
while done < count:
    source, begin = divmod(first + done, 50_000)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", 20_000 + source))
    some = min(300, count - done, 50_000 - begin)
    for port in range(10_000 + begin, 10_000 + begin + some):
        s.sendto(b"", (address, port))
    s.close()
    done += some
    wait(done)
    time.sleep(0.001)
print(json.dumps({"opened": done}))
"""


def test_connections_above_the_allowance(lab, vm, capsys):
    some = 1_000
    with Moved(lab, vm) as moved:
        lab.send(CONNECT, vm.address, ROUTER, 0, some)
    available = moved.driver["conntrack_allowance_available"]
    # Others, such as those of the tests before, may come to their end meanwhile.
    assert abs(-moved.of_driver("conntrack_allowance_available") - some) <= 20, (available, moved.driver_before)
    assert moved.exceeded == dict.fromkeys(NAMES, 0) and not moved.drops

    with Moved(lab, vm) as moved:
        lab.send(CONNECT, vm.address, ROUTER, some, CONNECTIONS)
        full = counters(vm)["conntrack_allowance_available"]
        # Whoever has no connection yet gets none, in either direction.
        assert vm.run(f"ping -n -c 2 -i 0.2 -W 1 {lab.peer_address}")[0] == 1
    with capsys.disabled():
        print(f"\n{vm.kernel}: {some + CONNECTIONS} connections in {moved.seconds:.1f} s; {moved.exceeded}, {full} available")
    assert full == 0
    refused = moved.exceeded["conntrack"]
    assert moved.exceeded == {**dict.fromkeys(NAMES, 0), "conntrack": refused} and refused >= some + 2
    assert moved.drops == {"conntrack-allowance-exceeded": refused}
    lab.assert_healthy(vm.eni)
