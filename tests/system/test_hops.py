"""Hop limits as packets carry them: replies of the metadata service, the internet gateway, a router."""

import contextlib
import subprocess

import pytest
from conftest import PING, Lab, eni, eventually, internet_gateway, main_table, rule

pytestmark = pytest.mark.usefixtures("namespaces")

# The addresses of the card's "internet".
INTERNET, INTERNET_IPV6 = "203.0.113.1", "2001:db8:ffff::1"

# Asks the metadata service, and prints the hop limits of all segments with data that came back, as eth0 saw
# them: fields of the IPv4 (RFC 791) and IPv6 (RFC 8200) headers behind 14 bytes of Ethernet.
ASK = (
    "import socket,sys\n"
    "address,request=sys.argv[1],sys.argv[2].encode().decode('unicode_escape').encode()\n"
    "wire=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3));wire.bind(('eth0',0))\n"
    "source=socket.inet_pton(socket.AF_INET6 if ':' in address else socket.AF_INET,address)\n"
    "asked=socket.create_connection((address,80),2)\n"
    "asked.sendall(request)\n"
    "answer=b''\n"
    "while (d:=asked.recv(4096)): answer+=d\n"
    "wire.settimeout(0.3);limits=set()\n"
    "try:\n"
    " while True:\n"
    "  p=wire.recv(9100)[14:]\n"
    "  if p[0]>>4==4: hops,sender,at,end=p[8],p[12:16],(p[0]&15)*4,int.from_bytes(p[2:4],'big')\n"
    "  else: hops,sender,at,end=p[7],p[8:24],40,40+int.from_bytes(p[4:6],'big')\n"
    "  if sender==source and end>at+(p[at+12]>>4)*4: limits.add(hops)\n"
    "except TimeoutError: pass\n"
    "print(answer.split()[1].decode(),*sorted(limits))\n"
)
TOKEN = r"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\nConnection: close\r\n\r\n"
READ = r"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.170.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    block = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    built.net = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.170.1.0/24", Ipv6CidrBlock=block.replace("/56", "/64")
    )["Subnet"]["SubnetId"]
    built.open = built.group("open", PING, rule("icmpv6", -1, cidr6="::/0"))
    built.one = built.instance(built.net, [built.open], Ipv6AddressCount=1)
    built.table = main_table(ec2, built.vpc)
    return built


def ask(card, instance, request, address="169.254.169.254"):
    """Status and hop limits of an answer."""
    status, *limits = card.exec(instance, "python3", "-c", ASK, address, request, check=True).stdout.split()
    return int(status), [int(limit) for limit in limits]


# ---- instance metadata


def test_a_token_reaches_one_hop_far(card, lab):
    assert ask(card, lab.one["InstanceId"], TOKEN) == (200, [1])
    # Only the answer to a PUT is held short.
    assert ask(card, lab.one["InstanceId"], READ) == (200, [64])


def test_the_hop_limit_of_tokens_is_an_option(card, ec2, lab):
    one = lab.one["InstanceId"]
    for limit in (3, 64, 1):
        reply = ec2.modify_instance_metadata_options(InstanceId=one, HttpPutResponseHopLimit=limit)
        assert reply["InstanceMetadataOptions"]["HttpPutResponseHopLimit"] == limit
        eventually(lambda n=limit: ask(card, one, TOKEN) == (200, [n]), what=f"hop limit {limit}")
    assert lab.describe(one)["MetadataOptions"]["HttpPutResponseHopLimit"] == 1


def test_an_instance_starts_with_the_options_of_its_launch(card, lab):
    options = {"HttpPutResponseHopLimit": 2, "HttpProtocolIpv6": "enabled", "HttpTokens": "required"}
    two = lab.instance(lab.net, [lab.open], Ipv6AddressCount=1, MetadataOptions=options)
    assert ask(card, two["InstanceId"], TOKEN) == (200, [2])
    assert ask(card, two["InstanceId"], TOKEN, "fd00:ec2::254") == (200, [2])
    assert ask(card, two["InstanceId"], READ, "fd00:ec2::254") == (401, [64])


# ---- the internet gateway


def exceeded(card, instance, address):
    """What ping says when its packets may go one hop."""
    return card.exec(instance, "ping", "-n", "-c1", "-W1", "-t1", address).stdout


def test_the_internet_gateway_is_a_hop(card, ec2, lab):
    gateway = internet_gateway(ec2, lab.vpc)
    ec2.create_route(RouteTableId=lab.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.create_route(RouteTableId=lab.table, DestinationIpv6CidrBlock="::/0", GatewayId=gateway)
    allocated = ec2.allocate_address(Domain="vpc")["AllocationId"]
    association = ec2.associate_address(AllocationId=allocated, NetworkInterfaceId=eni(lab.one))["AssociationId"]
    one = lab.one["InstanceId"]
    for number, address in enumerate((INTERNET, INTERNET_IPV6), start=1):
        assert card.ping(one, address)
        assert "exceeded" in exceeded(card, one, address)
        assert card.stats(eni(lab.one))["drops"]["ttl-exceeded"] == number
    ec2.disassociate_address(AssociationId=association)
    ec2.release_address(AllocationId=allocated)


# ---- an instance as router


@contextlib.contextmanager
def router(card, ec2, lab, destination):
    """An instance that forwards, with a route to it."""
    made = lab.instance(lab.net, [lab.open], Ipv6AddressCount=1)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(made), SourceDestCheck={"Value": False})
    key = "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"
    ec2.create_route(RouteTableId=lab.table, NetworkInterfaceId=eni(made), **{key: destination})
    with subprocess.Popen(
        [card.program, "probe", "--state", str(card.state), made["InstanceId"], "forward"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as forward:
        try:
            yield made
        finally:
            forward.kill()
            ec2.delete_route(RouteTableId=lab.table, **{key: destination})
            ec2.terminate_instances(InstanceIds=[made["InstanceId"]])


def kernel_counter(card, instance, file, name):
    """A counter of an instance's kernel: `name value` lines, or a line of names above one of values."""
    words = [line.split() for line in card.exec(instance, "cat", file, check=True).stdout.splitlines()]
    for above, below in zip(words, words[1:]):
        if name in above and above[0] == below[0]:
            return int(below[above.index(name)])
    return int(next(line[1] for line in words if line[0] == name))


@pytest.mark.parametrize(
    ("destination", "address", "file", "counter"),
    [
        ("192.168.66.0/24", "192.168.66.6", "/proc/net/snmp", "OutTimeExcds"),
        ("2001:db8:6666::/48", "2001:db8:6666::6", "/proc/net/snmp6", "Icmp6OutTimeExcds"),
    ],
)
def test_a_router_is_a_hop(card, ec2, lab, destination, address, file, counter):
    """Its kernel tells the sender, which hears it since it is about a packet that its groups let out."""
    one = lab.one["InstanceId"]
    with router(card, ec2, lab, destination) as made:
        eventually(lambda: "exceeded" in exceeded(card, one, address), what="time exceeded from the router")
        shown = exceeded(card, one, address)
        ipv6 = made["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]
        assert f"From {ipv6 if ':' in address else made['PrivateIpAddress']}" in shown, shown
        assert kernel_counter(card, made["InstanceId"], file, counter) >= 2
        # With a hop to spare the router sends it on, by the same route: back to itself, which the card refuses.
        before = card.stats(eni(made))["drops"].get("route-loop", 0)
        assert "exceeded" not in card.exec(one, "ping", "-n", "-c1", "-W1", "-t2", address).stdout
        assert card.stats(eni(made))["drops"]["route-loop"] == before + 1
