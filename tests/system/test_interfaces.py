"""Interfaces: spoofing, source/dest check, secondary addresses, moves, Elastic IPs, overlapping VPCs."""


import pytest
from conftest import PING, Lab, eni, eventually, rule

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.30.0.0/16")
    built.net = built.subnet("10.30.1.0/24")
    built.open = built.group("open", PING, rule("tcp", 0, 65535), rule("udp", 0, 65535))
    built.one = built.instance(built.net, [built.open], "10.30.1.10")
    built.two = built.instance(built.net, [built.open], "10.30.1.20")
    return built


def test_a_forged_source_address_is_dropped(card, lab):
    one = lab.one["InstanceId"]
    card.exec(one, "ip", "addr", "add", "10.30.1.99/32", "dev", "eth0", check=True)
    before = card.stats(eni(lab.one))["drops"].get("source-address", 0)
    assert not card.ping(one, "10.30.1.20", 1, 1, "-I", "10.30.1.99")
    assert card.stats(eni(lab.one))["drops"]["source-address"] > before
    card.exec(one, "ip", "addr", "del", "10.30.1.99/32", "dev", "eth0", check=True)


def test_a_router_needs_its_check_off(card, ec2, lab):
    """one -> router -> far, by a route in one's table that leads to the router's interface."""
    far_net = lab.subnet("10.30.3.0/24")
    router = lab.instance(lab.net, [lab.open], "10.30.1.30")
    table = ec2.create_route_table(VpcId=lab.vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.77.0/24", NetworkInterfaceId=eni(router))
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=lab.net)["AssociationId"]
    # The router owns the far address on a private link of its own (loopback).
    card.exec(router["InstanceId"], "ip", "addr", "add", "192.168.77.1/32", "dev", "lo", check=True)
    one = lab.one["InstanceId"]
    assert not card.ping(one, "192.168.77.1")
    assert card.stats(eni(router))["drops"]["destination-check"] >= 1
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(router), SourceDestCheck={"Value": False})
    assert card.ping(one, "192.168.77.1")
    ec2.disassociate_route_table(AssociationId=association)
    assert far_net


def test_a_secondary_address_answers_and_moves(card, ec2, lab):
    address = "10.30.1.50"
    ec2.assign_private_ip_addresses(NetworkInterfaceId=eni(lab.one), PrivateIpAddresses=[address])
    eventually(lambda: card.ping(lab.two["InstanceId"], address), what="secondary address answers")
    ec2.assign_private_ip_addresses(
        NetworkInterfaceId=eni(lab.two), PrivateIpAddresses=[address], AllowReassignment=True
    )
    third = lab.instance(lab.net, [lab.open])
    eventually(lambda: card.ping(third["InstanceId"], address), what="reassigned address answers")
    # It is the other instance that answers now.
    before = [card.stats(eni(one))["packets_in"] for one in (lab.one, lab.two)]
    assert card.ping(third["InstanceId"], address, 5)
    came = [card.stats(eni(one))["packets_in"] - count for one, count in zip((lab.one, lab.two), before)]
    assert came[0] == 0 and came[1] >= 1, came
    shown = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni(lab.two)])["NetworkInterfaces"][0]
    assert address in [a["PrivateIpAddress"] for a in shown["PrivateIpAddresses"]]
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni(lab.two), PrivateIpAddresses=[address])
    assert not card.ping(third["InstanceId"], address)


def test_an_interface_moves_between_running_instances(card, ec2, lab):
    extra = ec2.create_network_interface(
        SubnetId=lab.net, Groups=[lab.open], PrivateIpAddress="10.30.1.60", Description="moves"
    )["NetworkInterface"]
    mac = extra["MacAddress"]
    third = lab.instance(lab.net, [lab.open])
    for holder in (lab.one, lab.two):
        attachment = ec2.attach_network_interface(
            NetworkInterfaceId=extra["NetworkInterfaceId"], InstanceId=holder["InstanceId"], DeviceIndex=1
        )["AttachmentId"]
        eventually(lambda: card.ping(third["InstanceId"], "10.30.1.60"), what="moved interface answers")
        assert mac in card.exec(holder["InstanceId"], "cat", "/sys/class/net/eth1/address").stdout
        ec2.detach_network_interface(AttachmentId=attachment)
        eventually(
            lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[extra["NetworkInterfaceId"]])[
                "NetworkInterfaces"
            ][0]["Status"]
            == "available",
            what="detached",
        )
        assert not card.ping(third["InstanceId"], "10.30.1.60")
    ec2.delete_network_interface(NetworkInterfaceId=extra["NetworkInterfaceId"])


def test_an_elastic_ip_is_reached_from_the_internet(card, ec2, lab):
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=lab.vpc)
    main = ec2.describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [lab.vpc]}, {"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=main, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    one = lab.one["InstanceId"]
    assert not card.ping(one, "203.0.113.1")
    assert card.stats(eni(lab.one))["drops"]["no-public-address"] >= 1
    allocated = ec2.allocate_address(Domain="vpc")
    association = ec2.associate_address(AllocationId=allocated["AllocationId"], NetworkInterfaceId=eni(lab.one))
    assert card.ping(one, "203.0.113.1")
    assert card.ping("internet", allocated["PublicIp"])
    ec2.disassociate_address(AssociationId=association["AssociationId"])
    assert not card.ping("internet", allocated["PublicIp"])
    ec2.release_address(AllocationId=allocated["AllocationId"])


def test_vpcs_with_one_cidr_never_meet(card, ec2, lab):
    other = Lab(card, ec2, "10.30.0.0/16")
    net = other.subnet("10.30.1.0/24")
    group = other.group("open", PING)
    twin = other.instance(net, [group], "10.30.1.10")
    lonely = other.instance(net, [group], "10.30.1.11")
    assert card.ping(lonely["InstanceId"], "10.30.1.10")
    # 10.30.1.20 lives in the first VPC only, 10.30.1.11 in the second only.
    for sender, address in ((lonely, "10.30.1.20"), (lab.one, "10.30.1.11")):
        before = card.stats(eni(sender))["drops"]
        assert not card.ping(sender["InstanceId"], address)
        after = card.stats(eni(sender))["drops"]
        moved = {reason for reason, count in after.items() if count > before.get(reason, 0)}
        # Multicast is what the kernel of the instance sends of its own.
        assert moved - {"multicast"} == {"no-such-neighbor"}, moved
    assert twin["VpcId"] != lab.vpc


def test_jumbo_frames_inside(card, lab):
    assert card.ping(lab.one["InstanceId"], "10.30.1.20", 1, 1, "-M", "do", "-s", "8973")
    done = card.exec(lab.one["InstanceId"], "ping", "-c1", "-W1", "-M", "do", "-s", "8974", "10.30.1.20")
    assert done.returncode != 0


def test_terminate_leaves_nothing(card, ec2, lab):
    gone = lab.instance(lab.net, [lab.open])
    ec2.terminate_instances(InstanceIds=[gone["InstanceId"]])
    eventually(lambda: lab.describe(gone["InstanceId"])["State"]["Name"] == "terminated", what="terminated")
    assert not card.ping(lab.one["InstanceId"], gone["PrivateIpAddress"])
    found = ec2.describe_network_interfaces(
        Filters=[{"Name": "network-interface-id", "Values": [eni(gone)]}]
    )["NetworkInterfaces"]
    assert found == []
