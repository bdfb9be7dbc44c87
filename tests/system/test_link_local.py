"""The services inside an instance: metadata, DNS, DHCP, NTP, asked with ordinary tools."""

import json

import pytest
from conftest import PING, Lab

pytestmark = pytest.mark.usefixtures("namespaces")

CURL = (
    "import sys,urllib.request as u\n"
    "q=u.Request(sys.argv[2],method=sys.argv[1],headers=dict(h.split('=',1) for h in sys.argv[3:]))\n"
    "try:\n r=u.urlopen(q,timeout=3);print(r.status);print(r.read().decode(),end='')\n"
    "except u.HTTPError as e: print(e.code)\n"
)


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.40.0.0/16")
    built.net = built.subnet("10.40.1.0/24")
    built.group = built.group("open", PING)
    built.one = built.instance(built.net, [built.group], UserData="#!/bin/sh\necho said by user data\n")
    return built


def http(card, lab, method, path, *headers):
    done = card.exec(
        lab.one["InstanceId"], "python3", "-c", CURL, method, f"http://169.254.169.254{path}", *headers, check=True
    )
    status, _, body = done.stdout.partition("\n")
    return int(status), body


def test_metadata_with_a_token(card, lab):
    status, token = http(card, lab, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds=60")
    assert status == 200 and token
    header = f"X-aws-ec2-metadata-token={token}"
    assert http(card, lab, "GET", "/latest/meta-data/instance-id", header) == (200, lab.one["InstanceId"])
    status, document = http(card, lab, "GET", "/latest/dynamic/instance-identity/document", header)
    assert json.loads(document)["privateIp"] == lab.one["PrivateIpAddress"]
    interface = lab.one["NetworkInterfaces"][0]
    path = f"/latest/meta-data/network/interfaces/macs/{interface['MacAddress']}/interface-id"
    assert http(card, lab, "GET", path, header) == (200, interface["NetworkInterfaceId"])
    assert http(card, lab, "GET", "/latest/meta-data/nothing", header)[0] == 404
    assert http(card, lab, "GET", "/latest/meta-data/instance-id", "X-aws-ec2-metadata-token=wrong")[0] == 401


def test_version_one_until_tokens_are_required(card, ec2, lab):
    assert http(card, lab, "GET", "/latest/meta-data/local-ipv4") == (200, lab.one["PrivateIpAddress"])
    ec2.modify_instance_metadata_options(InstanceId=lab.one["InstanceId"], HttpTokens="required")
    assert http(card, lab, "GET", "/latest/meta-data/local-ipv4")[0] == 401
    ec2.modify_instance_metadata_options(InstanceId=lab.one["InstanceId"], HttpTokens="optional")


def test_private_names_resolve(card, lab):
    address = lab.one["PrivateIpAddress"]
    name = f"ip-{address.replace('.', '-')}.ec2.internal"
    done = card.exec(lab.one["InstanceId"], "getent", "ahostsv4", name)
    assert address in done.stdout, done.stdout + done.stderr
    back = card.exec(lab.one["InstanceId"], "getent", "hosts", address)
    assert name in back.stdout


def test_the_clock_is_served(card, lab):
    ask = (
        "import socket,struct,time\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(2)\n"
        "s.sendto(b'\\x23'+bytes(47),('169.254.169.123',123))\n"
        "d=s.recv(200);print(len(d),d[0]&7,d[1],abs(struct.unpack('!I',d[40:44])[0]-2208988800-time.time())<2)\n"
    )
    assert card.exec(lab.one["InstanceId"], "python3", "-c", ask).stdout.split() == ["48", "4", "3", "True"]


def test_user_data_ran_and_its_output_is_kept(card, ec2, lab):
    from conftest import eventually

    eventually(
        lambda: "said by user data" in card.run("console", lab.one["InstanceId"]).stdout, what="console output"
    )


def test_the_instance_is_isolated(card, lab):
    one = lab.one["InstanceId"]
    assert card.exec(one, "hostname").stdout.startswith("ip-10-40-1-")
    assert card.exec(one, "cat", "/proc/1/comm", check=True).stdout
    assert card.exec(one, "touch", "/usr/trinic-was-here").returncode != 0
    assert card.exec(one, "touch", "/tmp/mine", check=True).returncode == 0
    assert card.exec(one, "sh", "-c", "exit 7").returncode == 7


def test_a_reboot_starts_it_anew(card, ec2, lab):
    from conftest import eventually

    one = lab.one["InstanceId"]
    card.exec(one, "touch", "/tmp/before", check=True)
    ec2.reboot_instances(InstanceIds=[one])
    eventually(lambda: card.exec(one, "test", "-e", "/tmp/before").returncode == 1, what="private /tmp is new")
    assert lab.describe(one)["State"]["Name"] == "running"
    eventually(lambda: card.exec(one, "ip", "addr").stdout.count(lab.one["PrivateIpAddress"]), what="address is back")
