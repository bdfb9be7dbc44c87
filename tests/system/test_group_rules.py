"""Rules as objects, and as packets meet their changes: ids, references, egress, tracked and untracked flows."""

import pytest
from botocore.exceptions import ClientError
from conftest import PING, Lab, background, eni, eventually, rule, serve_tcp, tcp

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.80.0.0/16")
    built.net = built.subnet("10.80.1.0/24")
    built.open = built.group("open", PING)
    built.client = built.instance(built.net, [built.open])
    return built


def default_group(ec2, vpc):
    return ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]["GroupId"]


def rules(ec2, group, egress=False):
    found = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
    return [r for r in found["SecurityGroupRules"] if r["IsEgress"] == egress]


def test_a_rule_is_revoked_by_its_id(card, ec2, lab):
    group = lab.group("by-id", PING, rule("tcp", 80))
    server = lab.instance(lab.net, [group])
    assert card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])
    icmp = [r["SecurityGroupRuleId"] for r in rules(ec2, group) if r["IpProtocol"] == "icmp"]
    assert len(icmp) == 1 and icmp[0].startswith("sgr-")
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=icmp)
    assert [r["IpProtocol"] for r in rules(ec2, group)] == ["tcp"]
    # A new ping is a new connection: nothing tracked lets it in.
    assert not card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])


def test_a_rule_is_modified_in_place(card, ec2, lab):
    group = lab.group("modified", rule("tcp", 80, cidr="10.80.1.0/24"))
    server = lab.instance(lab.net, [group])
    client, address = lab.client["InstanceId"], server["PrivateIpAddress"]
    assert tcp(card, client, address, 80) == "refused"
    found = rules(ec2, group)[0]["SecurityGroupRuleId"]
    ec2.modify_security_group_rules(
        GroupId=group,
        SecurityGroupRules=[
            {
                "SecurityGroupRuleId": found,
                "SecurityGroupRule": {
                    "IpProtocol": "tcp", "FromPort": 81, "ToPort": 82, "CidrIpv4": "10.80.0.0/16", "Description": "new",
                },
            }
        ],
    )
    shown = rules(ec2, group)
    assert [(r["SecurityGroupRuleId"], r["FromPort"], r["Description"]) for r in shown] == [(found, 81, "new")]
    assert tcp(card, client, address, 82) == "refused"
    assert tcp(card, client, address, 80) == "silent"


def test_the_default_group_can_be_referred_to(card, ec2, lab):
    default = default_group(ec2, lab.vpc)
    group = lab.group("lets-default-in", rule("icmp", -1, group=default))
    server = lab.instance(lab.net, [group])
    member = lab.instance(lab.net, [default])
    assert card.ping(member["InstanceId"], server["PrivateIpAddress"])
    assert not card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=lab.open)


def test_egress_rules_choose_the_destination(card, ec2, lab):
    group = lab.group("narrow-egress", PING)
    first = lab.instance(lab.net, [lab.open])
    second = lab.instance(lab.net, [lab.open])
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[rule("-1")])
    ec2.authorize_security_group_egress(
        GroupId=group, IpPermissions=[rule("icmp", -1, cidr=f"{first['PrivateIpAddress']}/32")]
    )
    sender = lab.instance(lab.net, [group])
    assert card.ping(sender["InstanceId"], first["PrivateIpAddress"])
    assert not card.ping(sender["InstanceId"], second["PrivateIpAddress"])
    assert card.stats(eni(sender))["drops"]["security-group-outbound"] >= 1
    assert [r["CidrIpv4"] for r in rules(ec2, group, egress=True)] == [f"{first['PrivateIpAddress']}/32"]


def test_icmp_types_are_told_apart(card, ec2, lab):
    echo = {"IpProtocol": "icmp", "FromPort": 8, "ToPort": 0, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    timestamp = {"IpProtocol": "icmp", "FromPort": 13, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    group = lab.group("types", timestamp)
    server = lab.instance(lab.net, [group])
    assert not card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[echo])
    assert card.ping(lab.client["InstanceId"], server["PrivateIpAddress"])


TALK = (
    "import socket,sys\n"
    "s=socket.create_connection((sys.argv[1],int(sys.argv[2])),2)\n"
    "s.settimeout(0.7)\n"
    "for line in sys.stdin:\n"
    " try: s.sendall(line.encode());print(s.recv(100).decode().strip(),flush=True)\n"
    " except TimeoutError: print('cut',flush=True)\n"
)


def talk(process, word):
    process.stdin.write(word + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_an_untracked_flow_is_cut_with_its_rule(card, ec2, lab):
    """A port open to 0.0.0.0/0 with everything allowed out is not tracked: its flows end with the rule."""
    everyone = rule("tcp", 9001)
    narrow = rule("tcp", 9002, cidr="10.80.1.0/24")
    group = lab.group("untracked", everyone, narrow)
    server = lab.instance(lab.net, [group])
    client, address = lab.client["InstanceId"], server["PrivateIpAddress"]
    with serve_tcp(card, server["InstanceId"], 9001), serve_tcp(card, server["InstanceId"], 9002):
        with background(card, client, "python3", "-uc", TALK, address, "9001") as untracked:
            with background(card, client, "python3", "-uc", TALK, address, "9002") as tracked:
                assert talk(untracked, "one") == "one"
                assert talk(tracked, "one") == "one"
                # Nothing may be under way: what the server sends again after the change is a packet that its
                # egress rule allows, and opens a tracked connection of its own.
                quiet = "ss -Htn | awk '{n+=$2+$3} END {exit n>0}'"
                eventually(
                    lambda: card.exec(server["InstanceId"], "sh", "-c", quiet).returncode == 0, what="all acknowledged"
                )
                ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[everyone, narrow])
                assert tcp(card, client, address, 9001) == "silent"
                assert talk(untracked, "two") == "cut"
                assert talk(tracked, "two") == "two"
    assert card.stats(eni(server))["drops"]["security-group-inbound"] >= 1


def test_a_rule_works_for_who_connects_after_the_call(card, ec2, lab):
    """What a program does after the call, by the time it has started, meets the new rule."""
    group = lab.group("at-once")
    server = lab.instance(lab.net, [group])
    client, address = lab.client["InstanceId"], server["PrivateIpAddress"]
    for port in range(7000, 7010):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule("tcp", port)])
        assert tcp(card, client, address, port) == "refused"


def test_references_follow_membership_at_once(card, ec2, lab):
    members = lab.group("followed")
    group = lab.group("follows", rule("icmp", -1, group=members))
    server = lab.instance(lab.net, [group])
    guest = lab.instance(lab.net, [lab.open])
    for _ in range(3):
        assert not card.ping(guest["InstanceId"], server["PrivateIpAddress"])
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(guest), Groups=[lab.open, members])
        assert card.ping(guest["InstanceId"], server["PrivateIpAddress"])
        ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(guest), Groups=[lab.open])
