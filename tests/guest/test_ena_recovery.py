"""The stock `ena` driver that starts and stops again and again, and devices that fail it (`trinic card --fault`).

Each fault makes a driver of a healthy system do what it does on EC2: its watchdogs find it, it resets the
device with a reason, and traffic goes on.
"""

import contextlib
import re
import time

import pytest

from ena_lab import EnaLab, counters, eventually, ping
from harness import KERNELS

ADDRESS = "10.80.1.40"
# Late completions after which the driver resets. Source: MAX_NUM_OF_TIMEOUTED_PACKETS, ena_netdev.h.
LATE_PACKETS = 128
UP = f"ip addr replace {ADDRESS}/24 dev eth0 && ip link set eth0 mtu 9001 up"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    running = EnaLab(tmp_path_factory.mktemp("ena"))
    yield running
    running.stop()


@pytest.fixture(scope="module", params=KERNELS)
def vm(request, lab):
    """A guest whose interface is configured by hand: a DHCP client would add its own time to every start."""
    if not lab.functions:
        lab.function(ADDRESS)
    (eni,) = lab.functions
    guest = lab.guest(eni, request.param, name="recovery")
    guest.append = guest.append.replace("trinic.dhcp=ena", "trinic.dhcp=")
    with guest as running:
        running.eni = eni
        running.eventually(UP)
        ping(running, lab.peer_address)
        yield running


def differences(before: dict, after: dict) -> dict:
    """What was counted since, without what was not."""
    return {code: count - before.get(code, 0) for code, count in after.items() if count != before.get(code, 0)}


@contextlib.contextmanager
def many_senders(lab, vm):
    """Pings from many sockets: what is not completed stays charged to its socket, which soon may send no more."""
    running = vm.background(f"for socket in $(seq 30); do ping -n -q -i 0.2 -W 1 {lab.peer_address} & done; wait")
    try:
        yield
    finally:
        running.stop()


class Reset:
    """Waits for a reset of a reason, and for traffic after it."""

    def __init__(self, lab, vm):
        self.lab, self.vm = lab, vm
        self.before = lab.resets(vm.eni)
        self.began = time.monotonic()

    def came(self, code, timeout=40):
        def found():
            return differences(self.before, self.lab.resets(self.vm.eni))

        new = eventually(found, timeout, 0.2, f"a reset with reason {code}")
        after_s = time.monotonic() - self.began
        assert code in new, (code, new)
        ping(self.vm, self.lab.peer_address, 2, 8000)
        print(f"{self.vm.kernel}: reset with reason {code} after {after_s:.1f} s, traffic again "
              f"{time.monotonic() - self.began - after_s:.1f} s later")
        device = self.lab.device(self.vm.eni)
        assert device["driver"] == "running" and device["mtu"] == 9001
        # One fault, one reset, in which the driver starts anew (0): what follows finds a healthy device.
        time.sleep(1)
        assert found() == {0: 1, code: 1}, found()


    def none_came(self):
        assert not differences(self.before, self.lab.resets(self.vm.eni))


def test_twenty_times_down_and_up(lab, vm):
    before, counted = lab.resets(vm.eni), counters(vm)
    for _ in range(4):
        vm.check("for turn in 1 2 3 4 5; do ip link set eth0 down && ip link set eth0 up || exit; done")
        ping(vm, lab.peer_address, 2, 8000)
    said = counters(vm)
    assert [said[name] - counted[name] for name in ("interface_up", "interface_down")] == [20, 20]
    assert lab.resets(vm.eni) == before
    lab.assert_healthy(vm.eni, before)


def test_twenty_times_the_module_anew(lab, vm):
    before = lab.resets(vm.eni)
    for _ in range(4):
        vm.check(f"for turn in 1 2 3 4 5; do rmmod ena && modprobe ena && {UP} || exit; done", 60)
        ping(vm, lab.peer_address, 2, 8000)
    after = lab.resets(vm.eni)
    # The driver resets when it starts (0, normal) and when it goes (11, shutdown): nothing else happened.
    assert differences(before, after) == {0: 20, 11: 20}
    lab.assert_healthy(vm.eni, before)
    line = next(line for line in lab.card.run("card").stdout.splitlines() if vm.eni in line)
    assert "x normal" in line and "x shutdown" in line, line
    vm.check("rmmod ena")
    assert lab.device(vm.eni)["driver"] == "no-driver"
    vm.check(f"modprobe ena && {UP}")
    ping(vm, lab.peer_address)


def test_no_more_keep_alives(lab, vm):
    reset = Reset(lab, vm)
    lab.fault(vm.eni, "stop-keep-alive")
    # The driver waits for 6 s.
    reset.came(1)
    assert counters(vm)["wd_expired"] >= 1


def test_the_cable_is_pulled_and_plugged_in(lab, vm):
    reset = Reset(lab, vm)
    lab.fault(vm.eni, "link-down")
    vm.eventually("grep -qx 0 /sys/class/net/eth0/carrier")
    lab.fault(vm.eni, "link-up")
    vm.eventually("grep -qx 1 /sys/class/net/eth0/carrier")
    ping(vm, lab.peer_address)
    reset.none_came()


def test_a_notification_ends_the_watch_for_keep_alives(lab, vm):
    reset = Reset(lab, vm)
    lab.fault(vm.eni, "no-watchdog")
    lab.fault(vm.eni, "stop-keep-alive")
    # Without the notification the driver would not wait for longer than 6 s, by its own clock.
    vm.check("sleep 9", timeout=60)
    reset.none_came()
    ping(vm, lab.peer_address)
    # So that the next test finds keep-alives again.
    vm.check(f"rmmod ena && modprobe ena && {UP}")


def test_transmit_completions_are_lost(lab, vm):
    """Without byte queue limits, which stop a queue long before 128 packets are late (the next test)."""
    vm.check("ethtool -L eth0 combined 1")
    vm.check("echo 100000000 >/sys/class/net/eth0/queues/tx-0/byte_queue_limits/limit_min")
    ping(vm, lab.peer_address)
    reset = Reset(lab, vm)
    assert counters(vm)["queue_0_tx_missed_tx"] == 0
    # More than are needed: a late one may be seen before the last is late.
    for _ in range(LATE_PACKETS + 32):
        lab.fault(vm.eni, "swallow-tx-completion")
    with many_senders(lab, vm):
        reset.came(3)
    vm.check("echo 0 >/sys/class/net/eth0/queues/tx-0/byte_queue_limits/limit_min; ethtool -L eth0 combined 2")


def test_an_interrupt_is_lost(lab, vm):
    """Its vector stays masked, as after any interrupt, and the driver never arms it: its queue stands still."""
    vm.check("ethtool -L eth0 combined 1")
    ping(vm, lab.peer_address)
    reset = Reset(lab, vm)
    lab.fault(vm.eni, "drop-interrupt")
    # Byte queue limits stop the queue, and the kernel's own watchdog of transmit queues sees it after 5 s.
    with many_senders(lab, vm):
        reset.came(10)
    assert counters(vm)["tx_timeout"] >= 1
    vm.check("ethtool -L eth0 combined 2")


def test_the_first_interrupt_is_lost(lab, vm):
    vm.check("ethtool -L eth0 combined 1 && ip link set eth0 down")
    reset = Reset(lab, vm)
    lab.fault(vm.eni, "drop-interrupt")
    vm.check("ip link set eth0 up")
    vm.run(f"ping -n -c 3 -i 0.2 -W 1 {lab.peer_address}")
    reset.came(14)
    vm.check("ethtool -L eth0 combined 2")


def test_an_admin_completion_is_lost(lab, vm):
    reset = Reset(lab, vm)
    lab.fault(vm.eni, "swallow-admin-completion")
    vm.run("ethtool -S eth0 >/dev/null")
    reset.came(2)
    assert "queue_0_tx_cnt" in counters(vm)


def test_an_admin_interrupt_is_lost(lab, vm):
    """The next keep-alive's interrupt has the driver look at the admin queue as well: it does without a reset."""
    before = lab.resets(vm.eni)
    lab.fault(vm.eni, "drop-admin-interrupt")
    for _ in range(3):
        counters(vm)
    time.sleep(4)
    assert lab.resets(vm.eni) == before
    ping(vm, lab.peer_address)


def test_the_device_asks_for_a_reset(lab, vm):
    """Of a driver that listens to such events; the others cannot be told, and the caller is."""
    reset = Reset(lab, vm)
    done = lab.card.run("card", vm.eni, "--fault", "request-reset", check=False)
    if done.returncode == 0:
        reset.came(19)
    else:
        assert "takes no such event" in done.stderr, done.stderr
        print(f"{vm.kernel}: the driver does not listen to requests for a reset")
        assert lab.resets(vm.eni) == reset.before


def test_the_device_fails(lab, vm):
    """Linux logs it and goes on; a new start of the driver finds the device well."""
    lab.fault(vm.eni, "fatal-error")
    assert lab.device(vm.eni)["has_failed"] is True
    vm.check(f"rmmod ena && modprobe ena && {UP}")
    assert lab.device(vm.eni)["has_failed"] is False
    ping(vm, lab.peer_address, 2, 8000)


# The last test of the module with each kernel.
def test_cards_and_traces_name_the_reasons(lab, vm):
    line = next(line for line in lab.card.run("card").stdout.splitlines() if vm.eni in line)
    for reason in ("no keep-alive event in time!", "transmit completions are missing!", "an interrupt was missed!"):
        assert f" x {reason}" in line, line
    lines = lab.card.run("trace", vm.eni).stdout
    assert re.search(r"fault: no more keep-alive events\n(?s:.*)reset, reason 1: .*; the driver blames the device", lines)
    said = vm.check("dmesg")
    assert not re.search(r"Call Trace|BUG:|WARNING:|Can not (restore|initialize)|Failed to (restore|reset)", said), said
    assert not lab.device(vm.eni)["refusals"]
