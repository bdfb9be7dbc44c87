"""Subnets and instances without IPv4: addresses, packets, names, metadata, and what they refuse."""

import ipaddress

import pytest
from botocore.exceptions import ClientError
from conftest import PING, Lab, eni, eventually, internet_gateway, main_table, rule, serve_tcp, tcp

pytestmark = pytest.mark.usefixtures("namespaces")

PING6 = rule("icmpv6", -1, cidr6="::/0")
INTERNET = "2001:db8:ffff::1"
RESOLVER, METADATA = "fd00:ec2::253", "fd00:ec2::254"


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.180.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    block = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    built.blocks = [str(net) for _, net in zip(range(3), ipaddress.ip_network(block).subnets(new_prefix=64))]
    made = ec2.create_subnet(VpcId=built.vpc, Ipv6CidrBlock=built.blocks[0], Ipv6Native=True)["Subnet"]
    assert made["Ipv6Native"] and made["AssignIpv6AddressOnCreation"] and "CidrBlock" not in made
    built.net = made["SubnetId"]
    built.dual = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.180.1.0/24", Ipv6CidrBlock=built.blocks[1]
    )["Subnet"]["SubnetId"]
    gateway = internet_gateway(ec2, built.vpc)
    ec2.create_route(RouteTableId=main_table(ec2, built.vpc), DestinationIpv6CidrBlock="::/0", GatewayId=gateway)
    built.open = built.group("open", PING, PING6)
    built.one = built.instance(built.net, [built.open], MetadataOptions={"HttpProtocolIpv6": "enabled"})
    built.two = built.instance(built.net, [built.open])
    return built


def six(instance):
    return instance["NetworkInterfaces"][0]["Ipv6Addresses"][0]["Ipv6Address"]


def test_an_instance_has_an_ipv6_address_and_no_other(card, lab):
    shown = lab.one["NetworkInterfaces"][0]
    assert "PrivateIpAddress" not in lab.one and not shown.get("PrivateIpAddresses")
    assert ipaddress.ip_address(six(lab.one)) in ipaddress.ip_network(lab.blocks[0])
    one = lab.one["InstanceId"]
    inside = card.exec(one, "ip", "-br", "addr", "show", "dev", "eth0", check=True).stdout
    assert six(lab.one) in inside
    private = [w for w in inside.split() if "." in w and not w.startswith("169.254.")]
    assert private == [], inside


def test_packets_flow_within_the_subnet_and_beyond(card, lab):
    one = lab.one["InstanceId"]
    eventually(lambda: card.ping(one, six(lab.two)), what="IPv6 within the subnet")
    dual = lab.instance(lab.dual, [lab.open], Ipv6AddressCount=1)
    eventually(lambda: card.ping(one, six(dual)), what="IPv6 to a dual-stack subnet")
    assert card.ping(dual["InstanceId"], six(lab.one))
    assert card.ping(one, INTERNET)
    assert card.ping("internet", six(lab.one))


def test_groups_judge_it(card, ec2, lab):
    permission = rule("tcp", 8080, cidr6=lab.blocks[0])
    group = lab.group("web", permission)
    server = lab.instance(lab.net, [group])
    one, address = lab.one["InstanceId"], six(server)
    with serve_tcp(card, server["InstanceId"], 8080, "::"):
        eventually(lambda: tcp(card, one, address, 8080) == "open", what="port over IPv6")
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission])
        assert tcp(card, one, address, 8080) == "silent"
    assert card.stats(eni(server))["drops"]["security-group-inbound"] >= 1


def test_metadata_and_names_come_over_ipv6(card, lab):
    one = lab.one["InstanceId"]
    read = (
        "import sys,urllib.request as u\n"
        f"print(u.urlopen('http://[{METADATA}]/latest/meta-data/'+sys.argv[1],timeout=2).read().decode())\n"
    )
    assert card.exec(one, "python3", "-c", read, "instance-id", check=True).stdout.strip() == one
    path = f"network/interfaces/macs/{lab.one['NetworkInterfaces'][0]['MacAddress']}/ipv6s"
    assert card.exec(one, "python3", "-c", read, path, check=True).stdout.strip() == six(lab.one)
    assert RESOLVER in card.exec(one, "cat", "/etc/resolv.conf", check=True).stdout
    name = lab.one["PrivateDnsName"]
    assert name, lab.one
    found = card.exec(one, "getent", "ahostsv6", name).stdout
    assert six(lab.one) in found, found


def test_what_needs_ipv4_is_refused(ec2, lab):
    with pytest.raises(ClientError, match="InvalidParameterCombination"):
        ec2.create_subnet(
            VpcId=lab.vpc, CidrBlock="10.180.9.0/24", Ipv6CidrBlock=lab.blocks[2], Ipv6Native=True
        )
    with pytest.raises(ClientError, match="MissingParameter"):
        ec2.create_subnet(VpcId=lab.vpc, Ipv6Native=True)
    with pytest.raises(ClientError) as refused:
        lab.instance(lab.net, [lab.open], "10.180.1.9")
    assert refused.value.response["Error"]["Code"].startswith("InvalidParameter"), refused.value
    with pytest.raises(ClientError) as refused:
        ec2.assign_private_ip_addresses(NetworkInterfaceId=eni(lab.one), SecondaryPrivateIpAddressCount=1)
    assert refused.value.response["Error"]["Code"].startswith("InvalidParameter"), refused.value
    allocated = ec2.allocate_address(Domain="vpc")["AllocationId"]
    with pytest.raises(ClientError) as refused:
        ec2.associate_address(AllocationId=allocated, NetworkInterfaceId=eni(lab.one))
    assert refused.value.response["Error"]["Code"].startswith("InvalidParameter"), refused.value
    ec2.release_address(AllocationId=allocated)
