"""What the tests of the stock `ena` driver share: a card, functions on it, guests that have them, and captures.

The card and the short forms for EC2 are those of tests/system; they are loaded under a name of their own,
for two files called conftest.py cannot both be imported.
"""

import base64
import collections
import contextlib
import importlib.util
import ipaddress
import pathlib
import re
import struct
import subprocess
import time

import pytest

from harness import Guest, VfioUser

ROOT = pathlib.Path(__file__).resolve().parents[2]

_found = importlib.util.spec_from_file_location("system_lab", ROOT / "tests" / "system" / "conftest.py")
system_lab = importlib.util.module_from_spec(_found)
_found.loader.exec_module(system_lab)
Card, Lab, eventually, rule = system_lab.Card, system_lab.Lab, system_lab.eventually, system_lab.rule

EVERYTHING = (rule("-1", cidr="10.0.0.0/8"), rule("-1", cidr6="::/0"))
ETHERNET_BYTES = 14

# Until tcpdump has written all that the kernel has captured for it: it forgets the rest when it is told to end. It counts
# both when it gets SIGUSR1. The kernel's count may have more for ever, of before the filter was set; then nothing moves.
# Source: tcpdump(1), pcap_stats(3PCAP).
WRITTEN = r"""
before=none still=0
until
  kill -USR1 $(pidof tcpdump); usleep 200000
  counted=$(sed -n 's/.*: \([0-9]*\) packets\? captured, \([0-9]*\) packets\? received.*/\1 \2/p' LOG | tail -n 1)
  [ "$counted" = "$before" ] && still=$((still + 1)) || still=0
  before=$counted
  [ -n "$counted" ] && { [ "${counted% *}" = "${counted#* }" ] || [ $still -ge 25 ]; }
do :; done
"""


class EnaLab(Lab):
    """A card with a VPC of both families, one subnet, an open group and an instance in a namespace."""

    def __init__(self, folder: pathlib.Path, arguments=()):
        card = Card(system_lab.binary(), folder / "state", ["--ephemeral", *arguments]).start()
        self.folder, self.functions = folder, {}
        try:
            if eventually(lambda: system_lab.backend_of(card), what="card report") != "namespace":
                pytest.skip("no namespaces here: there is no other end to speak with")
            super().__init__(card, card.client(), "10.80.0.0/16")
            self.ec2.associate_vpc_cidr_block(VpcId=self.vpc, AmazonProvidedIpv6CidrBlock=True)
            vpc = self.ec2.describe_vpcs(VpcIds=[self.vpc])["Vpcs"][0]
            block = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
            self.ipv6_blocks = [str(found) for found in block.subnets(new_prefix=64)]
            subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.80.1.0/24", Ipv6CidrBlock=self.ipv6_blocks[1])
            self.net = subnet["Subnet"]["SubnetId"]
            self.open = self.group("open", *EVERYTHING)
            instance = self.instance(self.net, [self.open], "10.80.1.10", Ipv6AddressCount=1)
            self.peer, self.peer_eni = instance["InstanceId"], system_lab.eni(instance)
            self.peer_address = "10.80.1.10"
            self.peer_address6 = instance["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]
        except BaseException:
            card.stop()
            raise

    def function(self, address: str, group: str | None = None, subnet: str | None = None) -> str:
        """A new interface with an ENA function at a socket of its own; its id."""
        made = self.ec2.create_network_interface(
            SubnetId=subnet or self.net, Groups=[group or self.open], PrivateIpAddress=address, Ipv6AddressCount=1
        )["NetworkInterface"]
        interface = made["NetworkInterfaceId"]
        path = self.folder / f"{address}.sock"
        said = self.card.run("attach", interface, "--vfio-user", str(path)).stdout
        assert "vfio-user-pci" in said and str(path) in said
        self.functions[interface] = {"socket": path, "mac": made["MacAddress"], "address": address, "said": said}
        self.functions[interface]["address6"] = made["Ipv6Addresses"][0]["Ipv6Address"]
        return interface

    def guest(self, interface: str, kernel: str, **more) -> Guest:
        """A guest that is not started yet, with that function."""
        return Guest(kernel, [VfioUser(self.functions[interface]["socket"])], modules=["ena"], dhcp=["ena"], **more)

    def device(self, interface: str) -> dict:
        """What `trinic card` says of a function."""
        return self.described(interface)["device"]

    def described(self, interface: str) -> dict:
        return next(found for found in self.card.json("card") if found["interface"] == interface)

    def resets(self, interface: str) -> dict:
        """How often its drivers reset it, by the reason's number."""
        return {count["code"]: count["count"] for count in self.device(interface)["resets"]}

    def assert_healthy(self, interface: str, before=None):
        """No driver blamed the device (since `before`, from `resets`), and nothing that it asked was refused."""
        card = self.described(interface)
        device = card["device"]
        blames = [r for r in device["resets"] if r["blames_device"] and r["count"] > (before or {}).get(r["code"], 0)]
        assert not blames and not device["has_failed"], device
        assert (device["refusals"], card["refused_messages"]) == ({}, {})

    def fault(self, interface: str, name: str):
        self.card.run("card", interface, "--fault", name)

    @contextlib.contextmanager
    def serving(self, *command, stdout=subprocess.DEVNULL, **more):
        """A program in the namespace instance while the block runs; a signal to `trinic exec` is one to it."""
        process = subprocess.Popen(
            [self.card.program, "exec", "--state", str(self.card.state), self.peer, "--", *command],
            stdin=subprocess.DEVNULL, stdout=stdout, **more,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)

    @contextlib.contextmanager
    def iperf_server(self):
        """A server for bulk TCP in the namespace instance, which listens when the block begins."""
        with self.serving("iperf3", "-s", stderr=subprocess.DEVNULL):
            eventually(lambda: ":5201" in self.card.exec(self.peer, "ss", "-ltn").stdout, what="iperf3 listens")
            yield

    def stop(self):
        self.card.stop()


def ping(guest: Guest, address: str, count=2, size=56, timeout=20) -> str:
    """Pings from a guest until an answer comes to each of a row of questions; what ping said."""
    return guest.eventually(f"ping -n -c {count} -i 0.2 -W 2 -M do -s {size} {address}", timeout)


def iperf(guest: Guest, address: str, *options, amount="2M", timeout=60) -> str:
    """Bulk TCP between a guest and an iperf3 server, which may need a moment to listen."""
    command = f"iperf3 -c {address} -n {amount} {' '.join(options)}"
    end = time.monotonic() + 20
    while True:
        status, output = guest.run(command, timeout)
        if status == 0:
            return output
        assert "onnection refused" in output and time.monotonic() < end, output
        time.sleep(0.2)


def counters(guest: Guest, interface="eth0") -> dict:
    """`ethtool -S` as numbers by name."""
    lines = guest.check(f"ethtool -S {interface}").splitlines()
    return {name.strip(): int(value) for name, value in (line.split(":") for line in lines[1:])}


@contextlib.contextmanager
def captured(guest: Guest, expression: str, interface="eth0"):
    """Frames that a guest's stack sees while the block runs; the list is filled when it ends."""
    frames = []
    log = "/tmp/capture.log"
    # What the capture before said must not be taken for what this one says.
    guest.check(f"rm -f {log}")
    running = guest.background(f"exec tcpdump -i {interface} -n -B 8192 -s 0 -U -w /tmp/capture {expression} 2>{log}")
    guest.eventually(f"grep -q 'listening on' {log}")
    yield frames
    guest.check(WRITTEN.replace("LOG", log), timeout=60)
    guest.check("kill -INT $(pidof tcpdump)")
    running.wait()
    said = guest.check(f"cat {log}")
    assert re.search(r"^0 packets dropped by kernel", said, re.M), said
    frames += pcap_frames(base64.b64decode(guest.check("base64 /tmp/capture", timeout=60)))


def pcap_frames(content: bytes) -> list:
    """The frames of a capture file. Source: pcap-savefile(5)."""
    magic, *_ = struct.unpack_from("<I", content)
    assert magic == 0xA1B2C3D4, hex(magic)
    frames, at = [], 24
    while at + 16 <= len(content):
        _, _, kept, whole = struct.unpack_from("<4I", content, at)
        assert kept == whole, "the capture cut a frame"
        frames.append(content[at + 16 : at + 16 + kept])
        at += 16 + kept
    return frames


class Segment:
    """A TCP segment of a frame, with what can be wrong about it. Source: RFC 791, 8200, 9293."""

    def __init__(self, frame: bytes):
        self.frame = frame
        network = frame[ETHERNET_BYTES:]
        if network[0] >> 4 == 4:
            header = (network[0] & 15) * 4
            self.length = struct.unpack_from("!H", network, 2)[0]
            self.identification = struct.unpack_from("!H", network, 4)[0]
            self.header_is_right = folded(network[:header]) == 0xFFFF
            addresses = network[12:20]
        else:
            header = 40
            self.length = 40 + struct.unpack_from("!H", network, 4)[0]
            self.identification, self.header_is_right = None, True
            addresses = network[8:40]
        tcp = network[header : self.length]
        self.source, self.destination, self.sequence = struct.unpack_from("!HHI", tcp)
        self.payload = tcp[(tcp[12] >> 4) * 4 :]
        self.flags = tcp[13]
        pseudo = addresses + struct.pack("!HI", 6, len(tcp))
        self.checksum_is_right = folded(pseudo + tcp) == 0xFFFF
        # What a sender leaves who wants the card to compute it.
        self.checksum_is_partial = struct.unpack_from("!H", tcp, 16)[0] == folded(pseudo)

    def __repr__(self):
        return f"<{self.source}->{self.destination} seq {self.sequence} {len(self.payload)} B of {self.length}>"


def folded(content: bytes) -> int:
    """The ones' complement sum of 16-bit words."""
    content += b"\0" * (len(content) % 2)
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def assert_whole_stream(segments: list, least: int):
    """The payloads of the largest connection follow each other without a gap; retransmissions may repeat some."""
    ports = collections.Counter()
    for segment in segments:
        ports[segment.source, segment.destination] += len(segment.payload)
    ((largest, _),) = ports.most_common(1)
    segments = [segment for segment in segments if (segment.source, segment.destination) == largest]
    first = next(segment for segment in segments if segment.flags & 2)
    begin = (first.sequence + 1) & 0xFFFFFFFF
    pieces = sorted(
        ((segment.sequence - begin) & 0xFFFFFFFF, len(segment.payload)) for segment in segments if segment.payload
    )
    end = 0
    for at, length in pieces:
        assert at <= end, f"a gap of {at - end} bytes at {end}"
        end = max(end, at + length)
    assert end >= least, f"{end} of {least} bytes"
