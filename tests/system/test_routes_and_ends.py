"""Routes, gateways and moves as packets meet them, image checks, and how a card ends."""

import os
import shutil
import signal
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import PING, Card, Lab, eni, eventually, internet_gateway, main_table, rule

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.130.0.0/16")
    zones = [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]]
    built.net = built.subnet("10.130.1.0/24", zones[0])
    built.second = built.subnet("10.130.2.0/24", zones[0])
    built.elsewhere = built.subnet("10.130.3.0/24", zones[1])
    built.open = built.group("open", PING, rule("udp", 0, 65535))
    built.one = built.instance(built.net, [built.open])
    built.two = built.instance(built.net, [built.open])
    built.gateway = internet_gateway(ec2, built.vpc)
    built.table = main_table(ec2, built.vpc)
    ec2.create_route(RouteTableId=built.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=built.gateway)
    return built


def test_an_elastic_ip_moves_with_its_interface(card, ec2, lab):
    extra = ec2.create_network_interface(SubnetId=lab.second, Groups=[lab.open])["NetworkInterface"]
    allocated = ec2.allocate_address(Domain="vpc")
    association = ec2.associate_address(
        AllocationId=allocated["AllocationId"], NetworkInterfaceId=extra["NetworkInterfaceId"]
    )["AssociationId"]
    for holder in (lab.one, lab.two):
        attachment = ec2.attach_network_interface(
            NetworkInterfaceId=extra["NetworkInterfaceId"], InstanceId=holder["InstanceId"], DeviceIndex=1
        )["AttachmentId"]
        eventually(lambda: card.ping("internet", allocated["PublicIp"]), what="the address where the interface is")
        ec2.detach_network_interface(AttachmentId=attachment)
        eventually(
            lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[extra["NetworkInterfaceId"]])[
                "NetworkInterfaces"][0]["Status"] == "available",
            what="detached",
        )
        assert not card.ping("internet", allocated["PublicIp"])
    ec2.disassociate_address(AssociationId=association)
    ec2.release_address(AllocationId=allocated["AllocationId"])
    ec2.delete_network_interface(NetworkInterfaceId=extra["NetworkInterfaceId"])


def test_an_interface_stays_in_its_zone(ec2, lab):
    extra = ec2.create_network_interface(SubnetId=lab.elsewhere)["NetworkInterface"]["NetworkInterfaceId"]
    with pytest.raises(ClientError, match="InvalidParameterCombination|InvalidParameterValue"):
        ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=lab.one["InstanceId"], DeviceIndex=1)
    ec2.delete_network_interface(NetworkInterfaceId=extra)


def test_zones_of_a_vpc_reach_each_other(card, lab):
    far = lab.instance(lab.elsewhere, [lab.open])
    assert card.ping(lab.one["InstanceId"], far["PrivateIpAddress"])


def test_a_route_to_what_is_gone_is_a_black_hole(card, ec2, lab):
    extra = ec2.create_network_interface(SubnetId=lab.net, Groups=[lab.open])["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_route(RouteTableId=lab.table, DestinationCidrBlock="192.168.9.0/24", NetworkInterfaceId=extra)

    def blackholes():
        return card.stats(eni(lab.one))["drops"].get("blackhole", 0)

    before = blackholes()
    assert not card.ping(lab.one["InstanceId"], "192.168.9.1")
    ec2.delete_network_interface(NetworkInterfaceId=extra)
    routes = ec2.describe_route_tables(RouteTableIds=[lab.table])["RouteTables"][0]["Routes"]
    assert [r["State"] for r in routes if r.get("DestinationCidrBlock") == "192.168.9.0/24"] == ["blackhole"]
    assert not card.ping(lab.one["InstanceId"], "192.168.9.1")
    assert blackholes() >= before + 2
    ec2.delete_route(RouteTableId=lab.table, DestinationCidrBlock="192.168.9.0/24")


def test_a_router_that_drops_for_time_to_live_is_heard(card, ec2, lab):
    """The router's kernel sends time exceeded; it reaches the sender because it is about a tracked packet."""
    router = lab.instance(lab.net, [lab.open])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=eni(router), SourceDestCheck={"Value": False})
    ec2.create_route(RouteTableId=lab.table, DestinationCidrBlock="192.168.8.0/24", NetworkInterfaceId=eni(router))
    with subprocess.Popen(
        [card.program, "probe", "--state", str(card.state), router["InstanceId"], "forward"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as forward:
        try:
            eventually(
                lambda: "exceeded" in card.exec(
                    lab.one["InstanceId"], "ping", "-n", "-c1", "-W1", "-t1", "192.168.8.8"
                ).stdout,
                what="time exceeded from the router",
            )
        finally:
            forward.kill()
    ec2.delete_route(RouteTableId=lab.table, DestinationCidrBlock="192.168.8.0/24")
    ec2.terminate_instances(InstanceIds=[router["InstanceId"]])


def test_metadata_answers_on_a_second_interface(card, ec2, lab):
    extra = ec2.create_network_interface(SubnetId=lab.second, Groups=[lab.open])["NetworkInterface"]
    holder = lab.instance(lab.net, [lab.open])
    ec2.attach_network_interface(
        NetworkInterfaceId=extra["NetworkInterfaceId"], InstanceId=holder["InstanceId"], DeviceIndex=1
    )
    eventually(lambda: card.ping(lab.two["InstanceId"], extra["PrivateIpAddress"]), what="second interface")
    ask = (
        "import socket,sys\n"
        "s=socket.create_connection(('169.254.169.254',80),2,(sys.argv[1],0))\n"
        "s.sendall(b'GET /latest/meta-data/network/interfaces/macs/ HTTP/1.0\\r\\n\\r\\n')\n"
        "print(s.makefile().read())\n"
    )
    out = card.exec(holder["InstanceId"], "python3", "-c", ask, extra["PrivateIpAddress"], check=True).stdout
    assert extra["MacAddress"] in out
    assert holder["NetworkInterfaces"][0]["MacAddress"] in out


def test_ip_netns_knows_instances(card, lab):
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("ip netns needs root")
    done = subprocess.run(
        ["ip", "netns", "exec", lab.one["InstanceId"], "ip", "-br", "addr", "show", "dev", "eth0"],
        capture_output=True, text=True,
    )
    assert lab.one["PrivateIpAddress"] in done.stdout, done.stdout + done.stderr


def test_an_instance_that_ends_itself_ends_for_the_api(card, ec2, lab):
    held = lab.instance(lab.net, [lab.open])
    inspected = next(i for i in card.json("ls")["instances"] if i["id"] == held["InstanceId"])
    assert inspected["state"] == "running"
    # Its init cannot be killed from inside; root outside can.
    card.exec(held["InstanceId"], "kill", "-9", "1")
    assert lab.describe(held["InstanceId"])["State"]["Name"] == "running"
    card.exec(held["InstanceId"], "kill", "-TERM", "1")
    eventually(
        lambda: lab.describe(held["InstanceId"])["State"]["Name"] in ("stopped", "terminated"), what="ended by itself"
    )


# ---- starts and ends


def test_strict_images_refuse_unknown_ones(program, tmp_path):
    own = Card(program, tmp_path / "state", ["--ephemeral", "--strict-images"]).start()
    try:
        ec2 = own.client()
        with pytest.raises(ClientError, match="InvalidAMIID.NotFound"):
            ec2.run_instances(ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1)
        assert ec2.run_instances(ImageId="ami-00000000000000001", MinCount=1, MaxCount=1)["Instances"]
    finally:
        own.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_card_and_its_instances(program, tmp_path, how):
    own = Card(program, tmp_path / "state", ["--ephemeral"]).start()
    try:
        lab = Lab(own, own.client(), "10.131.0.0/16")
        held = lab.instance(lab.subnet("10.131.1.0/24"), [lab.group("g")])
        pids = [own.json("ls")["card"]["pid"]]
        own.process.send_signal(how)
        assert own.process.wait(15) == 0
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), what="card ended")
        assert not os.path.exists(f"/run/netns/{held['InstanceId']}")
        assert own.run("down", check=False).returncode == 3
    finally:
        own.stop()


def test_a_card_killed_under_calls_is_whole_afterwards(durable_card):
    """The card dies while instances start: each is running in the end, and answers."""
    ec2 = durable_card.client()
    lab = Lab(durable_card, ec2, "10.132.0.0/16")
    net, group = lab.subnet("10.132.1.0/24"), lab.group("open", PING)
    watcher = lab.instance(net, [group])
    pid = durable_card.json("ls")["card"]["pid"]
    reply = ec2.run_instances(ImageId="ami-1", MinCount=8, MaxCount=8, SubnetId=net, SecurityGroupIds=[group])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: durable_card.json("ls")["card"].get("pid") not in (None, pid), what="another card")
    for instance in reply["Instances"]:
        lab.running(instance["InstanceId"])
        eventually(
            lambda i=instance: durable_card.ping(watcher["InstanceId"], i["PrivateIpAddress"]), timeout=15,
            what="ping of an instance that was starting",
        )
