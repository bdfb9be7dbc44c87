"""The same card for an ordinary user, and on the user-space stack where namespaces are not to be had."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import PING, Card, Lab, backend_of, eni, eventually, rule

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


class UserCard(Card):
    """A card that an ordinary user starts and asks."""

    def __init__(self, program, home):
        super().__init__(program, home / "state", [])
        self.home = home
        self.environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "TRINIC_STATE": str(self.state)}

    def start(self):
        self.process = subprocess.Popen(
            [*NOBODY, self.program, "up", "--listen", f"127.0.0.1:{self.port}"],
            stdout=subprocess.PIPE, stderr=self.log, env=self.environment, cwd="/",
        )
        line = self.process.stdout.readline().decode()
        assert "ready" in line, f"no ready line but {line!r}; log: {self.tail()}"
        return self

    def run(self, *arguments, check=True, timeout=30, **more):
        done = subprocess.run(
            [*NOBODY, self.program, *arguments], env=self.environment, cwd="/", capture_output=True, text=True,
            timeout=timeout, **more,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.tail()}"
        return done


@pytest.fixture(scope="module")
def user_card(program):
    if os.geteuid() != 0:
        pytest.skip("this user is already an ordinary one: the other tests show it")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    # The folder's name is short because the state's sockets lie below it.
    home = pathlib.Path(tempfile.mkdtemp(prefix="tn", dir="/tmp"))
    os.chmod(home, 0o777)
    own = UserCard(shutil.copy(program, home / "trinic"), home).start()
    if eventually(lambda: backend_of(own), what="card report") != "namespace":
        own.stop()
        shutil.rmtree(home)
        pytest.skip("an ordinary user gets no namespaces here")
    yield own
    own.stop()
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def user_lab(user_card):
    lab = Lab(user_card, user_card.client(), "10.110.0.0/16")
    net = lab.subnet("10.110.1.0/24")
    lab.closed = lab.group("closed")
    lab.one = lab.instance(net, [lab.closed])
    lab.two = lab.instance(net, [lab.closed])
    return lab


def test_an_ordinary_user_has_the_same_groups(user_card, user_lab):
    one, two = user_lab.one["InstanceId"], user_lab.two
    assert not user_card.ping(one, two["PrivateIpAddress"])
    assert user_card.stats(eni(two))["drops"]["security-group-inbound"] >= 1
    user_lab.ec2.authorize_security_group_ingress(GroupId=user_lab.closed, IpPermissions=[PING])
    assert user_card.ping(one, two["PrivateIpAddress"])
    done = user_card.run("exec", one, "--", "sh", "-c", "id -u; cat; exit 5", check=False, input="x\n")
    assert (done.returncode, done.stdout) == (5, "0\nx\n")
    metadata = "import urllib.request as u;print(u.urlopen('http://169.254.169.254/latest/meta-data/instance-id').read())"
    assert one in user_card.exec(one, "python3", "-c", metadata, check=True).stdout


def test_an_ordinary_user_is_told_how_to_open_a_closed_tun(user_card):
    """`up` says it as it starts; `status` whenever one asks."""
    if os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
        pytest.skip("/dev/net/tun is open to everybody here")
    assert "`chmod 0666 /dev/net/tun`" in user_card.tail(), user_card.tail()
    assert "`chmod 0666 /dev/net/tun`" in user_card.run("status").stdout


def test_an_ordinary_users_killed_card_adopts(user_card, user_lab):
    one = user_lab.one["InstanceId"]
    user_lab.ec2.modify_instance_metadata_options(InstanceId=one, HttpTokens="optional")
    user_card.exec(one, "touch", "/tmp/still-here", check=True)
    pid = user_card.json("ls")["card"]["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: (card := user_card.json("ls")["card"]).get("pid") not in (None, pid) and card, what="another card"
    )
    eventually(lambda: user_lab.describe(one)["State"]["Name"] == "running", what="running")
    eventually(lambda: user_card.exec(one, "test", "-e", "/tmp/still-here").returncode == 0, what="adopted instance")
    group = user_lab.closed
    found = user_lab.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    if not found:
        user_lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[PING])
    eventually(lambda: user_card.ping(one, user_lab.two["PrivateIpAddress"]), what="ping after adoption")


def test_an_ordinary_users_down_leaves_no_process(user_card, user_lab):
    user_card.run("down")
    user_card.process.wait(15)
    left = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            program = os.readlink(entry / "exe")
        except OSError:
            continue
        if str(user_card.home) in line or program.startswith(str(user_card.home)):
            left.append(line)
    assert left == []


# ---- the user-space stack


@pytest.fixture(scope="module")
def plain_card(program, tmp_path_factory):
    before = os.environ.get("TRINIC_BACKEND")
    os.environ["TRINIC_BACKEND"] = "user-space"
    try:
        own = Card(program, tmp_path_factory.mktemp("plain") / "state", ["--ephemeral"]).start()
    finally:
        os.environ.pop("TRINIC_BACKEND")
        if before is not None:
            os.environ["TRINIC_BACKEND"] = before
    yield own
    own.stop()


def test_the_user_space_stack_has_the_same_groups(plain_card):
    assert eventually(lambda: backend_of(plain_card), what="card report") == "user-space"
    assert "user-space" in plain_card.run("ls").stdout
    ec2 = plain_card.client()
    lab = Lab(plain_card, ec2, "10.120.0.0/16")
    net = lab.subnet("10.120.1.0/24")
    group = lab.group("closed")
    one, two = lab.instance(net, [group]), lab.instance(net, [group])

    def ping():
        return plain_card.json("probe", one["InstanceId"], "ping", two["PrivateIpAddress"], "3", "20")

    assert ping()["received"] == 0
    assert plain_card.stats(eni(two))["drops"]["security-group-inbound"] >= 3
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[PING, rule("tcp", 80, cidr="10.120.0.0/16")])
    assert ping()["received"] == 3
    found = plain_card.run("probe", one["InstanceId"], "tcp-connect", two["PrivateIpAddress"], "80", "500").stdout
    assert "refused" in found, found
    done = plain_card.exec(one["InstanceId"], "true")
    assert done.returncode == 125
    assert "user-space" in done.stderr and "trinic probe" in done.stderr
    # Whatever is shown of an instance says what it is.
    for words in (
        ("status",), ("ls",), ("stats",), ("stats", eni(one)), ("console", one["InstanceId"]),
        ("trace", eni(one), "--to", two["PrivateIpAddress"]), ("probe", one["InstanceId"], "ping", two["PrivateIpAddress"], "1", "10"),
    ):
        said = plain_card.run(*words)
        assert "user-space" in (said.stdout + said.stderr).replace("UserSpace", "user-space"), words


def test_the_user_space_stack_refuses_user_data(plain_card):
    ec2 = plain_card.client()
    made = ec2.run_instances(
        ImageId="ami-0abcdef1234567890", InstanceType="t3.micro", MinCount=1, MaxCount=1, UserData="#!/bin/sh\ntrue\n"
    )["Instances"][0]["InstanceId"]

    def shown():
        return ec2.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]

    eventually(lambda: shown()["State"]["Name"] in ("terminated", "stopped"), what="an end")
    assert "User data needs a namespace" in shown()["StateReason"]["Message"], shown()["StateReason"]
