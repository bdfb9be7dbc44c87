"""kill -9 of control and of the card: nothing acknowledged is lost, packets go on."""

import os
import re
import signal
import subprocess
import time

import pytest
from botocore.exceptions import EndpointConnectionError, HTTPClientError
from conftest import PING, Lab, backend_of


# The quota is five VPCs a region, and the default one is there from the start.
VPCS_BESIDE_DEFAULT = 4


def pair(card):
    lab = Lab(card, card.client(), "10.50.0.0/16")
    net = lab.subnet("10.50.1.0/24")
    group = lab.group("open", PING)
    return lab, lab.instance(net, [group]), lab.instance(net, [group])


def need_namespaces(card):
    if backend_of(card) != "namespace":
        pytest.skip("no namespaces here")


def test_control_killed_between_calls_loses_nothing(durable_card):
    made = []
    for round_number in range(4):
        client = durable_card.client()
        for index in range(5):
            if len(made) == VPCS_BESIDE_DEFAULT:
                client.delete_vpc(VpcId=made.pop(0))
            made.append(client.create_vpc(CidrBlock=f"10.{60 + round_number}.{index}.0/24")["Vpc"]["VpcId"])
        durable_card.kill()
        durable_card.start()
        found = {vpc["VpcId"] for vpc in durable_card.client().describe_vpcs()["Vpcs"] if not vpc["IsDefault"]}
        assert found == set(made)


def test_packets_flow_while_control_is_dead(durable_card):
    need_namespaces(durable_card)
    lab, one, two = pair(durable_card)
    ping = subprocess.Popen(
        [durable_card.program, "exec", "--state", str(durable_card.state), one["InstanceId"], "--",
         "ping", "-n", "-i", "0.02", "-c", "100", two["PrivateIpAddress"]],
        stdout=subprocess.PIPE, text=True,
    )
    time.sleep(0.5)
    durable_card.kill()
    out = ping.communicate(timeout=20)[0]
    assert " 0% packet loss" in out, out
    durable_card.start()
    shown = durable_card.client().describe_instances(InstanceIds=[one["InstanceId"], two["InstanceId"]])
    states = [i["State"]["Name"] for r in shown["Reservations"] for i in r["Instances"]]
    assert states == ["running", "running"]
    assert durable_card.ping(one["InstanceId"], two["PrivateIpAddress"])


def test_a_killed_card_comes_back_and_adopts(durable_card):
    need_namespaces(durable_card)
    _, one, two = pair(durable_card)
    before = durable_card.exec(one["InstanceId"], "cat", "/proc/sys/kernel/random/boot_id", check=True)
    assert before.returncode == 0
    marker = durable_card.exec(one["InstanceId"], "touch", "/tmp/still-here", check=True)
    assert marker.returncode == 0
    pid = durable_card.json("ls")["card"]["pid"]
    ping = subprocess.Popen(
        [durable_card.program, "exec", "--state", str(durable_card.state), one["InstanceId"], "--",
         "ping", "-n", "-D", "-i", "0.02", "-c", "150", two["PrivateIpAddress"]],
        stdout=subprocess.PIPE, text=True,
    )
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    out = ping.communicate(timeout=30)[0]
    received = int(re.search(r"(\d+) received", out).group(1))
    assert received >= 100, out  # under one second without traffic: at most 50 of 150 lost
    assert durable_card.json("ls")["card"]["pid"] != pid
    assert durable_card.exec(one["InstanceId"], "test", "-e", "/tmp/still-here").returncode == 0


def test_a_call_cut_off_is_whole_or_absent(durable_card):
    """Kills control in the middle of calls; what is there afterwards is consistent."""
    import threading

    acknowledged, finished = [], []

    def caller():
        client = durable_card.client()
        try:
            for index in range(250):
                if len(acknowledged) == VPCS_BESIDE_DEFAULT:
                    # From here on it may be there or not.
                    client.delete_vpc(VpcId=acknowledged.pop(0))
                reply = client.create_vpc(CidrBlock=f"10.{index}.0.0/16")
                acknowledged.append(reply["Vpc"]["VpcId"])
        except (HTTPClientError, EndpointConnectionError):  # control is dead
            return
        finished.append(True)

    for _ in range(3):
        thread = threading.Thread(target=caller)
        thread.start()
        time.sleep(0.15)
        durable_card.kill()
        thread.join()
        assert not finished, "control was killed after the last call"
        durable_card.start()
        client = durable_card.client()
        vpcs = {vpc["VpcId"] for vpc in client.describe_vpcs()["Vpcs"]}
        assert set(acknowledged) <= vpcs
        # Every VPC came whole: with its main route table and its default group.
        tables = {t["VpcId"] for t in client.describe_route_tables()["RouteTables"]}
        groups = {g["VpcId"] for g in client.describe_security_groups()["SecurityGroups"] if g["GroupName"] == "default"}
        assert vpcs == tables == groups
        for vpc in client.describe_vpcs()["Vpcs"]:
            if not vpc["IsDefault"]:
                client.delete_vpc(VpcId=vpc["VpcId"])
        acknowledged.clear()
