"""Everything that an interface is, as DescribeNetworkInterfaces shows it, through its life."""

import pytest
from conftest import PING, Lab, eventually, internet_gateway

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.205.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    block = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    built.net = ec2.create_subnet(
        VpcId=built.vpc, CidrBlock="10.205.1.0/24", Ipv6CidrBlock=block.replace("/56", "/64")
    )["Subnet"]["SubnetId"]
    built.open = built.group("open", PING)
    internet_gateway(ec2, built.vpc)
    return built


def test_an_interface_shows_all_that_it_is(ec2, lab):
    id_ = ec2.create_network_interface(
        SubnetId=lab.net, Groups=[lab.open], Description="a card", PrivateIpAddress="10.205.1.40",
        SecondaryPrivateIpAddressCount=1, Ipv6AddressCount=1,
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "Name", "Value": "n"}]}],
    )["NetworkInterface"]["NetworkInterfaceId"]

    def shown():
        return ec2.describe_network_interfaces(NetworkInterfaceIds=[id_])["NetworkInterfaces"][0]

    first = shown()
    expected = {
        "Description": "a card", "Status": "available", "OwnerId": "000000000000", "RequesterId": "000000000000",
        "RequesterManaged": False, "InterfaceType": "interface", "SourceDestCheck": True, "SubnetId": lab.net,
        "VpcId": lab.vpc, "PrivateIpAddress": "10.205.1.40", "TagSet": [{"Key": "Name", "Value": "n"}],
        "Groups": [{"GroupId": lab.open, "GroupName": "open"}],
    }
    assert {key: first[key] for key in expected} == expected
    assert [a["Primary"] for a in first["PrivateIpAddresses"]] == [True, False]
    assert len(first["Ipv6Addresses"]) == 1 and first["MacAddress"].startswith("02:") and "Attachment" not in first

    secondary = first["PrivateIpAddresses"][1]["PrivateIpAddress"]
    addresses = [ec2.allocate_address(Domain="vpc") for _ in range(2)]
    for address, private in zip(addresses, ("10.205.1.40", secondary), strict=True):
        ec2.associate_address(
            AllocationId=address["AllocationId"], NetworkInterfaceId=id_, PrivateIpAddress=private
        )
    public = [a["Association"] for a in shown()["PrivateIpAddresses"]]
    assert [a["PublicIp"] for a in public] == [a["PublicIp"] for a in addresses]
    assert [a["AllocationId"] for a in public] == [a["AllocationId"] for a in addresses]

    holder = lab.instance(lab.net, [lab.open])
    attachment = ec2.attach_network_interface(
        NetworkInterfaceId=id_, InstanceId=holder["InstanceId"], DeviceIndex=1
    )["AttachmentId"]
    eventually(lambda: shown()["Attachment"]["Status"] == "attached", what="attached")
    at = shown()["Attachment"]
    assert shown()["Status"] == "in-use"
    assert (at["AttachmentId"], at["InstanceId"], at["InstanceOwnerId"]) == (
        attachment, holder["InstanceId"], "000000000000",
    )
    assert (at["DeviceIndex"], at["NetworkCardIndex"], at["DeleteOnTermination"]) == (1, 0, False)
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=id_, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
    )
    assert shown()["Attachment"]["DeleteOnTermination"] is True
    ec2.detach_network_interface(AttachmentId=attachment)
    eventually(lambda: shown()["Status"] == "available", what="detached")
    # What belongs to the interface stays with it.
    last = shown()
    for key in ("MacAddress", "Ipv6Addresses", "Groups", "Description", "TagSet"):
        assert last[key] == first[key], key
    assert [a["Association"]["PublicIp"] for a in last["PrivateIpAddresses"]] == [a["PublicIp"] for a in addresses]
