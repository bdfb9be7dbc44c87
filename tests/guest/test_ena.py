"""The stock `ena` driver on the card's functions: its address, its traffic, and all that `ethtool` can ask.

Every test runs with each of the kernels (docs/guests.md).
"""

import json
import re
import statistics
import time

import pytest

from ena_lab import EnaLab, counters, eventually, iperf, ping
from harness import KERNELS

ADDRESS = {KERNELS[0]: "10.80.1.20", KERNELS[1]: "10.80.1.21"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = EnaLab(tmp_path_factory.mktemp("ena"))
    yield running
    running.stop()


@pytest.fixture(scope="module", params=KERNELS)
def vm(request, lab):
    """A guest with one function, `vm.eni`."""
    eni = lab.function(ADDRESS[request.param])
    with lab.guest(eni, request.param, name="ena") as running:
        running.eni, running.address = eni, ADDRESS[request.param]
        yield running


@pytest.fixture(scope="module")
def iperf_server(lab):
    with lab.iperf_server():
        yield


# The first test: the trace holds the start of the driver.
def test_the_trace_tells_the_drivers_start(lab, vm):
    vm.lease()
    lines = [line.split(" ", 1)[1] for line in lab.card.run("trace", vm.eni).stdout.splitlines()]
    # Pages are the guest's own choice.
    said = [re.sub(r"0x[0-9a-f]+000$|0x[0-9a-f]+000(?=,)", "PAGE", line) for line in lines]
    assert said[: len(EXPECTED_START)] == EXPECTED_START
    assert "event link change: up" in lines and "event keep alive: rx drops 0, tx drops 0, rx overruns 0" in lines
    assert any(line.endswith("set feature MTU, 9001 B -> success") for line in lines)
    assert not [line for line in lines if line.startswith("refused")]


def test_dhcp_configures_it(lab, vm):
    lease = vm.lease()
    assert (lease["ip"], lease["mask"], lease["mtu"]) == (vm.address, "24", "9001")
    assert lease["router"] == lease["serverid"] == "10.80.1.1" and lease["dns"] == "10.80.0.2"
    link = json.loads(vm.check("ip -j -d link show eth0"))[0]
    assert (link["mtu"], link["min_mtu"], link["max_mtu"]) == (9001, 128, 9216)
    assert link["address"] == lab.functions[vm.eni]["mac"] and link["operstate"] == "UP"
    assert "default via 10.80.1.1 dev eth0" in vm.check("ip route")


def test_the_address_comes_soon_after_the_link(vm, capsys):
    """How long from "up" to the link and to the lease; printed, for a machine's load is in it."""
    vm.lease()
    begin, link, end = map(float, vm.check(UP_AND_LEASE, timeout=60).split())
    with capsys.disabled():
        print(f"\n{vm.kernel}: link after {link - begin:.2f} s, lease {end - link:.2f} s later")
    # The driver is told of the link when it makes its queues, not with the next keep-alive a second later, and
    # the first question is answered: a second one would go out after a second.
    said = vm.check("cat /run/dhcp/again.log")
    assert said.count("discover") == 1 and "lease of" in said, said
    vm.check("ifdown eth0; ifup eth0")
    vm.lease()


def test_pings_of_all_sizes(lab, vm):
    vm.lease()
    for size in (0, 56, 1472, 8000, 8973):
        assert "0% packet loss" in ping(vm, lab.peer_address, 3, size)
    # One byte more than the MTU.
    status, said = vm.run(f"ping -n -c 1 -W 1 -M do -s 8974 {lab.peer_address}")
    assert status != 0 and "essage too long" in said, said
    # In two fragments.
    vm.eventually(f"ping -n -c 2 -i 0.2 -W 2 -M dont -s 12000 {lab.peer_address}")
    assert lab.card.ping(lab.peer, vm.address, 3, 5, "-s", "8000", "-M", "do")
    assert lab.card.ping(lab.peer, vm.address, 3, 5, "-s", "8973", "-M", "do")


def test_ipv6(lab, vm):
    vm.lease()
    address = lab.functions[vm.eni]["address6"]
    vm.check(f"ip -6 addr replace {address}/128 dev eth0")
    # The card advertises itself as the router; addresses come from elsewhere (DHCPv6, here by hand).
    vm.eventually("ip -6 route show default | grep -q 'via fe80::'")
    vm.eventually("! ip -6 addr show dev eth0 | grep -q tentative")
    assert "dadfailed" not in vm.check("ip -6 addr show dev eth0")
    assert "0% packet loss" in ping(vm, lab.peer_address6, 3)
    assert "0% packet loss" in ping(vm, lab.peer_address6, 3, 8000)
    assert lab.card.ping(lab.peer, address, 3, 5, "-s", "8000", "-M", "do")


def test_link_local_services(vm):
    vm.lease()
    vm.write("/tmp/imds", IMDS)
    token = vm.check("sh /tmp/imds PUT /latest/api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60' | tail -n 1").strip()
    assert len(token) > 20, token
    header = f"X-aws-ec2-metadata-token: {token}"
    said = vm.check(f"sh /tmp/imds GET /latest/meta-data/local-ipv4 '{header}'")
    assert " 200 " in said and said.splitlines()[-1] == vm.address
    mac = vm.check("cat /sys/class/net/eth0/address").strip()
    said = vm.check(f"sh /tmp/imds GET /latest/meta-data/network/interfaces/macs/{mac}/interface-id '{header}'")
    assert said.splitlines()[-1] == vm.eni
    name = f"ip-{vm.address.replace('.', '-')}.ec2.internal"
    assert vm.address in vm.check(f"nslookup -type=a {name} 10.80.0.2")
    assert vm.address in vm.check(f"nslookup -type=a {name} 169.254.169.253")


def test_the_driver_names_itself(lab, vm):
    said = dict(line.split(": ", 1) for line in vm.check("ethtool -i eth0").splitlines() if ": " in line)
    assert said["driver"] == "ena" and said["version"] == vm.release
    device = lab.device(vm.eni)
    # The card knows the place from the driver, by host info.
    assert said["bus-info"].removeprefix("0000:") == device["bdf"].removeprefix("0000:")
    assert device["driver"] == "running" and device["mtu"] == 9001 and device["bus_resets"] >= 1
    assert device["host"]["os"] == "Linux" and device["host"]["cpu_count"] == 2
    assert device["host"]["distribution"] == vm.release
    assert len(device["tx_queues"]) == len(device["rx_queues"]) == 2
    assert all(queue["is_llq"] for queue in device["tx_queues"])
    line = next(line for line in lab.card.run("card").stdout.splitlines() if vm.eni in line)
    assert device["bdf"] in line and "running" in line, line


def test_statistics_are_there_and_move(lab, vm):
    vm.lease()
    before, outside = counters(vm), lab.card.stats(vm.eni)
    ping(vm, lab.peer_address, 5)
    after, outside_after = counters(vm), lab.card.stats(vm.eni)
    for name in ALLOWANCES:
        assert after[name] == 0 or name == "conntrack_allowance_available", name
    # ENA Express is off, and said to be.
    assert [after[name] for name in after if name.startswith("ena_srd_")] == [0] * 5
    for direction in ("tx", "rx"):
        moved = sum(after[f"queue_{q}_{direction}_cnt"] - before[f"queue_{q}_{direction}_cnt"] for q in (0, 1))
        assert moved >= 5, (direction, before, after)
        bytes_moved = sum(after[f"queue_{q}_{direction}_bytes"] - before[f"queue_{q}_{direction}_bytes"] for q in (0, 1))
        assert bytes_moved >= 5 * 84
    assert outside_after["packets_out"] - outside["packets_out"] >= 5
    for name, value in after.items():
        if name.endswith(BAD_SUFFIXES):
            assert value == 0, (name, value)
    assert after["ena_admin_q_submitted_cmd"] == after["ena_admin_q_completed_cmd"] > 20
    assert after["ena_admin_q_no_completion"] == after["wd_expired"] == after["reset_fail"] == 0


def test_queues_can_be_fewer_and_more(lab, vm, iperf_server):
    vm.lease()
    for queues in (1, 2):
        vm.check(f"ethtool -L eth0 combined {queues}")
        shown = vm.check("ethtool -l eth0")
        assert re.findall(r"Combined:\s+(\d+)", shown) == ["2", str(queues)], shown
        assert len(lab.device(vm.eni)["tx_queues"]) == queues
        ping(vm, lab.peer_address)
        iperf(vm, lab.peer_address, amount="512K")
    # One flow keeps to a queue; several use both, in both directions.
    before = counters(vm)
    iperf(vm, lab.peer_address, "-P 8", amount="1M")
    iperf(vm, lab.peer_address, "-P 8", "-R", amount="1M")
    after = counters(vm)
    for name in ("queue_0_tx_cnt", "queue_1_tx_cnt", "queue_0_rx_cnt", "queue_1_rx_cnt"):
        assert after[name] > before[name], name


def test_rings_of_all_sizes(lab, vm, iperf_server):
    vm.lease()
    for rx, tx in ((256, 256), (8192, 512), (1024, 1024)):
        vm.check(f"ethtool -G eth0 rx {rx} tx {tx}")
        device = lab.device(vm.eni)
        assert {queue["depth"] for queue in device["rx_queues"]} == {rx}
        assert {queue["depth"] for queue in device["tx_queues"]} == {tx}
        ping(vm, lab.peer_address, 2, 8000)
        iperf(vm, lab.peer_address, amount="512K")
    assert re.findall(r"RX:\s+(\d+)", vm.check("ethtool -g eth0")) == ["8192", "1024"]


def test_a_larger_llq_header(lab, vm, iperf_server):
    """256-byte entries, asked for with `ethtool -G … tx-push-buf-len`; the rings become half as deep."""
    vm.lease()
    vm.check("ethtool -G eth0 tx-push-buf-len 224")
    assert re.findall(r"TX push buff len:\s+(\d+)", vm.check("ethtool -g eth0")) == ["224", "224"]
    assert {queue["depth"] for queue in lab.device(vm.eni)["tx_queues"]} == {512}
    ping(vm, lab.peer_address, 2, 8000)
    iperf(vm, lab.peer_address, amount="512K")
    vm.check("ethtool -G eth0 tx-push-buf-len 96")
    ping(vm, lab.peer_address)
    lab.assert_healthy(vm.eni)


def test_receive_side_scaling_is_the_drivers_to_set(lab, vm, iperf_server):
    vm.lease()
    shown = vm.check("ethtool -x eth0")
    assert "toeplitz: on" in shown
    # All to queue 1.
    vm.check("ethtool -X eth0 weight 0 1")
    table = re.findall(r"^\s*\d+:\s+([\d ]+)$", vm.check("ethtool -x eth0"), re.M)
    assert set(" ".join(table).split()) == {"1"} and len(" ".join(table).split()) == 128
    before = counters(vm)
    iperf(vm, lab.peer_address, "-P 4", amount="512K")
    after = counters(vm)
    assert after["queue_1_rx_cnt"] > before["queue_1_rx_cnt"]
    assert after["queue_0_rx_cnt"] == before["queue_0_rx_cnt"]
    # The key, and both queues again.
    key = ":".join(f"{byte:02x}" for byte in range(1, 41))
    vm.check(f"ethtool -X eth0 equal 2 hkey {key}")
    assert key in vm.check("ethtool -x eth0")
    iperf(vm, lab.peer_address, "-P 8", amount="512K")
    assert counters(vm)["queue_0_rx_cnt"] > after["queue_0_rx_cnt"]
    # The driver gives the table and the key again to queues that it makes anew.
    vm.check("ip link set eth0 down && ip link set eth0 up")
    assert key in vm.check("ethtool -x eth0")


def test_the_fields_of_the_hash_are_the_drivers_to_choose(lab, vm):
    """By addresses alone all datagrams of a peer go to one queue; by ports as well, to both."""
    vm.lease()
    vm.check("ethtool -X eth0 equal 2")

    def received(fields: str) -> list:
        """How many packets each queue got of datagrams from 64 ports, fewest first."""
        vm.check(f"ethtool -N eth0 rx-flow-hash udp4 {fields}")
        shown = vm.check("ethtool -n eth0 rx-flow-hash udp4")
        assert ("L4 bytes" in shown) == ("f" in fields) and "IP SA" in shown and "IP DA" in shown, shown
        before = counters(vm)
        lab.card.exec(lab.peer, "python3", "-c", FROM_64_PORTS, vm.address, check=True)

        def counts():
            after = counters(vm)
            return sorted(after[name] - before[name] for name in ("queue_0_rx_cnt", "queue_1_rx_cnt"))

        eventually(lambda: sum(counts()) >= 64, what="all datagrams at the driver")
        return counts()

    # A few more packets than the datagrams may come: ARP, the router's advertisement.
    few, all_of_them = received("sd")
    assert few < 8 and all_of_them >= 64, (few, all_of_them)
    few, many = received("sdfn")
    assert few >= 16, (few, many)


def test_interrupt_moderation(lab, vm):
    """A question from outside waits for the receive interrupt; an answer would come with the transmit one."""
    vm.lease()
    shown = vm.check("ethtool -c eth0")
    assert re.search(r"^rx-usecs:\s+\d+", shown, re.M) and re.search(r"^tx-usecs:\s+64", shown, re.M), shown

    def round_trips_ms():
        # The setting goes to the device with an unmask, so the first packets still go by the old one.
        said = lab.card.exec(lab.peer, "ping", "-n", "-c", "7", "-i", "0.1", "-W", "2", vm.address, check=True).stdout
        return [float(ms) for ms in re.findall(r"time=([\d.]+)", said)][3:]

    vm.check("ethtool -C eth0 adaptive-rx off rx-usecs 30000")
    assert re.search(r"^rx-usecs:\s+30000", vm.check("ethtool -c eth0"), re.M)
    slow = round_trips_ms()
    vm.check("ethtool -C eth0 rx-usecs 0")
    fast = round_trips_ms()
    vm.check("ethtool -C eth0 adaptive-rx on rx-usecs 20 tx-usecs 64")
    # A single question may come while the interrupt of another packet is due already.
    assert statistics.median(slow) >= 30, (slow, fast)
    assert statistics.median(fast) < 30, (slow, fast)


@pytest.mark.parametrize("mtu", (1500, 9216, 9001))
def test_mtu(lab, vm, mtu):
    vm.lease()
    vm.check(f"ip link set eth0 mtu {mtu}")
    assert lab.device(vm.eni)["mtu"] == mtu
    ping(vm, lab.peer_address, 2, min(mtu, 9001) - 28)


def test_latency_after_idle(lab, vm, capsys):
    """The first packet after two seconds of silence, which finds everybody asleep; measured, not judged."""
    vm.lease()
    first, second = [], []
    for _ in range(3):
        time.sleep(2)
        times = re.findall(r"time=([\d.]+)", ping(vm, lab.peer_address, 2))
        first.append(float(times[0]))
        second.append(float(times[1]))
    with capsys.disabled():
        print(f"\n{vm.kernel}: round trip after 2 s idle {min(first):.2f} to {max(first):.2f} ms, "
              f"0.2 s later {min(second):.2f} to {max(second):.2f} ms")


# The last test of the module with each kernel.
def test_no_driver_blamed_the_device(lab, vm):
    lab.assert_healthy(vm.eni)
    said = vm.check("dmesg")
    assert not [line for line in said.splitlines() if "ena 0000" in line and re.search("fail|error|Reset|timeout", line)]


# Up without a client, the link, then a client of its own with nothing to do but ask.
UP_AND_LEASE = """
ifdown eth0
now() { cut -d' ' -f1 /proc/uptime; }
begin=$(now)
ip link set eth0 up
until [ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = 1 ]; do usleep 5000; done
link=$(now)
udhcpc -f -q -n -i eth0 -t 5 -T 1 -s /bin/true >/run/dhcp/again.log 2>&1
echo "$begin $link $(now)"
"""

# A datagram from each of 64 ports, to a port where nobody listens.
FROM_64_PORTS = """
import socket, sys
for port in range(20000, 20064):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("", port))
        sender.sendto(b"x", (sys.argv[1], 9))
"""

# Busybox' wget has no PUT. One request over one connection, which the server closes.
IMDS = b"""
printf '%s %s HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\nConnection: close\\r\\n%s\\r\\nContent-Length: 0\\r\\n\\r\\n' "$1" "$2" "$3" |
  nc -w 10 169.254.169.254 80 | tr -d '\\r'
"""

ALLOWANCES = (
    "bw_in_allowance_exceeded bw_out_allowance_exceeded pps_allowance_exceeded conntrack_allowance_exceeded "
    "linklocal_allowance_exceeded conntrack_allowance_available"
).split()

# Counters of the driver that say that something is wrong, or that it had to stop.
BAD_SUFFIXES = tuple(
    "_dma_mapping_err _linearize_failed _prepare_ctx_err _bad_req_id _missed_tx _csum_bad _page_alloc_fail "
    "_skb_alloc_fail _bad_desc_num".split()
)

EXPECTED_START = """\
reset by the bus
write MMIO_RESP_LO = PAGE
write MMIO_RESP_HI = 0x0
read DEV_STS = 0x1, ready (readless)
read CAPS = 0x3015, a reset takes at most 1000 ms, addresses of 48 bits (readless)
write DEV_CTL = 0x1, reset
reset, reason 0: normal
write MMIO_RESP_LO = PAGE
write MMIO_RESP_HI = 0x0
read DEV_STS = 0x8, reset in progress (readless)
write DEV_CTL = 0x0
reset done
read DEV_STS = 0x1, ready (readless)
read VERSION = 0x200, 2.0 (readless)
read CTRL_VERSION = 0x1, 0.0.1 (readless)
read CAPS = 0x3015, a reset takes at most 1000 ms, addresses of 48 bits (readless)
read DEV_STS = 0x1, ready (readless)
write AQ_BASE_LO = PAGE
write AQ_BASE_HI = 0x0
write ACQ_BASE_LO = PAGE
write ACQ_BASE_HI = 0x0
write AQ_CAPS = 0x400020, 32 entries of 64 B
write ACQ_CAPS = 0x400020, 32 entries of 64 B
write AENQ_BASE_LO = PAGE
write AENQ_BASE_HI = 0x0
write AENQ_CAPS = 0x400010, 16 entries of 64 B
write INTR_MASK = 0x1
write AQ_DB = 0x1
command 0: set feature host attributes, host info at PAGE, debug area of 0 B at 0x0 -> success
write AQ_DB = 0x2
command 1: get feature device attributes -> success, features 0x1c145c92, capabilities 0xf, max MTU 9216
""".splitlines()
