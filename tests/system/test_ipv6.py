"""IPv6: addresses, groups, neighbours answered by the card, the internet, metadata; and ICMP errors."""

import subprocess

import pytest
from conftest import PING, Lab, eni, eventually, internet_gateway, main_table, rule, serve_tcp, tcp

pytestmark = pytest.mark.usefixtures("namespaces")

PING6 = rule("icmpv6", -1, cidr6="::/0")
# The address of the card's "internet" over IPv6.
INTERNET = "2001:db8:ffff::1"


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.70.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    vpc = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]
    built.block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    assert built.block.endswith("/56")
    built.prefix = built.block.removesuffix("00::/56")
    subnet = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.70.1.0/24", Ipv6CidrBlock=f"{built.prefix}01::/64"
    )["Subnet"]
    built.net = subnet["SubnetId"]
    second = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.70.2.0/24", Ipv6CidrBlock=f"{built.prefix}02::/64"
    )["Subnet"]
    built.other = second["SubnetId"]
    built.open = built.group("open", PING, PING6)
    built.one = built.instance(built.net, [built.open], Ipv6AddressCount=1)
    built.two = built.instance(built.net, [built.open], Ipv6AddressCount=1)
    built.far = built.instance(built.other, [built.open], Ipv6AddressCount=1)
    built.internet = internet_gateway(ec2, built.vpc)
    ec2.create_route(RouteTableId=main_table(ec2, built.vpc), DestinationIpv6CidrBlock="::/0", GatewayId=built.internet)
    return built


def six(instance):
    return instance["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]


def test_instances_talk_within_and_between_subnets(card, lab):
    one = lab.one["InstanceId"]
    eventually(lambda: card.ping(one, six(lab.two)), what="IPv6 within the subnet")
    assert card.ping(one, six(lab.far))
    shown = card.exec(one, "ip", "-6", "addr", "show", "dev", "eth0", check=True).stdout
    assert six(lab.one) in shown
    assert "tentative" not in shown and "dadfailed" not in shown


def test_the_card_answers_for_the_neighbour(card, lab):
    """Addresses are /128s behind the router; with a route on the link the peer itself is asked for."""
    one, peer = lab.one["InstanceId"], six(lab.two)
    card.exec(one, "ip", "-6", "route", "add", f"{peer}/128", "dev", "eth0", check=True)
    assert card.ping(one, peer)
    neighbour = card.exec(one, "ip", "-6", "neigh", "show", peer, check=True).stdout
    assert lab.two["NetworkInterfaces"][0]["MacAddress"] in neighbour, neighbour
    card.exec(one, "ip", "-6", "route", "del", f"{peer}/128", "dev", "eth0", check=True)


def test_a_rule_for_ipv6_opens_a_port_for_ipv6_alone(card, ec2, lab):
    group = lab.group("web6", rule("tcp", 8080, cidr6=lab.block))
    server = lab.instance(lab.net, [group], Ipv6AddressCount=1)
    with serve_tcp(card, server["InstanceId"], 8080, "::"):
        one = lab.one["InstanceId"]
        eventually(lambda: tcp(card, one, six(server), 8080) == "open", what="port over IPv6")
        assert tcp(card, one, server["PrivateIpAddress"], 8080) == "silent"
        permission = rule("tcp", 8080, cidr6=lab.block)
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission])
        assert tcp(card, one, six(server), 8080) == "silent"
    assert card.stats(eni(server))["drops"]["security-group-inbound"] >= 2


def test_a_forged_ipv6_source_is_dropped(card, lab):
    one = lab.one["InstanceId"]
    forged = f"{lab.prefix}01::bad"
    card.exec(one, "ip", "-6", "addr", "add", f"{forged}/128", "dev", "eth0", "nodad", check=True)
    before = card.stats(eni(lab.one))["drops"].get("source-address", 0)
    assert not card.ping(one, six(lab.two), 1, 1, "-I", forged)
    assert card.stats(eni(lab.one))["drops"]["source-address"] > before
    card.exec(one, "ip", "-6", "addr", "del", f"{forged}/128", "dev", "eth0", check=True)


def test_an_assigned_address_works_until_unassigned(card, ec2, lab):
    extra = f"{lab.prefix}01::77"
    ec2.assign_ipv6_addresses(NetworkInterfaceId=eni(lab.two), Ipv6Addresses=[extra])
    one = lab.one["InstanceId"]
    eventually(lambda: card.ping(one, extra), what="assigned IPv6 address")
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=eni(lab.two), Ipv6Addresses=[extra])
    assert not card.ping(one, extra)


def test_the_internet_is_reached_both_ways(card, lab):
    one = lab.one["InstanceId"]
    eventually(lambda: card.ping(one, INTERNET), what="the internet over IPv6")
    assert card.ping("internet", six(lab.one))


def test_metadata_answers_over_ipv6_when_enabled(card, ec2, lab):
    one = lab.one["InstanceId"]
    ask = (
        "import urllib.request as u\n"
        "try: print(u.urlopen('http://[fd00:ec2::254]/latest/meta-data/instance-id',timeout=1).read().decode())\n"
        "except OSError as e: print('none')\n"
    )
    assert card.exec(one, "python3", "-c", ask, check=True).stdout.strip() == "none"
    ec2.modify_instance_metadata_options(InstanceId=one, HttpProtocolIpv6="enabled")
    assert card.exec(one, "python3", "-c", ask, check=True).stdout.strip() == one


def test_time_to_live_exceeded_comes_from_the_router(card, lab):
    """The way between subnets is EC2's implicit router: it is no hop, so a TTL of one still arrives."""
    done = card.exec(lab.one["InstanceId"], "ping", "-n", "-c1", "-W1", "-t1", lab.far["PrivateIpAddress"])
    assert done.returncode in (0, 1)
    # Either it arrives, or the sender is told; a silent loss is what may not be.
    assert done.returncode == 0 or "Time to live exceeded" in done.stdout, done.stdout


def test_a_packet_too_long_for_the_internet_is_told_its_limit(card, ec2, lab):
    one = lab.one["InstanceId"]
    allocated = ec2.allocate_address(Domain="vpc")
    association = ec2.associate_address(AllocationId=allocated["AllocationId"], NetworkInterfaceId=eni(lab.one))
    ec2.create_route(
        RouteTableId=main_table(ec2, lab.vpc), DestinationCidrBlock="0.0.0.0/0", GatewayId=lab.internet
    )
    try:
        assert card.ping(one, "203.0.113.1")
        done = card.exec(one, "ping", "-n", "-c1", "-W1", "-M", "do", "-s", "4000", "203.0.113.1")
        assert "mtu = 1500" in done.stdout + done.stderr, done.stdout + done.stderr
        route = card.exec(one, "ip", "route", "get", "203.0.113.1", check=True).stdout
        assert "mtu 1500" in route, route
        done = card.exec(one, "ping", "-6", "-n", "-c1", "-W1", "-M", "do", "-s", "4000", INTERNET)
        assert "1500" in done.stdout + done.stderr, done.stdout + done.stderr
        assert "mtu 1500" in card.exec(one, "ip", "-6", "route", "get", INTERNET, check=True).stdout
    finally:
        ec2.disassociate_address(AssociationId=association["AssociationId"])
        ec2.release_address(AllocationId=allocated["AllocationId"])


def test_a_bulk_transfer_to_the_internet_finds_the_path_mtu(card, ec2, lab):
    """A megabyte of TCP with 9001-byte interfaces towards a 1500-byte internet arrives whole."""
    one = lab.one["InstanceId"]
    receive = (
        "import socket\n"
        "s=socket.create_server(('::',5001),family=socket.AF_INET6)\nprint('up',flush=True)\n"
        "c,_=s.accept();n=0\n"
        "while (d:=c.recv(65536)): n+=len(d)\n"
        "print(n)\n"
    )
    send = (
        "import socket\n"
        f"s=socket.create_connection(('{INTERNET}',5001),3)\ns.sendall(bytes(1<<20))\ns.shutdown(1);s.recv(1)\n"
    )
    command = [card.program, "exec", "--state", str(card.state), "internet", "--", "python3", "-c", receive]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            assert receiver.stdout.readline().strip() == "up"
            card.exec(one, "python3", "-c", send, check=True)
            assert int(receiver.stdout.readline()) == 1 << 20
        finally:
            receiver.kill()
