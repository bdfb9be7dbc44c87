"""Bulk traffic of the stock `ena` driver, judged by captures at the other end; two guests; security groups; a VMM that dies.

Between guests the device itself cuts super-frames and computes checksums, so the receiver's capture shows its work.
"""

import contextlib
import json
import subprocess
import time

import pytest

from ena_lab import EnaLab, Segment, assert_whole_stream, captured, eventually, iperf, pcap_frames, ping, rule
from harness import KERNELS, Guest

PORT = 5201
BYTES = 1 << 20
OFFLOADS = "tso tx sg gso gro rx".split()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = EnaLab(tmp_path_factory.mktemp("ena"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def guests(lab):
    """Two guests, one of each kernel, with a server for bulk traffic in each."""
    made = []
    with contextlib.ExitStack() as running:
        for kernel, address in zip(KERNELS, ("10.80.1.30", "10.80.1.31")):
            eni = lab.function(address)
            guest = lab.guest(eni, kernel, name="traffic")
            running.callback(guest.start().stop)
            guest.eni, guest.address, guest.address6 = eni, address, lab.functions[eni]["address6"]
            made.append(guest)
        for guest in made:
            guest.wait_ready().lease(timeout=60)
            guest.check(f"ip -6 addr replace {guest.address6}/128 dev eth0 && iperf3 -s -D")
            guest.eventually("ip -6 route show default | grep -q 'via fe80::'")
        yield made


@contextlib.contextmanager
def settings(guests, *commands):
    """Settings of the guests' interfaces while the block runs; then those of a new one again."""
    try:
        for guest in guests:
            for command in commands:
                guest.check(command)
        yield
    finally:
        for guest in guests:
            guest.check(f"ip link set eth0 mtu 9001; ethtool -K eth0 {' '.join(f'{name} on' for name in OFFLOADS)}")


def segments(frames, source=None, destination=None):
    found = [Segment(frame) for frame in frames]
    return [s for s in found if source in (None, s.source) and destination in (None, s.destination)]


def checksum_errors(guest) -> int:
    names, values = (line.split() for line in guest.check("grep ^Tcp: /proc/net/snmp").splitlines())
    return int(values[names.index("InCsumErrors")])


@pytest.mark.parametrize("sender, mtu, family", ((0, 1500, 4), (0, 9001, 6), (1, 9001, 4), (1, 1500, 6)))
def test_the_device_cuts_super_frames(guests, sender, mtu, family):
    """What the sender's stack leaves to the card, and what the receiver gets of it."""
    source, sink = guests[sender], guests[1 - sender]
    address = sink.address if family == 4 else sink.address6
    with settings(guests, f"ip link set eth0 mtu {mtu}", "ethtool -K eth0 gro off"):
        with captured(sink, f"tcp dst port {PORT}") as received, captured(source, f"tcp dst port {PORT}") as left:
            iperf(source, address, amount=str(BYTES))
    received, left = segments(received), segments(left)
    # The sender did hand over super-frames, without their checksums.
    assert max(segment.length for segment in left) > mtu
    assert all(segment.checksum_is_partial for segment in left if segment.length > mtu), left
    # The receiver got segments that fit, full but for the last, and right to the last bit.
    assert max(segment.length for segment in received) == mtu
    assert len(received) > len(left)
    wrong = [s for s in received if not (s.checksum_is_right and s.header_is_right)]
    assert not wrong, wrong[:5]
    assert_whole_stream(received, BYTES)
    # Segments of a super-frame are told apart by their identification.
    if family == 4:
        full = [s.identification for s in received if s.length == mtu]
        assert len(set(full)) > len(full) * 0.9


def test_without_offloads(guests):
    """The stacks do everything themselves; the device changes nothing and the receiver trusts nothing."""
    source, sink = guests
    before = [checksum_errors(guest) for guest in guests]
    with settings(guests, "ethtool -K eth0 " + " ".join(f"{name} off" for name in OFFLOADS)):
        shown = source.check("ethtool -k eth0")
        assert "tcp-segmentation-offload: off" in shown and "tx-checksumming: off" in shown, shown
        assert "rx-checksumming: off" in shown and "scatter-gather: off" in shown
        with captured(sink, f"tcp dst port {PORT}") as received, captured(source, f"tcp dst port {PORT}") as left:
            iperf(source, sink.address, amount=str(BYTES))
        iperf(source, sink.address, "-R", amount=str(BYTES))
        iperf(source, sink.address6, amount=str(BYTES))
        iperf(source, sink.address6, "-R", amount=str(BYTES))
    received, left = segments(received), segments(left)
    for found in (received, left):
        assert max(segment.length for segment in found) == 9001
        assert all(segment.checksum_is_right and segment.header_is_right for segment in found)
    assert_whole_stream(received, BYTES)
    assert [checksum_errors(guest) for guest in guests] == before


@contextlib.contextmanager
def captured_outside(lab, expression):
    """Frames at the namespace instance."""
    frames, path = [], lab.folder / "outside.pcap"
    command = ["tcpdump", "-i", "eth0", "-n", "-B", "8192", "-s", "0", "-U", "-w", "-", *expression.split()]
    with open(path, "wb") as target, lab.serving(*command, stdout=target, stderr=subprocess.PIPE) as process:
        with process.stderr:
            assert b"listening on" in process.stderr.readline()
            yield frames
            time.sleep(0.5)
            process.terminate()
            process.wait(10)
    frames += pcap_frames(path.read_bytes())


@pytest.mark.parametrize("which", (0, 1))
def test_bulk_to_and_from_a_namespace(lab, guests, which):
    guest = guests[which]
    with lab.iperf_server(), settings(guests, "ethtool -K eth0 gro off"):
        with captured_outside(lab, f"tcp dst port {PORT}") as outside:
            iperf(guest, lab.peer_address, amount=str(BYTES))
        arrived = segments(outside)
        # A tap takes super-frames whole: the sums of the pseudo headers are what must be right.
        wrong = [s for s in arrived if not (s.checksum_is_right or s.checksum_is_partial) or not s.header_is_right]
        assert not wrong, wrong[:5]
        assert_whole_stream(arrived, BYTES)

        with captured(guest, f"tcp src port {PORT}") as inside:
            iperf(guest, lab.peer_address, "-R", amount=str(BYTES))
        received = segments(inside)
        assert max(segment.length for segment in received) == 9001
        wrong = [s for s in received if not (s.checksum_is_right and s.header_is_right)]
        assert not wrong, wrong[:5]
        assert_whole_stream(received, BYTES)


def test_what_leaves_without_offloads_is_right_outside(lab, guests):
    guest = guests[0]
    with lab.iperf_server(), settings([guest], "ethtool -K eth0 tso off tx off gso off"):
        with captured_outside(lab, f"tcp dst port {PORT}") as outside:
            iperf(guest, lab.peer_address, amount=str(BYTES))
    found = segments(outside)
    assert max(segment.length for segment in found) == 9001
    assert all(segment.checksum_is_right and segment.header_is_right for segment in found)
    assert_whole_stream(found, BYTES)


def test_security_groups_between_guests(lab, guests):
    one, two = guests
    closed = lab.group("closed")
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=two.eni, Groups=[closed])
    try:
        # A group without rules for what comes in. No connection of before is asked about: the port is a new one.
        before = lab.card.stats(two.eni)["drops"].get("security-group-inbound", 0)
        assert one.run(f"ping -n -c 2 -i 0.2 -W 1 {two.address}")[0] == 1
        assert one.run(f"nc -w 2 {two.address} {PORT} </dev/null")[0] != 0
        after = lab.card.stats(two.eni)["drops"]["security-group-inbound"]
        assert after - before >= 3, (before, after)
        # What the guest asks for itself comes in.
        ping(two, one.address)
        permission = rule("icmp", -1, group=lab.open)
        lab.ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[permission])
        ping(one, two.address, 2, 8000)
        assert one.run(f"nc -w 2 {two.address} {PORT} </dev/null")[0] != 0
        permission = rule("tcp", PORT, cidr=f"{one.address}/32")
        lab.ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[permission])
        iperf(one, two.address, amount="256K")
    finally:
        lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=two.eni, Groups=[lab.open])


def test_a_forged_source_leaves_no_guest(lab, guests):
    one = guests[0]
    before = lab.card.stats(one.eni)["drops"].get("source-address", 0)
    one.check("ip addr add 10.80.1.99/32 dev eth0")
    assert one.run(f"ping -n -c 2 -i 0.2 -W 1 -I 10.80.1.99 {lab.peer_address}")[0] == 1
    one.check("ip addr del 10.80.1.99/32 dev eth0")
    assert lab.card.stats(one.eni)["drops"]["source-address"] - before >= 2


def test_all_talk_at_once(lab, guests):
    """Three ends, six streams; the device is still well when all have ended."""
    one, two = guests
    with lab.iperf_server():
        there = one.background(f"iperf3 -c {two.address} --bidir -n 1M")
        outside = two.background(f"iperf3 -c {lab.peer_address} --bidir -n 1M")
        ping(one, lab.peer_address, 5, 8000)
        for command in (there, outside):
            status, said = command.wait(60)
            assert status == 0, said
    for guest in guests:
        lab.assert_healthy(guest.eni)


def test_the_printed_arguments_start_a_guest(lab, guests):
    """What `trinic attach --vfio-user` prints, word for word: a memory of 1 GiB, the machine and the function."""
    eni = lab.function("10.80.1.32")
    _, _, printed = lab.functions[eni]["said"].split("\n", 2)
    # As the shell reads them into which they are pasted.
    words = subprocess.check_output(["sh", "-c", f"printf '%s\\0' {printed}"], text=True).split("\0")[:-1]
    assert [word for word in words if word.startswith("-")] == ["-object", "-m", "-machine", "-device"]
    with Guest(KERNELS[0], machine=words, name="printed") as vm:
        assert vm.lease()["ip"] == "10.80.1.32"
        assert vm.check("cat /sys/class/net/eth0/address").strip() == lab.functions[eni]["mac"]
        memory_kib = int(vm.check("awk '/^MemTotal/ { print $2 }' /proc/meminfo"))
        assert 900 << 10 < memory_kib < 1 << 20
        ping(vm, lab.peer_address, 2, 8000)
        ping(guests[0], "10.80.1.32", 2, 8000)
        iperf(vm, guests[0].address)
        lab.assert_healthy(eni)


# The last one: it ends a guest.
def test_a_vmm_that_dies_leaves_a_function_that_works_again(lab, guests):
    one, two = guests
    lease = one.check("ip -j addr show eth0")
    two.kill()
    gone = eventually(lambda: (now := lab.described(two.eni))["is_connected"] is False and now, what="disconnected")
    assert (gone["device"]["driver"], gone["device"]["tx_queues"], gone["device"]["rx_queues"]) == ("no-driver", [], [])
    # Others did not notice.
    ping(one, lab.peer_address)
    assert json.loads(one.check("ip -j addr show eth0"))[0]["flags"] == json.loads(lease)[0]["flags"]
    with lab.guest(two.eni, KERNELS[0], name="again") as again:
        assert again.lease()["ip"] == two.address
        ping(again, one.address, 2, 8000)
        ping(one, two.address, 2, 8000)
    lab.assert_healthy(one.eni)
    lab.assert_healthy(two.eni)
