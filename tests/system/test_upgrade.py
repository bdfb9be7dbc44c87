"""The program's file is replaced under a running card, and what a card costs that has nothing to do."""

import os
import shutil
import signal
import time

import pytest
from conftest import PING, Card, Lab, background, eventually

pytestmark = pytest.mark.usefixtures("namespaces")


def test_another_program_file_takes_over_under_traffic(program, tmp_path):
    """As an upgrade does: a new file in the old one's place, control started again; no packet is lost."""
    installed = tmp_path / "trinic"
    shutil.copy(program, installed)
    own = Card(str(installed), tmp_path / "state").start()
    try:
        lab = Lab(own, own.client(), "10.140.0.0/16")
        net, group = lab.subnet("10.140.1.0/24"), lab.group("open", PING)
        one, two = lab.instance(net, [group]), lab.instance(net, [group])
        address = two["PrivateIpAddress"]
        with background(own, one["InstanceId"], "ping", "-n", "-i", "0.02", "-c", "100", address) as ping:
            shutil.copy(program, tmp_path / "next")
            os.rename(tmp_path / "next", installed)
            card_pid = own.json("ls")["card"]["pid"]
            own.kill()
            own.start()
            out = ping.communicate(timeout=20)[0]
        assert " 0% packet loss" in out, out
        status = own.json("status")["card"]
        assert (status["pid"], status["adopted"]) == (card_pid, True)
        # The control from the new file rules the card from the old one.
        own.client().revoke_security_group_ingress(GroupId=group, IpPermissions=[PING])
        assert not own.ping(one["InstanceId"], address)
        # A card that has to be started again is one of the new file, or of the one that control runs from.
        os.unlink(installed)
        os.kill(card_pid, signal.SIGKILL)
        own.program = program
        eventually(lambda: own.json("ls")["card"].get("pid") not in (None, card_pid), what="another card")
        eventually(lambda: own.exec(one["InstanceId"], "true").returncode == 0, what="the instance adopted")
        own.client().authorize_security_group_ingress(GroupId=group, IpPermissions=[PING])
        eventually(lambda: own.ping(one["InstanceId"], address), what="traffic again")
    finally:
        own.stop()


def cpu_seconds(pid):
    """User and system time of a process. Source: proc_pid_stat(5), fields 14 and 15."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_card_at_rest_keeps_no_core_busy(card, ec2):
    """A worker that polled for ever would use all of the time; how little it uses is measured by the bench."""
    lab = Lab(card, ec2, "10.141.0.0/16")
    net, group = lab.subnet("10.141.1.0/24"), lab.group("open", PING)
    one, two = lab.instance(net, [group]), lab.instance(net, [group])
    assert card.ping(one["InstanceId"], two["PrivateIpAddress"])
    pids = (card.json("ls")["card"]["pid"], card.json("status")["pid"])
    before, seconds = sum(map(cpu_seconds, pids)), 2
    time.sleep(seconds)
    assert sum(map(cpu_seconds, pids)) - before < 0.1 * seconds
