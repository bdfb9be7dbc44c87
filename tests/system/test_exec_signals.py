"""Signals: what is sent to `trinic exec` alone reaches its command, and a terminal's key reaches it once."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import termios
import threading

import pytest
from conftest import PING, Lab, eventually

pytestmark = pytest.mark.usefixtures("namespaces")

# Names each signal that it gets. The end of its input comes after every signal that a test sends, so what
# was written until then is all there is.
TELL = (
    "import signal,sys\n"
    "def say(n,f): print(signal.Signals(n).name,flush=True)\n"
    "for n in (1,2,3,10,12,15): signal.signal(n,say)\n"
    "print('up',flush=True)\n"
    "for line in sys.stdin: print('line',line.strip(),flush=True)\n"
    "print('end',flush=True)\n"
)


@pytest.fixture(scope="module")
def instance(card, ec2):
    lab = Lab(card, ec2, "10.160.0.0/16")
    net, group = lab.subnet("10.160.1.0/24"), lab.group("open", PING)
    return lab.instance(net, [group], UserData=f"#!/bin/sh\n{BLOCKED}")["InstanceId"]


def command(card, instance, *words):
    return [card.program, "exec", "--state", str(card.state), instance, "--", *words]


@contextlib.contextmanager
def started(arguments):
    """A process in a session of its own, up; a test that waits for it in vain sees its end after a while."""
    with subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in its background has them ignore it, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        limit = threading.Timer(10, process.kill)
        limit.start()
        try:
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            limit.cancel()
            process.kill()


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_signal_sent_to_exec_alone_reaches_the_command(card, instance, name):
    with started(command(card, instance, "python3", "-uc", TELL)) as process:
        process.send_signal(signal.Signals[name])
        assert process.stdout.readline() == f"{name}\n"
        process.stdin.close()
        assert process.stdout.read() == "end\n"
        assert process.wait(5) == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_command_that_does_not_handle_it_ends_by_it(card, instance, name):
    with started(command(card, instance, "sh", "-c", "echo up; exec sleep 987653")) as process:
        process.send_signal(signal.Signals[name])
        assert process.wait(5) == 128 + signal.Signals[name]


BLOCKED = "while read -r key value; do case $key in SigBlk:) echo blocked $value;; esac; done < /proc/self/status\n"


def test_nothing_starts_with_signals_blocked(card, instance):
    """Neither commands nor user data: what it leaves running must end by a SIGTERM."""
    done = card.exec(instance, "sh", "-c", BLOCKED, check=True)
    assert done.stdout == "blocked 0000000000000000\n"
    eventually(lambda: "blocked" in card.run("console", instance).stdout, what="user data")
    assert "blocked 0000000000000000" in card.run("console", instance).stdout


class Terminal:
    """A terminal of its own with `trinic exec` as its foreground group."""

    def __init__(self, arguments):
        self.keys, slave = pty.openpty()
        self.process = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.text = ""

    def type(self, keys):
        os.write(self.keys, keys)

    def read_until(self, wanted):
        def look():
            os.set_blocking(self.keys, False)
            try:
                self.text += os.read(self.keys, 4096).decode()
            except (BlockingIOError, OSError):  # nothing yet, or the terminal is closed
                pass
            return wanted in self.text

        eventually(look, what=f"{wanted!r} in {self.text!r}")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.keys)


@pytest.mark.parametrize(("key", "name"), [(b"\x03", "SIGINT"), (b"\x1c", "SIGQUIT")])
def test_a_key_of_the_terminal_reaches_the_command_once(card, instance, key, name):
    terminal = Terminal(command(card, instance, "python3", "-uc", TELL))
    try:
        terminal.read_until("up")
        for count in range(1, 4):
            terminal.type(key)
            # Control characters are read in order: the line comes after the signal was sent to everybody, and
            # a copy that `exec` passed on would come before the next one.
            terminal.read_until(name)
            terminal.type(f"typed {count}\n".encode())
            terminal.read_until(f"line typed {count}")
        terminal.type(b"\x04")
        terminal.read_until("end")
        assert terminal.text.count(name) == 3, terminal.text
        assert terminal.process.wait(5) == 0
    finally:
        terminal.close()
