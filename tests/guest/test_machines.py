"""Instances that are virtual machines, through the EC2 API: QEMU with the card's functions, stock drivers.

Two kinds of guests: Debian's kernel with a small userland of its own (some seconds to start without KVM), and
a boot sector, which starts in one and can still count on its disk and power itself off. scripts/setup-guests
makes what is needed.
"""

import os
import pathlib
import signal
import struct
import subprocess
import time

import pytest

from machine_lab import KERNEL, NEWER_KERNEL, QEMU, Machines, eventually, has_taps, missing, system

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"no machines: {missing()}")


# q35's firmware puts the power management registers at 0x600: status, enable, control (ACPI, 4.8.4).
POWER_OFF = bytes.fromhex("ba0406 b80020 ef")  # S5 and sleep enable
AT_THE_END = {
    "halts": b"",
    "powers-off": POWER_OFF,
    # Enables the power button's event, waits for it, says `~`.
    "listens": bytes.fromhex("ba0206 b80001 ef ba0006 ed f6c401 74fa b80001 ef b07e baf803 ee") + POWER_OFF,
}


def boot_sector(at_the_end: bytes) -> bytes:
    """Adds one to a digit in itself, writes itself back, says `disk boot N` on the serial port, and ends."""
    message = b"disk boot 0\r\n\0"
    code = bytes.fromhex(
        "31c0 8ed8 8ec0 8ed0 bc007c"  # segments and stack at 0
        "fe060a7d"  # inc byte [0x7d0a]: the digit of the message
        "b80103 bb007c b90100 b600 cd13"  # int 0x13: write one sector
        "be007d ac 84c0 7406 baf803 ee ebf5"  # each byte of the message to 0x3f8
    )
    code += at_the_end + bytes.fromhex("f4 ebfd")  # hlt, for ever
    return code.ljust(0x100, b"\0") + message.ljust(0xFE, b"\0") + b"\x55\xaa"


def qcow2(content: bytes) -> bytes:
    """A disk of 1 MiB that begins with `content`. Source: QEMU, docs/interop/qcow2.rst."""
    cluster, there = 1 << 16, 1 << 63
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, 1 << 20, 0, 1, 3 * cluster, cluster, 1, 0, 0, 0, 0, 0, 4, 104
    )
    refcounts = struct.pack(">6H", *[1] * 6)
    parts = [header, struct.pack(">Q", 2 * cluster), refcounts, struct.pack(">Q", 4 * cluster | there)]
    parts += [struct.pack(">Q", 5 * cluster | there), content]
    return b"".join(part.ljust(cluster, b"\0") for part in parts)


class DiskMachines(Machines):
    """With images of disks and of a newer kernel, too."""

    def __init__(self, card, ec2, folder):
        super().__init__(card, ec2, folder)
        for name, code in AT_THE_END.items():
            disk = folder / f"{name}.qcow2"
            disk.write_bytes(qcow2(boot_sector(code)))
            self.images[name] = self.register(f"disk-{name}", f"file:{disk}", EnaSupport=True)
        self.images["newer"] = self.register("guest-newer", self.linux(NEWER_KERNEL), EnaSupport=True)


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    # Sockets of functions lie below the state folder, and their paths are short.
    folder = tmp_path_factory.mktemp("vm")
    os.environ["TRINIC_QEMU"] = str(QEMU)
    card = system.Card(system.binary(), folder / "s").start()
    try:
        if eventually(lambda: system.backend_of(card), what="card report") != "namespace":
            pytest.skip("the host allows no namespaces, so nobody here could speak with a machine")
        yield DiskMachines(card, card.client(), folder)
    finally:
        card.stop()


@pytest.fixture(scope="module")
def pair(machines):
    """Two Linux machines that start side by side, one with the ENA and one with the traditional card (where
    there are no taps, it has the ENA, too)."""
    ena = machines.launch("ena", address="10.0.1.20")
    traditional = machines.launch("traditional" if has_taps() else "ena", "r4.large", "10.0.1.30")
    machines.says(ena, "guest: eth0 has 10.0.1.20")
    machines.says(traditional, "guest: eth0 has 10.0.1.30")
    return ena, traditional


def test_a_kernel_image_boots_and_has_its_address_from_the_card(machines, pair):
    ena, _ = pair
    assert machines.describe(ena)["State"]["Name"] == "running"
    machines.reaches(machines.peer, "10.0.1.20")
    output = machines.ec2.get_console_output(InstanceId=ena)["Output"]
    assert "guest: eth0 has 10.0.1.20" in output
    function = next(f for f in machines.card.json("card") if f["interface"] == system.eni(machines.describe(ena)))
    assert (function["kind"], function["device"]["driver"], function["device"]["bdf"]) == ("ena", "running", "01:00.0")
    assert machines.shell("10.0.1.20", "cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/chassis_asset_tag").split(
        "\n"
    )[:2] == ["Amazon EC2", ena]
    refused = machines.card.exec(ena, "true")
    assert refused.returncode == 125 and "virtual machine" in refused.stderr


def test_kvm_is_tried_once_for_all_machines(machines, pair):
    log = pathlib.Path(machines.card.state / "card.log").read_text()
    if os.environ.get("TRINIC_ACCELERATOR") or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert "Tried a stock kernel under KVM" not in log
    else:
        assert log.count("Tried a stock kernel under KVM") == 1
        assert (machines.card.state / "accelerator.json").exists()


def test_an_instance_without_ena_support_has_a_virtio_card(machines, pair):
    if not has_taps():
        reason = machines.becomes(machines.launch("traditional", "r4.large"), "terminated")["StateReason"]["Message"]
        assert "this host allows no taps" in reason
        pytest.skip("the host allows no taps; a launch without ENA says so")
    machines.reaches(machines.peer, "10.0.1.30")
    assert "virtio_net" in machines.shell("10.0.1.30", "readlink /sys/class/net/eth0/device/driver")
    # Frames of the subnet's MTU both ways, and super-frames, which leave their checksums to the card.
    assert machines.card.ping(machines.peer, "10.0.1.30", 1, 2, "-s", "8900", "-M", "do")
    features = machines.shell("10.0.1.30", "ethtool -k eth0")
    assert "tcp-segmentation-offload: on" in features and "tx-checksumming: on" in features
    assert sent(machines, "10.0.1.30", machines.peer, "10.0.1.10", 20) == ["10.0.1.30", str(20 << 20)]


def sent(machines, address, peer, peer_address, megabytes) -> list:
    """Has the machine of an address send zeros by TCP to a peer; whose address and how many bytes the peer saw."""
    code = "import socket,sys;s=socket.create_server(('',5001));print('up',flush=True);c,a=s.accept();n=0\n"
    code += "while (d:=c.recv(1<<16)): n+=len(d)\nprint(a[0],n)"
    with system.background(machines.card, peer, "python3", "-c", code) as server:
        assert server.stdout.readline().strip() == "up"
        machines.shell(address, f"dd if=/dev/zero bs=1M count={megabytes} | nc -w 3 {peer_address} 5001")
        return server.stdout.readline().split()


def test_an_interface_moves_between_running_machines(machines, pair):
    moving = machines.interface("10.0.2.20")
    for number, instance in enumerate([pair[0], pair[1], pair[0]]):
        address = ("10.0.1.20", "10.0.1.30")[number % 2]
        before = machines.console(instance).count("guest: eth1 has 10.0.2.20")
        gone = machines.console(instance).count("guest: eth1 gone")
        attachment = machines.attach(moving, instance)
        machines.says(instance, "guest: eth1 has 10.0.2.20", before + 1, 30)
        assert "1 packets received" in machines.shell(address, "busybox ping -c1 -W5 -I eth1 10.0.2.10")
        began = time.monotonic()
        machines.detach(attachment, moving)
        assert time.monotonic() - began < 10, "the guest was asked to let it go, and did"
        # The driver's remove ran: the guest lost the device, not just its link.
        machines.says(instance, "guest: eth1 gone", gone + 1, 10)
        machines.reaches(machines.peer, address)
    # Low-latency queues need a memory window that firmware reserved.
    assert "LLQ is advertised" not in machines.console(pair[0])


def test_a_reboot_from_inside_keeps_the_machine_and_its_functions(machines, pair):
    ena, _ = pair
    pid = machines.pid(ena)
    moving = machines.interface("10.0.2.21")
    attachment = machines.attach(moving, ena)
    machines.says(ena, "guest: eth1 has 10.0.2.21", 1, 30)
    # One that was unplugged before is still in QEMU: a reset must not touch it.
    machines.shell("10.0.1.20", "reboot -f")
    machines.says(ena, "guest: eth0 has 10.0.1.20", 2)
    machines.says(ena, "guest: eth1 has 10.0.2.21", 2)
    machines.reaches(machines.peer, "10.0.1.20")
    assert machines.pid(ena) == pid and machines.describe(ena)["State"]["Name"] == "running"
    machines.detach(attachment, moving)


def test_nothing_happens_to_machines_when_control_dies(machines, pair):
    pids = [machines.pid(instance) for instance in pair]
    machines.card.kill()
    machines.card.start()
    machines.reaches(machines.peer, "10.0.1.20")
    assert [machines.pid(instance) for instance in pair] == pids
    assert machines.console(pair[0]).count("guest: up") == 2


def test_machines_of_a_card_that_was_killed_boot_again(machines, pair):
    old = [machines.pid(instance) for instance in pair]
    os.kill(int((machines.card.state / "card.pid").read_text()), signal.SIGKILL)
    for instance, address in zip(pair, ("10.0.1.20", "10.0.1.30")):
        machines.says(instance, f"guest: eth0 has {address}", 3 if address == "10.0.1.20" else 2)
        machines.reaches(machines.peer, address)
        assert machines.describe(instance)["State"]["Name"] == "running"
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in old), "the old machines were ended"
    assert "it boots again" in (machines.card.state / "card.log").read_text()


def test_a_machine_that_was_powered_off_from_inside_is_stopped_and_can_start(machines, pair):
    ena, traditional = pair
    machines.shell("10.0.1.20", "poweroff -f")
    reason = machines.becomes(ena, "stopped")["StateReason"]
    assert reason["Code"] == "Client.InstanceInitiatedShutdown"
    machines.ec2.start_instances(InstanceIds=[ena])
    machines.says(ena, "guest: eth0 has 10.0.1.20")
    machines.ec2.terminate_instances(InstanceIds=[ena, traditional])
    machines.becomes(ena, "terminated")
    machines.becomes(traditional, "terminated")


ABOUT_ETH1 = """
uname -r; cat /sys/class/net/eth1/address
for name in eth0 eth1; do basename $(readlink -f /sys/class/net/$name/device/driver); done
"""


@pytest.fixture(params=[("ena", KERNEL), ("newer", NEWER_KERNEL)], ids=lambda param: param[1].name)
def ena_pair(request, machines):
    """Two machines of a kernel whose interfaces are all ENAs, by their addresses, and the kernel's release."""
    image, kernel = request.param
    pair = {address: machines.launch(image, address=address) for address in ("10.0.1.40", "10.0.1.41")}
    for address, instance in pair.items():
        machines.says(instance, f"guest: eth0 has {address}")
    yield pair, (kernel / "release").read_text().strip()
    machines.ec2.terminate_instances(InstanceIds=list(pair.values()))
    for instance in pair.values():
        machines.becomes(instance, "terminated")


def test_an_interface_moves_between_two_ena_drivers(machines, ena_pair):
    """The stock driver lets it go in one machine and takes it in the other, there and back."""
    pair, release = ena_pair
    moving = machines.interface("10.0.2.50")
    mac = machines.ec2.describe_network_interfaces(NetworkInterfaceIds=[moving])["NetworkInterfaces"][0]["MacAddress"]
    here, there = pair
    for address, other, times in ((here, there, 1), (there, here, 1), (here, there, 2)):
        instance = pair[address]
        attachment = machines.attach(moving, instance)
        machines.says(instance, "guest: eth1 has 10.0.2.50", times, 30)
        said = machines.shell(address, ABOUT_ETH1).split()
        assert said == [release, mac, "ena", "ena"], said
        assert mac not in machines.shell(other, "cat /sys/class/net/*/address")
        assert "3 packets received" in machines.shell(address, "busybox ping -c3 -i0.2 -W5 -s 8000 -I eth1 10.0.2.10")
        machines.reaches(machines.second_peer, "10.0.2.50")
        assert sent(machines, address, machines.second_peer, "10.0.2.10", 4) == ["10.0.2.50", str(4 << 20)]
        function = next(found for found in machines.card.json("card") if found["interface"] == moving)
        device = function["device"]
        assert (function["kind"], device["driver"], device["refusals"]) == ("ena", "running", {})
        assert device["host"]["distribution"] == release and device["tx_queues"]
        machines.detach(attachment, moving)
        machines.says(instance, "guest: eth1 gone", times, 10)
        assert mac not in machines.shell(address, "cat /sys/class/net/*/address")
        assert not machines.card.ping(machines.second_peer, "10.0.2.50")
        for still in pair:
            machines.reaches(machines.peer, still)
    machines.ec2.delete_network_interface(NetworkInterfaceId=moving)


def test_a_disk_keeps_what_was_written_until_termination(machines):
    instance = machines.launch("halts")
    volume = machines.card.state / "volumes" / f"{instance}.qcow2"
    machines.says(instance, "disk boot 1")
    machines.ec2.reboot_instances(InstanceIds=[instance])
    machines.says(instance, "disk boot 2")
    machines.ec2.stop_instances(InstanceIds=[instance])
    machines.becomes(instance, "stopped")
    machines.ec2.start_instances(InstanceIds=[instance])
    machines.says(instance, "disk boot 3")
    other = machines.launch("halts")
    machines.says(other, "disk boot 1")
    assert volume.exists()
    machines.ec2.terminate_instances(InstanceIds=[instance, other])
    machines.becomes(instance, "terminated")
    eventually(lambda: not volume.exists(), what="its disk removed")


def test_a_guest_that_lets_nothing_go_keeps_running(machines):
    """Nothing in it answers the request to unplug: the interface leaves all the same, and comes back elsewhere."""
    instance = machines.launch("halts")
    machines.says(instance, "disk boot 1")
    moving = machines.interface("10.0.2.40")
    machines.detach(machines.attach(moving, instance), moving, 30)
    machines.attach(moving, instance)
    assert machines.describe(instance)["State"]["Name"] == "running"
    machines.ec2.reboot_instances(InstanceIds=[instance])
    machines.says(instance, "disk boot 2")
    machines.ec2.terminate_instances(InstanceIds=[instance])
    machines.becomes(instance, "terminated")


@pytest.mark.parametrize("behaviour, state", [("stop", "stopped"), ("terminate", "terminated")])
def test_the_shutdown_behaviour_decides(machines, behaviour, state):
    instance = machines.launch("powers-off", InstanceInitiatedShutdownBehavior=behaviour)
    reason = machines.becomes(instance, state, 60)["StateReason"]
    assert reason["Code"] == "Client.InstanceInitiatedShutdown"


def test_a_guest_that_listens_shuts_down_by_itself(machines):
    """Stop and reboot press the power button first, where the guest has enabled it."""
    instance = machines.launch("listens")
    machines.says(instance, "disk boot 1")
    pid = machines.pid(instance)
    machines.ec2.reboot_instances(InstanceIds=[instance])
    machines.says(instance, "~disk boot 2")
    assert machines.pid(instance) == pid
    machines.ec2.stop_instances(InstanceIds=[instance])
    machines.becomes(instance, "stopped")
    assert "did not shut down by itself" not in "".join(
        line for line in (machines.card.state / "card.log").open() if instance in line
    )
    machines.ec2.terminate_instances(InstanceIds=[instance])
    machines.becomes(instance, "terminated")


def test_without_qemu_a_launch_says_what_to_install(program_without_qemu):
    lab, _ = program_without_qemu
    instance = lab.launch("halts")
    reason = lab.becomes(instance, "terminated")["StateReason"]["Message"]
    assert "QEMU 10.1 or later" in reason and "TRINIC_QEMU" in reason
    # Other instances do not need it.
    assert lab.card.ping(lab.peer, "10.0.2.10")


def test_a_state_folder_with_too_long_a_path_leaves_no_process(machines, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TRINIC_ACCELERATOR", "tcg")
    folder = tmp_path_factory.mktemp("long")
    # The card's own sockets fit, and those in a machine's folder do not.
    state = folder / "s".ljust(85 - len(str(folder)), "s")
    card = system.Card(system.binary(), state, ["--ephemeral"]).start()
    try:
        lab = DiskMachines(card, card.client(), folder)
        instance = lab.launch("halts")
        reason = lab.becomes(instance, "terminated")["StateReason"]["Message"]
        assert "longer than the 107 bytes" in reason and "--state" in reason, reason
        found = subprocess.run(["pgrep", "-af", f"qemu.* -name {instance}"], capture_output=True, text=True)
        assert found.returncode == 1, found.stdout[:200]
    finally:
        card.stop()


@pytest.fixture
def program_without_qemu(machines, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TRINIC_QEMU", "/nonexistent/qemu")
    folder = tmp_path_factory.mktemp("no")
    card = system.Card(system.binary(), folder / "s", ["--ephemeral"]).start()
    yield DiskMachines(card, card.client(), folder), folder
    card.stop()
