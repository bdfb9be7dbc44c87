"""What an instance is made of: seven namespaces of its own, the host's files read-only, private places to write."""

import os
import socket

import pytest
from conftest import PING, Lab

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def pair(card, ec2):
    lab = Lab(card, ec2, "10.200.0.0/16")
    net, group = lab.subnet("10.200.1.0/24"), lab.group("open", PING)
    return [lab.instance(net, [group]) for _ in range(2)]


@pytest.mark.parametrize("kind", ["net", "mnt", "pid", "uts", "ipc", "user", "cgroup"])
def test_every_instance_has_a_namespace_of_its_own(card, pair, kind):
    # With exec, /proc/self is the command's: what the instance's first process has, it has.
    inside = [card.exec(i["InstanceId"], "readlink", f"/proc/self/ns/{kind}", check=True).stdout.strip() for i in pair]
    first = [card.exec(i["InstanceId"], "readlink", f"/proc/1/ns/{kind}", check=True).stdout.strip() for i in pair]
    assert inside == first
    assert len({*inside, os.readlink(f"/proc/self/ns/{kind}")}) == 3, inside


def test_the_hosts_files_are_read_only_and_some_places_private(card, pair):
    one, two = (i["InstanceId"] for i in pair)
    assert card.exec(one, "cat", "/etc/os-release").stdout == open("/etc/os-release", encoding="utf-8").read()
    for path in ("/usr", "/etc", "/", "/run/trinic"):
        assert "Read-only file system" in card.exec(one, "touch", f"{path}/trinic-was-here").stderr, path
    for path in ("/tmp", "/run"):
        card.exec(one, "touch", f"{path}/mine", check=True)
        assert card.exec(two, "test", "-e", f"{path}/mine").returncode == 1, path
        assert not os.path.exists(f"{path}/mine"), path
    resolvers = card.exec(one, "cat", "/etc/resolv.conf", check=True).stdout
    assert "nameserver 10.200.0.2" in resolvers
    assert card.exec(one, "hostname", check=True).stdout.strip() != socket.gethostname()


def test_interfaces_are_configured_as_a_cloud_guest_has_them(card, ec2, pair):
    one = pair[0]
    shown = card.exec(one["InstanceId"], "ip", "-o", "addr", "show", "dev", "eth0", check=True).stdout
    assert f"inet {one['PrivateIpAddress']}/" in shown
    link = card.exec(one["InstanceId"], "ip", "-o", "link", "show", "dev", "eth0", check=True).stdout
    assert one["NetworkInterfaces"][0]["MacAddress"] in link and "mtu 9001" in link
    assert "default via 10.200.1.1" in card.exec(one["InstanceId"], "ip", "route", check=True).stdout
