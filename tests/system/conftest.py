"""Fixtures of the whole-system tests: a card of its own for a test module, and stock AWS clients for it.

The tests drive the built `trinic` binary through boto3 and the AWS CLI exactly as a user would, and judge
what packets do from inside the instances (`trinic exec`). TRINIC_BIN names the binary; else the debug or
release build of this checkout is used, made if it is missing.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import boto3
import pytest
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary() -> str:
    """The trinic binary under test, built when no variable names one."""
    if "TRINIC_BIN" in os.environ:
        return os.environ["TRINIC_BIN"]
    subprocess.run(["cargo", "build", "--quiet", "--package", "trinic"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "debug" / "trinic")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check, timeout=10.0, every=0.02, what="condition"):
    """Calls `check` until it returns something true; returns that, or fails after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {timeout} s")
        time.sleep(every)


class Card:
    """One running card: `trinic up` on a state folder of its own."""

    def __init__(self, program: str, state: pathlib.Path, arguments=()):
        self.program, self.state, self.arguments = program, state, list(arguments)
        self.port = free_port()
        self.process = None
        self.log = open(state.parent / f"{state.name}.log", "ab")

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "up", "--state", str(self.state), "--listen", f"127.0.0.1:{self.port}", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "TRINIC_LOG": os.environ.get("TRINIC_LOG", "info")},
        )
        line = self.process.stdout.readline().decode()
        assert "ready" in line, f"no ready line but {line!r}; log: {self.tail()}"
        return self

    def tail(self) -> str:
        self.log.flush()
        return pathlib.Path(self.log.name).read_text()[-3000:]

    def kill(self, which=signal.SIGKILL):
        self.process.send_signal(which)
        self.process.wait(10)

    def run(self, *arguments, check=True, timeout=30, **more) -> subprocess.CompletedProcess:
        """`trinic ARGUMENTS` on this card's state folder."""
        done = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, "TRINIC_STATE": str(self.state)},
            capture_output=True,
            text=True,
            timeout=timeout,
            **more,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.tail()}"
        return done

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--output", "json").stdout)

    def exec(self, instance, *command, check=False, timeout=30) -> subprocess.CompletedProcess:
        return self.run("exec", instance, "--", *command, check=check, timeout=timeout)

    def ping(self, instance, address, count=1, wait=1, *options) -> bool:
        """Whether at least one echo comes back."""
        done = self.exec(
            instance, "ping", "-n", "-c", str(count), "-i", "0.05", "-W", str(wait), *options, str(address)
        )
        assert done.returncode in (0, 1), done.stderr
        return done.returncode == 0

    def stats(self, interface) -> dict:
        return self.json("stats", interface)

    def client(self, access_key="test", region="us-east-1", service="ec2"):
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}, read_timeout=20),
        )

    def aws(self, *arguments, check=True, region="us-east-1"):
        """The stock AWS CLI against this card; returns parsed JSON, or the failed process when not `check`."""
        done = subprocess.run(
            [str(pathlib.Path(sys.executable).with_name("aws")), *arguments, "--output", "json"],
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": region,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        if not check:
            return done
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def stop(self):
        if self.process and self.process.poll() is None:
            self.run("down", check=False)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.log.close()


@pytest.fixture(scope="session")
def program():
    return binary()


def backend_of(card) -> str:
    return card.json("ls")["card"]["backend"]


@pytest.fixture(scope="module")
def card(program, tmp_path_factory):
    """A card for the module; its state is in memory only."""
    running = Card(program, tmp_path_factory.mktemp("card") / "state", ["--ephemeral"]).start()
    yield running
    running.stop()


@pytest.fixture
def durable_card(program, tmp_path):
    """A card with a state file, for tests that kill it."""
    running = Card(program, tmp_path / "state").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ec2(card):
    return card.client()


@pytest.fixture(scope="module")
def namespaces(card):
    """Skips tests that need instances with namespaces where the host allows none."""
    found = eventually(lambda: backend_of(card), what="card report")
    if found != "namespace":
        pytest.skip(f"instances run on the {found} backend here: no namespaces to exec in")
    for tool in ("ping",):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


class Lab:
    """Short forms for what every test builds: a VPC with subnets, groups and instances."""

    def __init__(self, card, ec2, cidr="10.0.0.0/16"):
        self.card, self.ec2 = card, ec2
        self.vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]

    def subnet(self, cidr, zone=None):
        more = {"AvailabilityZone": zone} if zone else {}
        return self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, **more)["Subnet"]["SubnetId"]

    def group(self, name, *inbound):
        group = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        if inbound:
            self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(inbound))
        return group

    def instance(self, subnet, groups, address=None, wait=True, **more):
        options = {"SubnetId": subnet, "SecurityGroupIds": groups, **more}
        if address:
            options["PrivateIpAddress"] = address
        reply = self.ec2.run_instances(
            ImageId="ami-0abcdef1234567890", InstanceType="t3.micro", MinCount=1, MaxCount=1, **options
        )
        found = reply["Instances"][0]
        if wait:
            self.running(found["InstanceId"])
        return self.describe(found["InstanceId"]) if wait else found

    def describe(self, instance):
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def running(self, instance):
        eventually(lambda: self.describe(instance)["State"]["Name"] == "running", what=f"{instance} running")


def rule(protocol, first=-1, last=None, cidr="0.0.0.0/0", group=None, cidr6=None):
    """One IpPermission."""
    permission = {"IpProtocol": protocol}
    if protocol != "-1":
        permission |= {"FromPort": first, "ToPort": first if last is None else last}
    if group:
        permission["UserIdGroupPairs"] = [{"GroupId": group}]
    elif cidr6:
        permission["Ipv6Ranges"] = [{"CidrIpv6": cidr6}]
    else:
        permission["IpRanges"] = [{"CidrIp": cidr}]
    return permission


PING = rule("icmp", -1)


def eni(instance, index=0):
    """The id of an instance's interface at a device index."""
    found = [i for i in instance["NetworkInterfaces"] if i["Attachment"]["DeviceIndex"] == index]
    return found[0]["NetworkInterfaceId"]


def main_table(ec2, vpc):
    return ec2.describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"][0]["RouteTableId"]


def internet_gateway(ec2, vpc):
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    return gateway


def tcp(card, instance, address, port) -> str:
    """What a connection attempt from an instance meets: `open`, `refused` or `silent`."""
    code = (
        "import socket,sys\n"
        "try:\n socket.create_connection((sys.argv[1],int(sys.argv[2])),0.7);print('open')\n"
        "except ConnectionRefusedError: print('refused')\n"
        "except (TimeoutError,OSError): print('silent')\n"
    )
    return card.exec(instance, "python3", "-c", code, address, str(port), check=True).stdout.strip()


@contextlib.contextmanager
def background(card, instance, *command, **more):
    """A process in an instance while the block runs; it is killed by closing what it was started with."""
    process = subprocess.Popen(
        [card.program, "exec", "--state", str(card.state), instance, "--", *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@contextlib.contextmanager
def serve_tcp(card, instance, port, address="0.0.0.0"):
    """An echo server in an instance, ready when the block begins."""
    code = (
        "import socket,sys,threading\n"
        "a=sys.argv[1]\n"
        "s=socket.create_server((a,int(sys.argv[2])),family=socket.AF_INET6 if ':' in a else socket.AF_INET,\n"
        " dualstack_ipv6=':' in a)\n"
        "print('up',flush=True)\n"
        "def echo(c):\n"
        " while (d:=c.recv(65536)): c.sendall(d)\n"
        "while True: threading.Thread(target=echo,args=(s.accept()[0],),daemon=True).start()\n"
    )
    with background(card, instance, "python3", "-c", code, address, str(port)) as process:
        assert process.stdout.readline().strip() == "up"
        yield process
