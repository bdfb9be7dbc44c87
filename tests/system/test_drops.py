"""Every reason to drop that an instance can bring about, with a frame of its own and the counter that must move."""

import ipaddress
import socket
import struct

import pytest
from conftest import PING, Lab, eni, eventually, internet_gateway, main_table

pytestmark = pytest.mark.usefixtures("namespaces")

ROUTER = "0a:ff:ff:ff:ff:01"
IPV4, ARP, IPV6, EXPERIMENT = 0x0800, 0x0806, 0x86DD, 0x88B5
UDP, ICMPV6 = 17, 58
# Source: RFC 791 §3.1.
DONT_FRAGMENT, SECOND_FRAGMENT = 0x4000, 0x0010

SEND = (
    "import socket,sys\n"
    "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);s.bind(('eth0',0))\n"
    "f=bytes.fromhex(sys.stdin.read())\n"
    "for _ in range(int(sys.argv[1])): s.send(f)\n"
)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.195.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    block = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    built.net = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.195.1.0/24", Ipv6CidrBlock=block.replace("/56", "/64")
    )["Subnet"]["SubnetId"]
    built.open = built.group("open", PING)
    built.one = built.instance(built.net, [built.open], "10.195.1.10", Ipv6AddressCount=1)
    built.two = built.instance(built.net, [built.open], "10.195.1.20")
    # Known to the VPC, and attached to nothing.
    built.spare = ec2.create_network_interface(
        SubnetId=built.net, Groups=[built.open], PrivateIpAddress="10.195.1.30"
    )["NetworkInterface"]["NetworkInterfaceId"]
    built.gateway = internet_gateway(ec2, built.vpc)
    table = main_table(ec2, built.vpc)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="203.0.113.0/24", GatewayId=built.gateway)
    built.public = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=built.public["AllocationId"], NetworkInterfaceId=eni(built.one))
    return built


class Frames:
    """Frames of an instance, well-formed but for what is asked for."""

    def __init__(self, instance):
        interface = instance["NetworkInterfaces"][0]
        self.mac, self.ipv4 = interface["MacAddress"], instance["PrivateIpAddress"]
        self.ipv6 = next((a["Ipv6Address"] for a in interface["Ipv6Addresses"]), None)

    def ethernet(self, kind, payload, own_mac=None, next_hop=ROUTER):
        return mac(next_hop) + mac(own_mac or self.mac) + struct.pack("!H", kind) + payload

    def ip(self, to, protocol=UDP, payload=None, source=None, flags=0, ttl=64, **more):
        if payload is None:
            payload = struct.pack("!HHHH", 5000, 5000, 12, 0) + b"data"
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, flags, ttl, protocol, 0)
        head += socket.inet_aton(source or self.ipv4) + socket.inet_aton(to)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        return self.ethernet(IPV4, head + payload, **more)

    def arp(self, operation, target, **more):
        body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
        body += mac(self.mac) + socket.inet_aton(self.ipv4) + bytes(6) + socket.inet_aton(target)
        return self.ethernet(ARP, body, next_hop="ff:ff:ff:ff:ff:ff", **more)

    def neighbor(self, kind, target):
        """A solicitation (135) or an advertisement (136), RFC 4861 §4.3, §4.4."""
        to = ipaddress.ip_address(target).packed
        source = ipaddress.ip_address(self.ipv6).packed
        body = struct.pack("!BBHI", kind, 0, 0, 0) + to
        whole = source + to + struct.pack("!IHBB", len(body), 0, 0, ICMPV6) + body
        body = body[:2] + struct.pack("!H", checksum(whole)) + body[4:]
        head = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + source + to
        return self.ethernet(IPV6, head + body)


def drops(card, interface, reason):
    """A counter of an interface, or of the internet's side."""
    counters = card.json("stats")["internet"] if interface == "internet" else card.stats(interface)
    return counters["drops"].get(reason, 0)


def send(card, instance, frame, count=1):
    card.run("exec", instance["InstanceId"], "--", "python3", "-c", SEND, str(count), input=frame.hex())


CASES = {
    "malformed": lambda f: f.ethernet(IPV4, b"\x45" + bytes(7)),
    "unsupported-ether-type": lambda f: f.ethernet(EXPERIMENT, bytes(46)),
    "source-mac": lambda f: f.ip("10.195.1.20", own_mac="02:00:00:00:00:99"),
    "source-address": lambda f: f.ip("10.195.1.20", source="10.195.1.99"),
    "arp-ignored": lambda f: f.arp(2, "10.195.1.20"),
    "no-such-neighbor": lambda f: f.arp(1, "10.195.1.99"),
    "neighbor-ignored": lambda f: f.neighbor(136, "fe80::1"),
    "multicast": lambda f: f.ip("224.0.0.251", next_hop="01:00:5e:00:00:fb"),
    "destination-address": lambda f: f.ip("127.0.0.1"),
    "link-local-unknown": lambda f: f.ip("169.254.77.77"),
    "router-refused": lambda f: f.ip("10.195.1.1"),
    "fragment-unknown": lambda f: f.ip("10.195.1.20", flags=SECOND_FRAGMENT),
    "no-route": lambda f: f.ip("192.168.200.1"),
    "no-such-address": lambda f: f.ip("10.195.1.77"),
    "destination-mac": lambda f: f.ip("203.0.113.1", next_hop="02:00:00:00:00:77"),
    "mtu-exceeded": lambda f: f.ip("203.0.113.1", payload=bytes(4000), protocol=253, flags=DONT_FRAGMENT),
    "fragmentation-needed": lambda f: f.ip("203.0.113.1", payload=bytes(4000), protocol=253),
    "ttl-exceeded": lambda f: f.ip("203.0.113.1", ttl=1),
}


@pytest.mark.parametrize("reason", CASES)
def test_a_frame_is_dropped_for_its_reason(card, lab, reason):
    """As many as were sent: what the instance's kernel sends by itself now and then would not be as many."""
    before = drops(card, eni(lab.one), reason)
    send(card, lab.one, CASES[reason](Frames(lab.one)), 9)
    eventually(lambda: drops(card, eni(lab.one), reason) >= before + 9, timeout=3, what=reason)


def test_an_interface_at_rest_receives_nothing(card, lab):
    before = drops(card, lab.spare, "destination-unattached")
    send(card, lab.one, Frames(lab.one).ip("10.195.1.30"))
    eventually(lambda: drops(card, lab.spare, "destination-unattached") == before + 1, timeout=3, what="the drop")


def test_the_resolver_is_silent_where_dns_is_switched_off(card, ec2, lab):
    query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\1x\0" + struct.pack("!HH", 1, 1)
    frame = Frames(lab.one).ip("10.195.0.2", payload=struct.pack("!HHHH", 5000, 53, 8 + len(query), 0) + query)
    ec2.modify_vpc_attribute(VpcId=lab.vpc, EnableDnsSupport={"Value": False})
    try:
        before = drops(card, eni(lab.one), "resolver-disabled")
        send(card, lab.one, frame)
        eventually(lambda: drops(card, eni(lab.one), "resolver-disabled") == before + 1, timeout=3, what="the drop")
    finally:
        ec2.modify_vpc_attribute(VpcId=lab.vpc, EnableDnsSupport={"Value": True})


def test_services_take_1024_packets_a_second_of_an_interface(card, lab):
    frame, name = Frames(lab.two).ip("169.254.169.123"), "linklocal-allowance-exceeded"

    def is_exceeded():
        # Where the card gets little of the CPU, its queue is full long before the second's allowance is used.
        send(card, lab.two, frame, 20_000)
        return drops(card, eni(lab.two), name) > 0

    eventually(is_exceeded, timeout=20, what=name)
    # The others are not concerned.
    assert drops(card, eni(lab.one), name) == 0


def test_public_addresses_that_nobody_has(card, ec2, lab):
    """From the internet: an Elastic IP that is released leads nowhere."""
    address = lab.public["PublicIp"]
    assert card.ping("internet", address)
    freed = ec2.allocate_address(Domain="vpc")
    before = drops(card, "internet", "no-such-public-address")
    assert not card.ping("internet", freed["PublicIp"])
    assert drops(card, "internet", "no-such-public-address") == before + 1
    ec2.release_address(AllocationId=freed["AllocationId"])
