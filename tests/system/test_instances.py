"""Instances: starting many, second interfaces, default VPC, stop and start, user data, isolation, names, leases."""

import os
import re
import shutil

import pytest
from botocore.exceptions import ClientError
from conftest import PING, Lab, background, eni, eventually, internet_gateway, main_table, rule, serve_tcp, tcp

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.100.0.0/16")
    built.net = built.subnet("10.100.1.0/24")
    built.second = built.subnet("10.100.2.0/24")
    built.open = built.group("open", PING, rule("tcp", 0, 65535), rule("udp", 0, 65535))
    built.one = built.instance(built.net, [built.open])
    built.two = built.instance(built.net, [built.open])
    return built


def status_of(ec2, interface):
    return ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]["Status"]


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code


def test_twenty_start_at_once_and_end_at_once(card, ec2, lab):
    reply = ec2.run_instances(
        ImageId="ami-1", MinCount=20, MaxCount=20, SubnetId=lab.net, SecurityGroupIds=[lab.open]
    )
    ids = [i["InstanceId"] for i in reply["Instances"]]
    assert len(set(ids)) == 20

    def states():
        shown = ec2.describe_instances(InstanceIds=ids)["Reservations"]
        return [i["State"]["Name"] for r in shown for i in r["Instances"]]

    eventually(lambda: states() == ["running"] * 20, timeout=20, what="twenty running")
    addresses = [i["PrivateIpAddress"] for i in reply["Instances"]]
    assert len(set(addresses)) == 20
    assert all(card.ping(lab.one["InstanceId"], a) for a in addresses[::5])
    ended = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
    assert {e["CurrentState"]["Name"] for e in ended} <= {"shutting-down", "terminated"}
    eventually(lambda: states() == ["terminated"] * 20, timeout=20, what="twenty terminated")
    assert not {i["id"] for i in card.json("ls")["interfaces"]} & {eni(i) for i in reply["Instances"]}


def test_an_instance_without_a_subnet_is_in_the_default_vpc_and_public(card, ec2):
    group = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])[
            "Vpcs"][0]["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[PING])
    reply = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)["Instances"][0]
    one = reply["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[one], WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    shown = ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]
    assert shown["PrivateIpAddress"].startswith("172.31.")
    assert shown["PublicIpAddress"].startswith("198.1")
    assert card.ping(one, "203.0.113.1")
    assert card.ping("internet", shown["PublicIpAddress"])
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[PING])
    ec2.terminate_instances(InstanceIds=[one])


def test_replies_of_a_second_interface_leave_by_it(card, ec2, lab):
    extra = ec2.create_network_interface(SubnetId=lab.second, Groups=[lab.open])["NetworkInterface"]
    ec2.attach_network_interface(
        NetworkInterfaceId=extra["NetworkInterfaceId"], InstanceId=lab.one["InstanceId"], DeviceIndex=1
    )
    address, id_ = extra["PrivateIpAddress"], extra["NetworkInterfaceId"]
    eventually(lambda: card.ping(lab.two["InstanceId"], address), what="second interface answers")
    before = card.stats(id_)
    assert card.ping(lab.two["InstanceId"], address, 5)
    after = card.stats(id_)
    assert after["packets_out"] >= before["packets_out"] + 5
    # Nothing of it left by the first interface with the second one's address.
    assert not card.stats(eni(lab.one))["drops"].get("source-address")
    # A taken device index is refused, and so is an interface that is attached already.
    other = ec2.create_network_interface(SubnetId=lab.second, Groups=[lab.open])["NetworkInterface"]
    refused("InvalidParameterValue", ec2.attach_network_interface,
            NetworkInterfaceId=other["NetworkInterfaceId"], InstanceId=lab.one["InstanceId"], DeviceIndex=1)
    refused("InvalidNetworkInterface.InUse", ec2.attach_network_interface,
            NetworkInterfaceId=id_, InstanceId=lab.two["InstanceId"], DeviceIndex=1)
    ec2.delete_network_interface(NetworkInterfaceId=other["NetworkInterfaceId"])


def test_detach_under_traffic_harms_nobody_else(card, ec2, lab):
    extra = ec2.create_network_interface(SubnetId=lab.second, Groups=[lab.open])["NetworkInterface"]
    id_ = extra["NetworkInterfaceId"]
    holder = lab.instance(lab.net, [lab.open])
    attachment = ec2.attach_network_interface(
        NetworkInterfaceId=id_, InstanceId=holder["InstanceId"], DeviceIndex=1
    )["AttachmentId"]
    address = extra["PrivateIpAddress"]
    eventually(lambda: card.ping(lab.two["InstanceId"], address), what="second interface answers")
    with background(card, lab.two["InstanceId"], "ping", "-n", "-i", "0.01", address) as ping:
        ping.stdout.readline(), ping.stdout.readline()
        ec2.detach_network_interface(AttachmentId=attachment)
        eventually(lambda: status_of(ec2, id_) == "available", what="detached under traffic")
    assert card.ping(lab.two["InstanceId"], holder["PrivateIpAddress"])
    assert "eth1" not in card.exec(holder["InstanceId"], "ls", "/sys/class/net", check=True).stdout
    primary = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni(holder)])["NetworkInterfaces"][0]
    refused("OperationNotPermitted", ec2.detach_network_interface,
            AttachmentId=primary["Attachment"]["AttachmentId"])
    ec2.delete_network_interface(NetworkInterfaceId=id_)


def test_delete_on_termination_is_obeyed(ec2, lab):
    kept = ec2.create_network_interface(SubnetId=lab.net)["NetworkInterface"]["NetworkInterfaceId"]
    gone = ec2.create_network_interface(SubnetId=lab.net)["NetworkInterface"]["NetworkInterfaceId"]
    holder = lab.instance(lab.net, [lab.open])
    for index, interface in ((1, kept), (2, gone)):
        try:
            attachment = ec2.attach_network_interface(
                NetworkInterfaceId=interface, InstanceId=holder["InstanceId"], DeviceIndex=index
            )["AttachmentId"]
        except ClientError as error:  # t3.micro has two interfaces
            assert error.response["Error"]["Code"] == "AttachmentLimitExceeded"
            ec2.terminate_instances(InstanceIds=[holder["InstanceId"]])
            eventually(lambda: status_of(ec2, kept) == "available", what="kept interface is free")
            holder = lab.instance(lab.net, [lab.open])
            attachment = ec2.attach_network_interface(
                NetworkInterfaceId=interface, InstanceId=holder["InstanceId"], DeviceIndex=1
            )["AttachmentId"]
        if interface == gone:
            ec2.modify_network_interface_attribute(
                NetworkInterfaceId=gone, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
            )
    ec2.terminate_instances(InstanceIds=[holder["InstanceId"]])

    def remaining():
        shown = ec2.describe_network_interfaces(
            Filters=[{"Name": "network-interface-id", "Values": [kept, gone]}]
        )["NetworkInterfaces"]
        return [(i["NetworkInterfaceId"], i["Status"]) for i in shown]

    eventually(lambda: remaining() == [(kept, "available")], what="one kept, one deleted")
    ec2.delete_network_interface(NetworkInterfaceId=kept)


def test_an_elastic_ip_of_a_secondary_address(card, ec2, lab):
    gateway = internet_gateway(ec2, lab.vpc)
    ec2.create_route(
        RouteTableId=main_table(ec2, lab.vpc), DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
    )
    holder = lab.instance(lab.net, [lab.open])
    ec2.assign_private_ip_addresses(NetworkInterfaceId=eni(holder), PrivateIpAddresses=["10.100.1.200"])
    made = [ec2.allocate_address(Domain="vpc") for _ in range(2)]
    for allocated, private in zip(made, (holder["PrivateIpAddress"], "10.100.1.200"), strict=True):
        ec2.associate_address(
            AllocationId=allocated["AllocationId"], NetworkInterfaceId=eni(holder), PrivateIpAddress=private
        )
    for allocated in made:
        eventually(lambda a=allocated: card.ping("internet", a["PublicIp"]), what=f"{allocated['PublicIp']} answers")
    # Outbound, each private address has its own public one.
    hear = (
        "import socket\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_ICMP)\nprint('up',flush=True)\n"
        "while (m:=s.recvfrom(2000))[0][20]!=8: pass\n"
        "print(m[1][0],flush=True)\n"
    )
    for allocated, private in zip(made, (holder["PrivateIpAddress"], "10.100.1.200"), strict=True):
        with background(card, "internet", "python3", "-c", hear) as listener:
            assert listener.stdout.readline().strip() == "up"
            assert card.ping(holder["InstanceId"], "203.0.113.1", 1, 1, "-I", private)
            assert listener.stdout.readline().strip() == allocated["PublicIp"]
    ec2.terminate_instances(InstanceIds=[holder["InstanceId"]])
    eventually(
        lambda: not [a for a in ec2.describe_addresses()["Addresses"] if "AssociationId" in a], what="addresses free"
    )
    for allocated in made:
        ec2.release_address(AllocationId=allocated["AllocationId"])


def test_stop_and_start_keep_the_interface(card, ec2, lab):
    held = lab.instance(lab.net, [lab.open])
    id_, address = held["InstanceId"], held["PrivateIpAddress"]
    ec2.stop_instances(InstanceIds=[id_])
    eventually(lambda: lab.describe(id_)["State"]["Name"] == "stopped", what="stopped")
    assert not card.ping(lab.one["InstanceId"], address)
    assert eni(lab.describe(id_)) == eni(held)
    ec2.start_instances(InstanceIds=[id_])
    lab.running(id_)
    assert lab.describe(id_)["PrivateIpAddress"] == address
    eventually(lambda: card.ping(lab.one["InstanceId"], address), what="ping after start")


# ---- what runs inside


def test_user_data_that_fails_says_so(card, lab):
    held = lab.instance(lab.net, [lab.open], UserData="#!/bin/sh\necho before the end\nexit 3\n")
    text = eventually(
        lambda: (t := card.run("console", held["InstanceId"]).stdout) and "status 3" in t and t, what="status on console"
    )
    assert "before the end" in text
    assert lab.describe(held["InstanceId"])["State"]["Name"] == "running"


def test_console_output_is_bounded_and_keeps_the_end(card, lab):
    script = "#!/bin/sh\nhead -c 20000000 /dev/zero | tr '\\0' x\necho the very end\n"
    held = lab.instance(lab.net, [lab.open], UserData=script)
    text = eventually(
        lambda: (t := card.run("console", held["InstanceId"]).stdout) and "status 0" in t and t, timeout=30,
        what="the end of a long output",
    )
    assert "the very end" in text
    assert len(text) < 2_000_000


def test_an_instance_sees_and_harms_nothing_outside(card, lab):
    one, two = lab.one["InstanceId"], lab.two["InstanceId"]
    seen = card.exec(one, "sh", "-c", "ls -d /proc/[0-9]*", check=True).stdout.split()
    assert len(seen) < 10, seen
    for path in ("/usr/x", "/etc/x", "/root/x", "/var/x", "/x", "/boot/x"):
        if os.path.isdir(os.path.dirname(path)):
            assert card.exec(one, "touch", path).returncode != 0, path
            assert not os.path.exists(path)
    for command in (
        ("mount", "-o", "remount,rw", "/"), ("mount", "-t", "tmpfs", "none", "/mnt"), ("umount", "/proc"),
        ("sh", "-c", "echo 1 > /proc/sys/kernel/sysrq"), ("sh", "-c", "echo b > /proc/sysrq-trigger"),
        ("unshare", "--mount", "true"), ("sh", "-c", "head -c1 /dev/vda"),
    ):
        assert card.exec(one, *command).returncode != 0, command
    card.exec(one, "sh", "-c", "echo secret > /tmp/secret", check=True)
    assert card.exec(two, "cat", "/tmp/secret").returncode != 0
    assert not os.path.exists("/tmp/secret")
    names = {card.exec(i, "hostname", check=True).stdout for i in (one, two)}
    assert len(names) == 2 and os.uname().nodename + "\n" not in names
    assert card.exec(one, "test", "-d", "/run/trinic").returncode == 0
    # The state folder, with the sockets that rule the card, is not to be seen.
    assert card.exec(one, "ls", str(card.state)).returncode != 0 or not card.exec(
        one, "ls", str(card.state)
    ).stdout.strip()


ASK = (
    "import socket,struct,sys\n"
    "n,server,way=sys.argv[1:4]\n"
    "q=struct.pack('!6H',7,0x100,1,0,0,0)+b''.join(bytes([len(p)])+p.encode() for p in n.split('.'))+b'\\0'\n"
    "q+=struct.pack('!2H',1,1)\n"
    "if way=='udp':\n s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(2);s.sendto(q,(server,53))\n"
    " r=s.recv(2000)\n"
    "else:\n s=socket.create_connection((server,53),2);s.sendall(struct.pack('!H',len(q))+q);f=s.makefile('rb')\n"
    " r=f.read(struct.unpack('!H',f.read(2))[0])\n"
    "print(r[3]&15,struct.unpack('!H',r[6:8])[0],socket.inet_ntoa(r[-4:]))\n"
)


@pytest.mark.parametrize("server", ["10.100.0.2", "169.254.169.253"])
@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_names_are_answered(card, lab, server, way):
    one, address = lab.one["InstanceId"], lab.two["PrivateIpAddress"]
    name = f"ip-{address.replace('.', '-')}.ec2.internal"
    found = card.exec(one, "python3", "-c", ASK, name, server, way, check=True).stdout.split()
    assert found == ["0", "1", address]
    code, answers, _ = card.exec(one, "python3", "-c", ASK, "no.such.name.invalid", server, way, check=True).stdout.split()
    assert code in ("3", "5", "2") and answers == "0"


def test_public_names_lead_to_the_private_address_inside(card, ec2, lab):
    ec2.modify_vpc_attribute(VpcId=lab.vpc, EnableDnsHostnames={"Value": True})
    allocated = ec2.allocate_address(Domain="vpc")
    holder = lab.instance(lab.net, [lab.open])
    ec2.associate_address(AllocationId=allocated["AllocationId"], NetworkInterfaceId=eni(holder))
    name = lab.describe(holder["InstanceId"])["PublicDnsName"]
    assert re.fullmatch(r"ec2-198-1\d-\d+-\d+\.compute-1\.amazonaws\.com", name), name
    found = card.exec(lab.one["InstanceId"], "getent", "ahostsv4", name)
    assert holder["PrivateIpAddress"] in found.stdout, found.stdout + found.stderr
    ec2.terminate_instances(InstanceIds=[holder["InstanceId"]])
    eventually(
        lambda: not [a for a in ec2.describe_addresses()["Addresses"] if "AssociationId" in a], what="address free"
    )
    ec2.release_address(AllocationId=allocated["AllocationId"])


def test_a_dhcp_client_gets_the_lease(card, lab):
    if not shutil.which("busybox"):
        pytest.skip("busybox, whose udhcpc asks here, is not installed")
    script = "/tmp/lease.sh"
    one = lab.one["InstanceId"]
    card.exec(one, "sh", "-c", f"printf '#!/bin/sh\\n[ $1 = bound ] && env\\nexit 0\\n' > {script}; chmod +x {script}",
              check=True)
    done = card.exec(one, "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", script,
                     "-O", "mtu", "-O", "staticroutes")
    assert done.returncode == 0, done.stdout + done.stderr
    lease = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert lease["ip"] == lab.one["PrivateIpAddress"]
    assert (lease["router"], lease["subnet"], lease["dns"]) == ("10.100.1.1", "255.255.255.0", "10.100.0.2")
    assert lease["mtu"] == "9001" and int(lease["lease"]) == 3600


def test_the_port_answer_is_the_instances_own(card, lab):
    """Two services on one port number in two instances are two services."""
    one, two = lab.one["InstanceId"], lab.two["InstanceId"]
    with serve_tcp(card, one, 6000):
        assert tcp(card, two, lab.one["PrivateIpAddress"], 6000) == "open"
        assert tcp(card, one, lab.two["PrivateIpAddress"], 6000) == "refused"
