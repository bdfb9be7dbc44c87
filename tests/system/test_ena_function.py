"""An interface that is an ENA inside a namespace instance: a socket, a user-mode driver, the same security groups."""

import json
import os
import pathlib
import select
import subprocess
import time

import pytest
from conftest import ROOT, Lab, eni, eventually, rule
from test_backends import user_card  # noqa: F401  (a fixture)

PORT = 5000
SMALL = 46


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request):
    """Two instances with an ENA each, of the card of this user and of an ordinary user's."""
    if request.param == "user":
        card = request.getfixturevalue("user_card")
        ec2 = card.client()
    else:
        request.getfixturevalue("namespaces")
        card = request.getfixturevalue("card")
        ec2 = request.getfixturevalue("ec2")
    made = Lab(card, ec2, "10.0.0.0/16")
    made.net = made.subnet("10.0.1.0/24")
    made.sg = made.group("frames")
    made.one, made.two = made.instance(made.net, [made.sg]), made.instance(made.net, [made.sg])
    made.near, made.far = Function(made, made.one), Function(made, made.two)
    return made


class Function:
    """An interface attached as an ENA."""

    def __init__(self, lab, instance, value="ena"):
        self.lab, self.instance = lab, instance["InstanceId"]
        made = lab.ec2.create_network_interface(
            SubnetId=lab.net, Groups=[lab.sg],
            TagSpecifications=[
                {"ResourceType": "network-interface", "Tags": [{"Key": "trinic:function", "Value": value}]}
            ],
        )["NetworkInterface"]
        self.id, self.address = made["NetworkInterfaceId"], made["PrivateIpAddress"]
        self.attach()

    def attach(self):
        self.attachment = self.lab.ec2.attach_network_interface(
            NetworkInterfaceId=self.id, InstanceId=self.instance, DeviceIndex=1
        )["AttachmentId"]

    def detach(self):
        self.lab.ec2.detach_network_interface(AttachmentId=self.attachment)
        eventually(lambda: self.status() == "available", what=f"{self.id} available")

    def shown(self):
        return self.lab.ec2.describe_network_interfaces(NetworkInterfaceIds=[self.id])["NetworkInterfaces"][0]

    def status(self):
        return self.shown()["Status"]

    def has_socket(self):
        return self.lab.card.exec(self.instance, "test", "-S", f"/run/trinic/{self.id}.sock").returncode == 0

    def card(self):
        found = self.lab.card.json("card", self.id)
        return found[0]

    def probe(self, program, *arguments):
        return self.lab.card.json("probe", self.instance, program, self.id, *map(str, arguments))


def started(card, instance, program, *arguments):
    """A program that runs on its own; its report is read by `finished`."""
    return subprocess.Popen(
        [*getattr(card, "prefix", []), card.program, "probe", "--state", str(card.state), "--output", "json",
         instance, program, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True,
    )


def finished(process):
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return json.loads(out)


def running(function):
    return (function.card()["device"] or {}).get("driver") == "running"


def test_it_is_a_socket_and_no_device(lab):
    eventually(lab.near.has_socket, what="socket")
    eventually(lab.far.has_socket, what="socket")
    devices = lab.card.exec(lab.near.instance, "ls", "/sys/class/net", check=True).stdout.split()
    links = lab.card.exec(lab.near.instance, "cat", "/proc/net/dev", check=True).stdout
    assert "eth0" in links and "eth1" not in links, devices
    listed = {one["interface"]: one["kind"] for one in lab.card.json("card")}
    assert listed[lab.near.id] == "ena"
    assert listed[eni(lab.one)] == "tap"


def test_packets_pass_where_a_group_lets_them(lab):
    near, far = lab.near, lab.far
    sent = near.probe("frames-flood", near.address, far.address, PORT, 20, SMALL, 4)["sent"]
    assert sent > 0
    assert lab.card.stats(far.id)["drops"]["security-group-inbound"] == sent
    lab.ec2.authorize_security_group_ingress(
        GroupId=lab.sg, IpPermissions=[rule("udp", PORT, PORT + 7, cidr="10.0.1.0/24")]
    )
    sink = started(lab.card, far.instance, "frames-sink", far.id, PORT, 500, SMALL)
    eventually(lambda: running(far), what="the far driver")
    shown = far.card()["device"]
    assert (len(shown["tx_queues"]), len(shown["rx_queues"])) == (1, 1)
    assert "1 tx, 1 rx" in lab.card.run("card").stdout
    sent = near.probe("frames-flood", near.address, far.address, PORT, 100, SMALL, 256)["sent"]
    got = finished(sink)
    lost = lab.card.stats(far.id)["drops"].get("receiver-queue-full", 0)
    assert 0 < got["received"] <= sent
    # Every frame was received or is in the counter.
    assert got["received"] + lost >= sent
    assert lab.card.stats(far.id)["drops"]["security-group-inbound"] > 0


@pytest.mark.parametrize("way", ["poll", "wait"])
def test_round_trips(lab, way):
    near, far = lab.near, lab.far
    echo = started(lab.card, far.instance, "frames-echo", far.id, PORT, 1500, way)
    eventually(lambda: running(far), what="the far driver")
    got = near.probe("frames-rtt", near.address, far.address, PORT, 200, 20_000, way)
    assert (got["count"], got["lost"]) == (200, 0)
    assert got["p50_us"] > 0
    assert finished(echo)["echoed"] == 200


def test_an_ena_and_a_tap_meet(lab):
    """The echo is a socket of the far kernel, the sender a driver in user space."""
    near = lab.near
    echo = started(lab.card, lab.two["InstanceId"], "frames-echo", "eth0", PORT, 1500, "wait")
    eventually(
        lambda: near.probe("frames-rtt", near.address, lab.two["PrivateIpAddress"], PORT, 3, 2000, "wait")["count"] == 3,
        what="an answer",
    )
    assert finished(echo)["echoed"] >= 3


def test_a_killed_program_frees_the_function(lab):
    near = lab.near
    holder = started(lab.card, near.instance, "frames-echo", near.id, PORT, 60_000, "poll")
    eventually(lambda: running(near), what="the driver")
    second = lab.card.run("probe", near.instance, "frames-echo", near.id, str(PORT), "1", "poll", check=False)
    assert second.returncode != 0, "a function has one driver at a time"
    lab.card.exec(near.instance, "sh", "-c", "kill -9 $(grep -l frames-echo /proc/[0-9]*/cmdline | cut -d/ -f3 | grep -v $$)")
    holder.wait(10)
    eventually(lambda: not near.card()["is_connected"], what="disconnected")
    assert near.probe("frames-echo", PORT, 1, "poll") == {"echoed": 0}


def test_detach_takes_the_socket_away(lab):
    near = lab.near
    near.detach()
    assert not near.has_socket()
    assert near.id not in {one["interface"] for one in lab.card.json("card")}
    near.attach()
    eventually(near.has_socket, what="socket")
    assert near.probe("frames-echo", PORT, 1, "poll") == {"echoed": 0}


def test_a_wrong_tag_says_so(lab):
    other = lab.instance(lab.net, [lab.sg])
    wrong = Function(lab, other, "efa2")
    said = eventually(lambda: lab.card.json("ls")["problems"].get(wrong.id), what="the error")
    assert "trinic:function" in said and "'efa2'" in said.replace('"', "'") and "tap or ena" in said
    assert not wrong.has_socket()


EXAMPLE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples" / "answer_pings"


def test_a_packet_program_of_ones_own(lab):
    """The example of docs/devices.md, as a user starts it: the kernel's ping of one instance, answered without a kernel."""
    subprocess.run(
        ["cargo", "build", "--quiet", "--package", "trinic-host", "--example", EXAMPLE.name], cwd=ROOT, check=True
    )
    lab.ec2.authorize_security_group_ingress(GroupId=lab.sg, IpPermissions=[rule("icmp", 8, -1, cidr="10.0.1.0/24")])
    program = subprocess.Popen(
        [*getattr(lab.card, "prefix", []), lab.card.program, "exec", "--state", str(lab.card.state), lab.far.instance,
         "--", str(EXAMPLE), f"/run/trinic/{lab.far.id}.sock", "3"],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        assert program.stdout.readline() == "ready\n"
        said = lab.card.exec(
            lab.near.instance, "ping", "-n", "-c", "3", "-i", "0.2", "-s", "1400", "-W", "20", lab.far.address, check=True
        ).stdout
        assert "3 received" in said, said
        # ping checks each byte and checksum of what comes back.
        assert "wrong" not in said and "DUP" not in said
        assert program.communicate(timeout=20)[0] == "answered 3\n"
        assert program.returncode == 0
    finally:
        program.kill()


def test_a_trace_is_followed(lab):
    """What a driver does shows while it does it, in a process that goes on."""
    follow = subprocess.Popen(
        [*getattr(lab.card, "prefix", []), lab.card.program, "trace", "--state", str(lab.card.state), lab.near.id, "--follow"],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        # Once the trace is on, a driver that starts and goes is in it.
        assert select.select([follow.stdout], [], [], 20)[0] or follow.poll() is None
        time.sleep(0.5)
        lab.near.probe("frames-flood", lab.near.address, lab.far.address, PORT, 20, SMALL, 1)
        seen, end = "", time.monotonic() + 20
        while "DEV_CTL" not in seen:
            assert time.monotonic() < end and follow.poll() is None, seen
            if select.select([follow.stdout], [], [], 0.2)[0]:
                seen += os.read(follow.stdout.fileno(), 65536).decode()
    finally:
        follow.terminate()
        follow.wait()
