"""An API reply comes when the card has the tables that follow from the call, and waits for little else."""

import http.client
import os
import signal
import threading
import time
import urllib.parse

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import PING, Lab, background, eni, eventually, rule

pytestmark = pytest.mark.usefixtures("namespaces")

# How often a packet follows a reply at once. A race that is lost one time in ten is seen nearly for sure.
ROUNDS = 30
# Any longer than this and a reply waited for a card that does not answer.
AT_ONCE = 0.5

SEND = (
    "import socket,sys\n"
    "to=(sys.argv[1],int(sys.argv[2]))\n"
    "print('up',flush=True)\n"
    "for number,line in enumerate(sys.stdin):\n"
    # A port that no other one had: nothing tracked lets the packet in. The kernel's choice repeats now and then.
    " s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('',20000+number))\n"
    " s.settimeout(float(line));s.sendto(b'x',to)\n"
    " try: s.recv(9);print('answered',flush=True)\n"
    " except TimeoutError: print('silent',flush=True)\n"
)
ECHO = (
    "import socket,sys\n"
    "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('0.0.0.0',int(sys.argv[1])))\n"
    "print('up',flush=True)\n"
    "while True:\n d,a=s.recvfrom(9);s.sendto(d,a)\n"
)
PORT = 7007
CIDR = "10.150.1.0/24"


class Wire:
    """Signed calls made ahead of time, on one open connection: nothing but the reply's bytes is waited for."""

    def __init__(self, card):
        self.host = f"127.0.0.1:{card.port}"
        self.connection = http.client.HTTPConnection(self.host)

    def prepare(self, action, **parameters):
        body = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **parameters})
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        request = AWSRequest("POST", f"http://{self.host}/", headers=headers, data=body)
        SigV4Auth(Credentials("test", "test"), "ec2", "us-east-1").add_auth(request)
        return body, dict(request.headers)

    def call(self, prepared):
        body, headers = prepared
        self.connection.request("POST", "/", body, headers)
        response = self.connection.getresponse()
        return response.status, response.read()


def udp_rule(group):
    return {
        "GroupId": group,
        "IpPermissions.1.IpProtocol": "udp",
        "IpPermissions.1.FromPort": PORT,
        "IpPermissions.1.ToPort": PORT,
        "IpPermissions.1.IpRanges.1.CidrIp": CIDR,
    }


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.150.0.0/16")
    built.net = built.subnet(CIDR)
    built.open = built.group("open", PING)
    built.client = built.instance(built.net, [built.open])
    return built


def test_a_packet_right_after_a_reply_meets_the_new_rules(card, ec2, lab):
    group = lab.group("at-once")
    server = lab.instance(lab.net, [group])
    wire = Wire(card)
    calls = [
        (wire.prepare("AuthorizeSecurityGroupIngress", **udp_rule(group)), "answered", 5),
        (wire.prepare("RevokeSecurityGroupIngress", **udp_rule(group)), "silent", 0.1),
    ]
    with background(card, server["InstanceId"], "python3", "-uc", ECHO, str(PORT)) as echo:
        assert echo.stdout.readline() == "up\n"
        sender = [lab.client["InstanceId"], "python3", "-uc", SEND, server["PrivateIpAddress"], str(PORT)]
        with background(card, *sender) as client:
            assert client.stdout.readline() == "up\n"
            for number in range(ROUNDS):
                for prepared, expected, wait in calls:
                    status, body = wire.call(prepared)
                    client.stdin.write(f"{wait}\n")
                    client.stdin.flush()
                    assert status == 200, body
                    assert client.stdout.readline().strip() == expected, f"round {number}"
    assert card.stats(eni(server))["drops"]["security-group-inbound"] == ROUNDS
    assert card.json("status")["late_replies"] == 0


@pytest.fixture
def held_card(card):
    """The card's process, stopped by the block that asks for it; it goes on at the end in any case."""
    pid = card.json("ls")["card"]["pid"]
    yield lambda: os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)


def timed(call):
    began = time.monotonic()
    call()
    return time.monotonic() - began


def test_a_reply_waits_for_the_card_while_others_are_answered(card, ec2, lab, held_card):
    group = lab.group("held")
    other = card.client()
    late = card.json("status")["late_replies"]
    pid = card.json("ls")["card"]["pid"]
    held_card()
    caller = threading.Thread(
        target=ec2.authorize_security_group_ingress, kwargs={"GroupId": group, "IpPermissions": [PING]}
    )
    caller.start()
    # Seen by others as soon as it is stored; what changes no tables waits for nothing.
    eventually(
        lambda: other.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"],
        timeout=AT_ONCE, what="the rule in the state",
    )
    assert timed(lambda: other.create_tags(Resources=[group], Tags=[{"Key": "k", "Value": "v"}])) < AT_ONCE
    assert caller.is_alive(), "the reply came before the card had the rule"
    os.kill(pid, signal.SIGCONT)
    caller.join(AT_ONCE)
    assert not caller.is_alive()
    assert card.json("status")["late_replies"] == late


def test_a_card_that_hangs_holds_up_one_reply(card, ec2, lab, held_card):
    group = lab.group("hung")
    late = card.json("status")["late_replies"]
    pid = card.json("ls")["card"]["pid"]
    held_card()
    first = timed(lambda: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[PING]))
    assert 1 <= first < 2
    assert timed(lambda: ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[PING])) < AT_ONCE
    assert card.json("status")["late_replies"] == late + 2
    assert f"{late + 2} API replies" in card.run("status").stdout
    assert "replies go out before it has them" in card.tail()
    os.kill(pid, signal.SIGCONT)

    def in_time():
        before = card.json("status")["late_replies"]
        group = lab.group(f"again-{time.monotonic_ns()}")
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[PING])
        return card.json("status")["late_replies"] == before

    eventually(in_time, what="a card that is waited for again")


def test_a_card_that_is_down_holds_up_no_reply(card, ec2, lab):
    """It gets the rule with the snapshot that its successor begins with."""
    group = lab.group("down")
    server = lab.instance(lab.net, [group])
    late = card.json("status")["late_replies"]
    pid = card.json("ls")["card"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert timed(lambda: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[PING])) < AT_ONCE
    eventually(lambda: card.json("ls")["card"].get("pid") not in (None, pid), what="another card")
    client = lab.client["InstanceId"]
    eventually(lambda: card.exec(client, "true").returncode == 0, what="the client adopted")
    eventually(lambda: card.ping(client, server["PrivateIpAddress"]), what="the rule")
    assert card.json("status")["late_replies"] == late
