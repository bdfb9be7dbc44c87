"""Bursts of datagrams between two instances, which the worker may join for the receiver's kernel to cut up."""

import json
import socket
import subprocess

import pytest
from conftest import Lab, rule

pytestmark = pytest.mark.usefixtures("namespaces")

PORT = 5400
COUNT, BURSTS = 60, 20

# Every datagram says its number, burst and length, and is filled with a byte of its own.
SEND = """
import socket, sys, time
family, address, port, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
s = socket.socket(family, socket.SOCK_DGRAM)
s.connect((address, port))
# While the kernel asks for the neighbour it keeps datagrams, and those sent right after overtake them.
s.send(b"?")
time.sleep(0.5)
for burst in range({bursts}):
    for number in range({count}):
        last = number % 16 == 15
        length = size - 3 if last else size
        s.send(bytes([burst, number]) + bytes([(burst * 7 + number) % 256]) * (length - 2))
    time.sleep(0.02)
""".format(bursts=BURSTS, count=COUNT)

RECEIVE = """
import json, socket, sys
family, port = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
print("ready", flush=True)
s.settimeout(20)
got = []
while True:
    try:
        data = s.recv(65535)
    except TimeoutError:
        break
    if data == b"?":
        continue
    got.append((data[0], data[1], len(data), len(set(data[2:])) == 1 and data[2] == (data[0] * 7 + data[1]) % 256))
    s.settimeout(1)
print(json.dumps(got))
"""


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.181.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    block = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    net = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.181.1.0/24", Ipv6CidrBlock=block.replace("/56", "/64")
    )["Subnet"]["SubnetId"]
    group = built.group("open", rule("udp", PORT, PORT, cidr="10.181.0.0/16"), rule("udp", PORT, PORT, cidr6="::/0"))
    built.one = built.instance(net, [group], Ipv6AddressCount=1)
    built.two = built.instance(net, [group], Ipv6AddressCount=1)
    return built


@pytest.mark.parametrize("size", [24, 1400, 8000])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_a_burst_arrives_as_it_was_sent(card, lab, family, size):
    address = lab.two["PrivateIpAddress"]
    if family == socket.AF_INET6:
        address = lab.two["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]
    receiver = subprocess.Popen(
        [card.program, "exec", "--state", str(card.state), lab.two["InstanceId"], "--",
         "python3", "-c", RECEIVE, str(int(family)), str(PORT)],
        stdout=subprocess.PIPE, text=True,
    )
    assert receiver.stdout.readline().strip() == "ready"
    card.exec(
        lab.one["InstanceId"], "python3", "-c", SEND, str(int(family)), address, str(PORT), str(size), check=True
    )
    got = json.loads(receiver.communicate(timeout=60)[0])
    sent = [[burst, number, size - 3 if number % 16 == 15 else size] for burst in range(BURSTS) for number in range(COUNT)]
    # In order and whole. A full socket may lose some on a busy machine, but most arrive.
    assert all(whole for *_, whole in got)
    came = [one[:3] for one in got]
    assert came == [one for one in sent if one in came], "out of order, or of another length"
    assert len(got) > len(sent) * 0.5
