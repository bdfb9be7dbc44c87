"""The guests themselves: stock kernels that start, take commands, take devices while they run, and end."""

import hashlib
import time

import pytest

from harness import GUESTS, KERNELS, Device, Guest, GuestError, VfioUser, VirtioNet


def test_the_kernel_is_debians_own(guest):
    wanted = (GUESTS / "kernels" / guest.kernel / "release").read_text().strip()
    assert guest.check("uname -r").strip() == guest.release == wanted
    # Nothing was forced, built elsewhere or unsigned.
    assert guest.check("cat /proc/sys/kernel/tainted").strip() == "0"
    print(f"{guest.kernel}: {wanted} took commands after {guest.boot_s:.1f} s ({guest.accelerator})")


def test_the_two_kernels_differ():
    first, second = ((GUESTS / "kernels" / kernel / "release").read_text() for kernel in KERNELS)
    assert first.startswith("6.12.") and int(second.split(".")[0]) >= 7, (first, second)


def test_the_ena_driver_is_there(guest):
    assert "ena" in guest.check("lsmod").split()
    # The virtual function that EC2 shows to guests: vendor 1d0f, device ec20.
    assert "v00001D0Fd0000EC20" in guest.check("modinfo -F alias ena")
    guest.check("rmmod ena && ! grep -q ^ena /proc/modules && modprobe ena && grep -q ^ena /proc/modules")


def test_a_command_gives_status_and_output(guest):
    assert guest.run("echo out; echo err >&2; exit 7") == (7, "out\nerr\n")
    assert guest.run("printf 'no newline'") == (0, "no newline")
    assert guest.run("true") == (0, "")
    assert guest.run("kill -TERM $$")[0] == 128 + 15
    assert guest.run("no-such-program")[0] == 127
    assert guest.run("""echo "it's" '"quoted"' $((6 * 7))""") == (0, "it's \"quoted\" 42\n")


def test_kernel_messages_do_not_disturb_commands(guest):
    noise = guest.background("while true; do echo '<0>noise' >/dev/kmsg; usleep 1000; done")
    lines = guest.check("seq 1 20000").split()
    noise.stop()
    assert lines == [str(number) for number in range(1, 20001)]
    assert "noise" in guest.log.read_text(errors="replace")


def test_commands_run_side_by_side(guest):
    slow = guest.background("sleep 60")
    quick = [guest.background(f"echo {number}") for number in range(8)]
    assert [command.wait() for command in quick] == [(0, f"{number}\n") for number in range(8)]
    assert not slow.ended.is_set()
    slow.stop()
    assert slow.status == 128 + 9


def test_a_command_that_takes_too_long_is_killed_with_its_children(guest):
    with pytest.raises(GuestError, match="took more than 1 s; it said: begun"):
        guest.run("echo begun; sleep 987 & sleep 987", timeout=1)
    assert guest.run("pgrep -f 'sleep 987' || ps | grep '[s]leep 987'")[0] == 1


def test_a_file_can_be_written(guest):
    content = bytes(range(256)) * 300
    guest.write("/tmp/a file", content)
    digest = guest.check("sha256sum '/tmp/a file'").split()[0]
    assert digest == hashlib.sha256(content).hexdigest()


def test_a_device_is_plugged_in_and_out_while_the_guest_runs(guest):
    added = guest.add(VirtioNet(options={"mac": "02:00:00:00:00:07"}))
    seen = guest.eventually("ls -d /sys/class/net/*/device/driver && ip -o link | grep 02:00:00:00:00:07")
    assert "virtio_net" in guest.check("readlink /sys/class/net/eth*/device/driver"), seen
    guest.remove(added.id)
    guest.eventually("! ip -o link | grep 02:00:00:00:00:07")
    # The port is free again.
    again = guest.add(Device("virtio-rng-pci"))
    guest.eventually("grep -qix 0x1af4 /sys/bus/pci/devices/*/vendor && lspci -n | grep -i '1af4:1044'")
    guest.remove(again.id)
    assert guest.ports == [None] * len(guest.ports)


def test_a_refused_device_leaves_the_guest_as_it_was(guest):
    with pytest.raises(GuestError, match="no-such-device"):
        guest.add(Device("no-such-device"))
    # A vfio-user device whose server is not there.
    with pytest.raises(GuestError, match="no-such.sock"):
        guest.add(VfioUser("/no-such.sock"))
    assert guest.ports == [None] * len(guest.ports)
    assert guest.run("echo alive") == (0, "alive\n")


def test_a_guest_shuts_down():
    with Guest(name="shutdown") as guest:
        guest.run("true")
    assert guest.process.returncode == 0
    assert "Power down" in guest.log.read_text(errors="replace")


def test_a_guest_that_dies_is_told_with_its_console():
    with Guest(name="panic") as guest:
        begin = time.monotonic()
        with pytest.raises(GuestError, match="(?s)the guest ended during.*sysrq triggered crash"):
            guest.run("echo c >/proc/sysrq-trigger", timeout=60)
        assert time.monotonic() - begin < 50
