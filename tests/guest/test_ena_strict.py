"""A card of strict functions (`trinic up --strict`): the stock `ena` driver notices nothing of it, and who does
what no header allows is refused, with the reason in the trace; a card without the flag lets it pass.
"""

import array
import contextlib
import json
import os
import socket
import struct

import pytest

from ena_lab import EnaLab, iperf, ping
from harness import KERNELS

ADDRESS = {KERNELS[0]: "10.80.1.60", KERNELS[1]: "10.80.1.61"}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    running = EnaLab(tmp_path_factory.mktemp("ena"), ["--strict"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def lenient(tmp_path_factory):
    running = EnaLab(tmp_path_factory.mktemp("ena"))
    yield running
    running.stop()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_stock_driver_is_refused_nothing(strict, kernel):
    eni = strict.function(ADDRESS[kernel])
    with strict.guest(eni, kernel, name="strict") as vm, strict.iperf_server():
        assert vm.lease()["ip"] == ADDRESS[kernel]
        assert "0% packet loss" in ping(vm, strict.peer_address, 3, 8000)
        iperf(vm, strict.peer_address)
        iperf(vm, strict.peer_address, "-R")
        # What a start does not ask for: other queues, the hash, statistics, and an end.
        vm.check("ethtool -L eth0 combined 1 && ethtool -L eth0 combined 2 && ethtool -G eth0 rx 256 tx 256")
        vm.check("ethtool -X eth0 weight 0 1 && ethtool -S eth0 && rmmod ena && modprobe ena")
        ping(vm, strict.peer_address)
        strict.assert_healthy(eni)
        assert strict.described(eni)["queue_faults"] == {}
        assert strict.device(eni)["driver"] == "running"
        said = trace(strict, eni).splitlines()
        commands = [line for line in said if line.startswith("command ")]
        assert len(commands) > 20 and not [line for line in commands if " -> success" not in line]
        assert not [line for line in said if line.startswith("refused")]


def test_a_queue_of_no_power_of_two(strict, lenient):
    for lab in (strict, lenient):
        with driver(lab, "10.80.1.62") as (eni, rude):
            rude.admin_queue(depth=24)
            status, _ = rude.get_feature(LINK_CONFIG)
            if lab is strict:
                assert status is None, "there is no queue, so there is no answer"
                assert lab.device(eni)["refusals"] == {"admin_queue_depth": 1}
                said = "refused admin_queue_depth: An admin queue whose depth is not a power of two (strict)."
                assert said in trace(lab, eni).splitlines()
            else:
                assert status == SUCCESS and lab.device(eni)["refusals"] == {}
                assert "refused" not in trace(lab, eni)


def test_attributes_before_the_host_said_what_it_is(strict, lenient):
    for lab in (strict, lenient):
        with driver(lab, "10.80.1.63") as (eni, hasty):
            hasty.admin_queue(depth=32)
            assert hasty.get_feature(LINK_CONFIG)[0] == SUCCESS, "what both cards allow"
            status, answer = hasty.get_feature(DEVICE_ATTRIBUTES)
            line = next(line for line in trace(lab, eni).splitlines() if "get feature device attributes" in line)
            if lab is strict:
                assert status == ILLEGAL_PARAMETER and lab.device(eni)["refusals"] == {"host_info_missing": 1}
                why = "host_info_missing: Device attributes were asked before host attributes were set (strict)."
                assert line.endswith(f"-> illegal parameter (5), {why}"), line
            else:
                # Its MTU, which is the last word of them.
                assert status == SUCCESS and struct.unpack_from("<I", answer, 32) == (9216,)
                assert lab.device(eni)["refusals"] == {} and " -> success" in line


def trace(lab, eni) -> str:
    """The lines of `trinic trace` without their times."""
    return "\n".join(line.split(" ", 1)[1] for line in lab.card.run("trace", eni).stdout.splitlines())


@contextlib.contextmanager
def driver(lab, address):
    """A new interface's id, and a driver of its function that does what it is told, right or wrong."""
    eni = lab.function(address)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(lab.functions[eni]["socket"]))
        yield eni, RawDriver(connection)


class RawDriver:
    """A vfio-user client that has a page of DMA memory and writes registers.

    Source: QEMU, docs/interop/vfio-user.rst; ena_regs_defs.h and ena_admin_defs.h of the Linux driver.
    """

    def __init__(self, connection: socket.socket):
        self.connection, self.sent, self.tail = connection, 0, 0
        connection.settimeout(10)
        capabilities = json.dumps({"capabilities": {"max_msg_fds": 1}}).encode() + b"\0"
        self.ask(VERSION, struct.pack("=HH", 0, 1) + capabilities)
        self.memory = os.memfd_create("dma")
        os.ftruncate(self.memory, MEMORY_BYTES)
        readable_and_writable = 3
        self.ask(DMA_MAP, struct.pack("=IIQQQ", 32, readable_and_writable, 0, BASE, MEMORY_BYTES), self.memory)
        # Memory space and bus master.
        self.write(CONFIG_SPACE, 4, struct.pack("<H", 6))

    def __del__(self):
        os.close(self.memory)

    def ask(self, command: int, body: bytes, *files: int) -> bytes:
        """Sends a message and returns what the server answers, which must be no error."""
        self.sent += 1
        header = struct.pack("=HHIII", self.sent, command, 16 + len(body), 0, 0)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
        self.connection.sendmsg([header + body], rights)
        number, _, size, _, error = struct.unpack("=HHIII", self.receive(16))
        answer = self.receive(size - 16)
        assert (number, error) == (self.sent, 0)
        return answer

    def receive(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            more = self.connection.recv(length - len(received))
            assert more, "the card closed the connection"
            received += more
        return received

    def write(self, region: int, offset: int, content: bytes):
        self.ask(REGION_WRITE, struct.pack("=QII", offset, region, len(content)) + content)

    def register(self, offset: int, value: int):
        self.write(BAR_0, offset, struct.pack("<I", value))

    def admin_queue(self, depth: int):
        """Says where the queues of commands and of completions are."""
        for base, address in ((AQ_BASE, BASE), (ACQ_BASE, BASE + COMPLETIONS)):
            self.register(base, address & 0xFFFFFFFF)
            self.register(base + 4, address >> 32)
            self.register(base + 8, ENTRY_BYTES << 16 | depth)

    def get_feature(self, feature: int):
        """Asks for a feature: the status and what follows it, or None and nothing where no completion came."""
        at, phase = self.tail * ENTRY_BYTES, 1
        command = struct.pack("<HBB 12x BB", self.tail, GET_FEATURE, phase, 0, feature).ljust(ENTRY_BYTES, b"\0")
        os.pwrite(self.memory, command, at)
        self.tail += 1
        # The card does what a doorbell asks before it answers the write of it.
        self.register(AQ_DB, self.tail)
        completion = os.pread(self.memory, ENTRY_BYTES, COMPLETIONS + at)
        number, status, flags = struct.unpack_from("<HBB", completion)
        if flags & 1 != phase:
            return None, b""
        assert number == self.tail - 1
        return status, completion[8:]


# vfio-user: commands, and regions by VFIO's numbers.
VERSION, DMA_MAP, REGION_WRITE = 1, 2, 10
BAR_0, CONFIG_SPACE = 0, 7
BASE, MEMORY_BYTES, COMPLETIONS = 1 << 32, 16 << 10, 4 << 10
# Registers, by their offsets; a queue's are low half, high half, capabilities.
AQ_BASE, ACQ_BASE, AQ_DB = 0x10, 0x20, 0x2C
# Admin commands and their statuses.
ENTRY_BYTES, GET_FEATURE, DEVICE_ATTRIBUTES, LINK_CONFIG = 64, 8, 1, 27
SUCCESS, ILLEGAL_PARAMETER = 0, 5
