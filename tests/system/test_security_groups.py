"""Security groups as packets meet them: each test names the counter that must move."""

import pytest
from conftest import PING, Lab, background, eni, rule, serve_tcp, tcp

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.20.0.0/16")
    built.net = built.subnet("10.20.1.0/24")
    built.other = built.subnet("10.20.2.0/24")
    built.open = built.group("open", PING)
    built.client = built.instance(built.net, [built.open])
    return built


def test_a_port_is_opened_and_closed_by_its_rule(card, ec2, lab):
    group = lab.group("web")
    server = lab.instance(lab.net, [group])
    address = server["PrivateIpAddress"]
    assert tcp(card, lab.client["InstanceId"], address, 8080) == "silent"
    assert card.stats(eni(server))["drops"]["security-group-inbound"] >= 1
    permission = rule("tcp", 8080, cidr="10.20.1.0/24")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert tcp(card, lab.client["InstanceId"], address, 8080) == "refused"
    assert tcp(card, lab.client["InstanceId"], address, 8081) == "silent"
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert tcp(card, lab.client["InstanceId"], address, 8080) == "silent"


def test_a_reference_lets_in_only_members_of_the_group(card, ec2, lab):
    members = lab.group("members", PING)
    group = lab.group("behind", rule("icmp", -1, group=members))
    server = lab.instance(lab.other, [group])
    member = lab.instance(lab.net, [members])
    assert card.ping(member["InstanceId"], server["PrivateIpAddress"])
    assert not card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(lab.client), Groups=[lab.open, members])
    assert card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(lab.client), Groups=[lab.open])


def test_egress_is_judged_at_the_sender(card, ec2, lab):
    group = lab.group("quiet", PING)
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[rule("-1")])
    quiet = lab.instance(lab.net, [group])
    assert not card.ping(quiet["InstanceId"], lab.client["PrivateIpAddress"])
    assert card.stats(eni(quiet))["drops"]["security-group-outbound"] >= 1
    # Answers to what was let in leave without an egress rule: groups are stateful.
    assert card.ping(lab.client["InstanceId"], quiet["PrivateIpAddress"])


def test_a_tracked_connection_outlives_its_rule(card, ec2, lab):
    permission = rule("tcp", 9000, cidr="10.20.1.0/24")
    group = lab.group("tracked", permission)
    server = lab.instance(lab.net, [group])
    talk = (
        "import socket,sys\n"
        "s=socket.create_connection((sys.argv[1],9000),2)\n"
        "for line in sys.stdin:\n s.sendall(line.encode())\n"
        " print(s.recv(100).decode().strip(),flush=True)\n"
    )
    address = server["PrivateIpAddress"]
    client = [lab.client["InstanceId"], "python3", "-uc", talk, address]
    with serve_tcp(card, server["InstanceId"], 9000), background(card, *client) as connected:

        def say(word):
            connected.stdin.write(word + "\n")
            connected.stdin.flush()
            return connected.stdout.readline().strip()

        assert say("before") == "before"
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission])
        assert say("after") == "after"
        assert tcp(card, lab.client["InstanceId"], address, 9000) == "silent"


def test_the_default_group_talks_to_itself_only(card, ec2, lab):
    default = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [lab.vpc]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]["GroupId"]
    one = lab.instance(lab.net, [default])
    two = lab.instance(lab.other, [default])
    assert card.ping(one["InstanceId"], two["PrivateIpAddress"])
    assert not card.ping(lab.client["InstanceId"], two["PrivateIpAddress"])


def test_the_drop_is_explained(card, lab):
    group = lab.group("explain", rule("tcp", 443))
    server = lab.instance(lab.net, [group])
    told = card.run(
        "trace", eni(lab.client), "--to", server["PrivateIpAddress"], "--proto", "tcp", "--port", "80"
    ).stdout
    assert "security-group-inbound" in told
    assert group in told
