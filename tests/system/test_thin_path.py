"""The thinnest path: one VPC, two instances, a ping that a group drops and then lets through, by the AWS CLI."""

from conftest import eventually


def test_a_ping_is_dropped_then_let_through(card, namespaces):
    vpc = card.aws("ec2", "create-vpc", "--cidr-block", "10.10.0.0/16")["Vpc"]["VpcId"]
    subnet = card.aws("ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", "10.10.1.0/24")["Subnet"]["SubnetId"]
    group = card.aws(
        "ec2", "create-security-group", "--group-name", "web", "--description", "web", "--vpc-id", vpc
    )["GroupId"]
    reply = card.aws(
        "ec2", "run-instances", "--image-id", "ami-0abcdef1234567890", "--instance-type", "t3.micro",
        "--count", "2", "--subnet-id", subnet, "--security-group-ids", group,
    )
    ids = [instance["InstanceId"] for instance in reply["Instances"]]
    assert len(ids) == 2
    assert all(instance["State"]["Name"] == "pending" for instance in reply["Instances"])

    def described():
        found = card.aws("ec2", "describe-instances", "--instance-ids", *ids)["Reservations"][0]["Instances"]
        return found if all(i["State"]["Name"] == "running" for i in found) else None

    first, second = eventually(described, what="both running")
    target = second["NetworkInterfaces"][0]

    assert not card.ping(first["InstanceId"], second["PrivateIpAddress"])
    drops = card.stats(target["NetworkInterfaceId"])["drops"]
    assert drops["security-group-inbound"] >= 1

    card.aws(
        "ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "icmp", "--port", "-1",
        "--cidr", "10.10.0.0/16",
    )
    assert card.ping(first["InstanceId"], second["PrivateIpAddress"])


def test_an_unknown_action_says_so(card):
    done = card.aws("ec2", "create-vpn-gateway", "--type", "ipsec.1", check=False)
    assert done.returncode != 0
    assert "CreateVpnGateway" in done.stderr
