"""Runs guests with stock Debian kernels in QEMU and speaks with them (docs/guests.md).

    with Guest("trixie", [VfioUser("/run/trinic/eni-1.sock")], modules=["ena"]) as guest:
        status, output = guest.run("ethtool -i eth0")

A guest's console goes to a file under target/guests/logs; commands go over a channel of their own, so
that what the kernel prints never gets between. Nothing here needs root.
"""

import base64
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import platform
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from image import Archive

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUESTS = ROOT / "target" / "guests"
QEMU = GUESTS / "qemu-system-x86_64"
KERNELS = ("trixie", "trixie-backports")
# No guest needs as long as this to start, even on a loaded machine under TCG (about 4 s on a quiet one).
BOOT_LIMIT_S = 120
# What a guest must do in this time under KVM for KVM to be used at all. It takes a second where it works.
PROBE_LIMIT_S = 20
ROOT_PORTS = 4
# 7.3 has each CPU answer for its clock while it takes the TSC, which an emulated one cannot in time on a loaded
# machine: two starts were seen to end there. A TSC that needs no watching is not asked.
CLOCK = "tsc=reliable"


def missing() -> str | None:
    """Why no guest can be run here, or None."""
    if platform.machine() != "x86_64":
        return f"the guests are x86_64, this machine is {platform.machine()}"
    wanted = [QEMU, GUESTS / "userland.cpio", *(GUESTS / "kernels" / kernel / "vmlinuz" for kernel in KERNELS)]
    absent = [path for path in wanted if not path.exists()]
    return f"{absent[0].relative_to(ROOT)} is missing (scripts/setup-guests makes it)" if absent else None


class GuestError(Exception):
    """A guest did not do what was asked; the message ends with the last lines of its console."""


@dataclasses.dataclass
class VfioUser:
    """A function that a vfio-user server offers on a Unix socket. The server must listen already."""

    socket: str | os.PathLike
    id: str | None = None
    options: dict = dataclasses.field(default_factory=dict)

    def device(self) -> dict:
        where = {"type": "unix", "path": str(self.socket)}
        return {"driver": "vfio-user-pci", "socket": where, **self.options}

    def backend(self, _name: str) -> list:
        return []


@dataclasses.dataclass
class VirtioNet:
    """A virtio network card on a QEMU network backend, written as QEMU's -netdev without its id."""

    netdev: str = "user,restrict=on"
    id: str | None = None
    options: dict = dataclasses.field(default_factory=dict)

    def device(self) -> dict:
        # No boot ROM: it would only lengthen the start.
        return {"driver": "virtio-net-pci", "netdev": f"net-{self.id}", "romfile": "", **self.options}

    def backend(self, name: str) -> list:
        kind, _, rest = self.netdev.partition(",")
        return ["-netdev", f"{kind},id=net-{name}" + (f",{rest}" if rest else "")]


@dataclasses.dataclass
class Device:
    """Any other device of QEMU's, by driver and options."""

    driver: str
    id: str | None = None
    options: dict = dataclasses.field(default_factory=dict)

    def device(self) -> dict:
        return {"driver": self.driver, **self.options}

    def backend(self, _name: str) -> list:
        return []


class Command:
    """A command that runs in a guest."""

    def __init__(self, guest, number: int, text: str):
        self.guest, self.number, self.text = guest, number, text
        self.ended = threading.Event()
        self.status, self.output = None, ""

    def wait(self, timeout: float = 30) -> tuple[int, str]:
        """Status and output. A command that takes longer is killed and the test fails with what it said."""
        end = time.monotonic() + timeout
        while not self.ended.wait(0.2):
            if self.guest.gone():
                raise self.guest.error(f"the guest ended during {self.text!r}")
            if time.monotonic() > end:
                self.stop()
                raise self.guest.error(f"{self.text!r} took more than {timeout} s; it said: {self.output}")
        if self.status is None:
            raise self.guest.error(f"the guest ended during {self.text!r}")
        return self.status, self.output

    def stop(self) -> str:
        """Kills the command with all that it started, if it still runs; returns what it said."""
        if not self.ended.is_set():
            self.guest.send(f"kill {self.number}")
            if not self.ended.wait(10):
                raise self.guest.error(f"{self.text!r} could not be killed: the guest does not answer")
        return self.output


class Guest:
    """One guest.

    `kernel` is the Debian suite it comes from (KERNELS). `interfaces` are plugged in when the guest starts;
    `add` plugs more in. `modules` are loaded before anything else; interfaces of the drivers in `dhcp` are
    configured by DHCP, also when they appear later. `files` maps paths in the guest to bytes. `arguments` are
    more words for QEMU; `machine` are those that say what machine and memory it has, in place of the guest's own.
    """

    def __init__(self, kernel=KERNELS[0], interfaces=(), memory="512M", cpus=2, modules=("ena",), dhcp=("ena",),
                 files=None, accelerator=None, append="", arguments=(), pass_fds=(), name="guest", machine=()):
        self.kernel, self.memory, self.cpus = kernel, memory, cpus
        self.accelerator = accelerator or best_accelerator()
        self.append = f"trinic.modules={','.join(modules)} trinic.dhcp={','.join(dhcp)} {append}"
        self.files, self.arguments, self.pass_fds = files or {}, list(arguments), list(pass_fds)
        self.machine = list(machine)
        self.log = log_folder() / f"{name}-{kernel}-{os.getpid()}-{next(NUMBERS)}.log"
        self.devices, self.ports = {}, [None] * ROOT_PORTS
        self.at_start = [self.named(interface) for interface in interfaces]
        self.process = self.release = self.qmp = self.channel = None
        self.ready, self.commands, self.lock = threading.Event(), {}, threading.Lock()
        self.boot_s, self.again = None, False

    def __enter__(self):
        return self.start().wait_ready()

    def __exit__(self, kind, *_):
        if kind is not None:
            self.save_messages()
        self.stop()

    def start(self):
        """Starts QEMU and returns at once, so that several guests can start side by side; then `wait_ready`.

        Call it from the test's main thread: QEMU is killed when the thread that started it ends.
        """
        self.began = time.monotonic()
        self.channel, channel = socket.socketpair()
        control, monitor = socket.socketpair()
        with tempfile.TemporaryFile() as initrd:
            initrd.write(self.initramfs())
            initrd.flush()
            # These ends are QEMU's alone: were they kept open here, its end would not be seen.
            with channel, monitor, open(self.log.with_suffix(".qemu"), "wb") as errors:
                fds = [channel.fileno(), monitor.fileno(), initrd.fileno()]
                command = self.command_line(*fds)
                errors.write((shlex.join(command) + "\n").encode())
                errors.flush()
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=[*fds, *self.pass_fds]
                )
            threading.Thread(target=self.listen, daemon=True).start()
            try:
                # QEMU has read the initramfs when its monitor greets.
                self.qmp = Monitor(control, self)
            except GuestError:
                self.kill()
                raise
        return self

    def command_line(self, channel: int, monitor: int, initrd: int) -> list:
        words = ["-name", self.log.stem, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        words += ["-accel", ACCELERATORS[self.accelerator], "-cpu", CPUS[self.accelerator]]
        words += ["-smp", str(self.cpus)]
        # A shared memfd is what lets a vfio-user server map the guest's memory.
        memory = ["-object", f"memory-backend-memfd,id=memory,size={self.memory},share=on", "-m", self.memory]
        words += self.machine or [*memory, "-machine", "q35,memory-backend=memory"]
        words += ["-serial", f"file:{self.log}"]
        words += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
        words += ["-chardev", f"socket,id=channel,fd={channel}", "-device", "virtio-serial-pci,max_ports=2"]
        words += ["-device", "virtserialport,chardev=channel,name=trinic.command"]
        words += ["-kernel", str(GUESTS / "kernels" / self.kernel / "vmlinuz"), "-initrd", f"/dev/fd/{initrd}"]
        words += ["-append", f"console=ttyS0 panic=-1 {CLOCK} {self.append}"]
        for index in range(ROOT_PORTS):
            port = {"driver": "pcie-root-port", "id": f"port{index}", "chassis": index + 1, "slot": index + 1}
            words += ["-device", json.dumps(port)]
        for interface in self.at_start:
            words += interface.backend(interface.id)
            words += ["-device", json.dumps(self.plugged(interface))]
        return [*setpriv(), str(QEMU), *words, *self.arguments]

    def initramfs(self) -> bytes:
        added = Archive()
        added.tree(pathlib.Path(__file__).with_name("root"))
        for path, content in self.files.items():
            added.file(path, content, executable=content.startswith((b"#!", b"\x7fELF")))
        parts = (GUESTS / "userland.cpio", GUESTS / "kernels" / self.kernel / "modules.cpio")
        return b"".join([*(part.read_bytes() for part in parts), added.bytes()])

    def wait_ready(self, timeout=BOOT_LIMIT_S):
        """Returns when the guest takes commands."""
        end = time.monotonic() + timeout
        while not self.ready.wait(0.05):
            if time.monotonic() > end and not self.gone() and not self.again and not self.has_init():
                # Seen once in some hundred starts on a busy machine: the kernel stands still under TCG before its
                # first program, and so before any driver of a function. That is no test's matter.
                print(f"{self.log.name}: the kernel stood still before its init; the guest is started again")
                self.again = True
                self.kill()
                self.log.rename(self.log.with_suffix(".stood-still"))
                self.devices, self.ports = {}, [None] * ROOT_PORTS
                self.start()
                end = time.monotonic() + timeout
                continue
            if self.gone() or time.monotonic() > end:
                why = "QEMU ended" if self.gone() else f"no sign of life within {timeout} s"
                error = self.error(f"{why} while the guest started")
                self.kill()
                raise error
        return self

    def has_init(self) -> bool:
        """Whether the kernel got as far as its first program."""
        return self.log.exists() and "Run /init as init process" in self.log.read_text(errors="replace")

    def run(self, command: str, timeout: float = 30) -> tuple[int, str]:
        """Runs a shell command in the guest: its exit status, and its output and errors as they came."""
        return self.background(command).wait(timeout)

    def check(self, command: str, timeout: float = 30) -> str:
        """Runs a shell command that must succeed; returns its output."""
        status, output = self.run(command, timeout)
        if status != 0:
            raise self.error(f"{command!r} ended with status {status}: {output}")
        return output

    def background(self, command: str) -> Command:
        """Starts a shell command and returns at once. Commands run side by side."""
        with self.lock:
            started = Command(self, next(NUMBERS), command)
            self.commands[started.number] = started
        self.send(f"run {started.number} {base64.b64encode(command.encode()).decode()}")
        return started

    def eventually(self, command: str, timeout: float = 20, every: float = 0.1) -> str:
        """Repeats a shell command until it succeeds; returns its output."""
        end = time.monotonic() + timeout
        while True:
            status, output = self.run(command, timeout)
            if status == 0:
                return output
            if time.monotonic() > end:
                raise self.error(f"{command!r} did not succeed within {timeout} s: status {status}: {output}")
            time.sleep(every)

    def lease(self, interface="eth0", timeout: float = 30) -> dict:
        """Waits until DHCP has configured an interface; what the server said, by udhcpc's names for it."""
        lines = self.eventually(f"cat /run/dhcp/{interface}.lease", timeout).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def write(self, path: str, content: bytes):
        """Makes a file in the guest."""
        self.check(f": >{shlex.quote(path)}")
        for begin in range(0, len(content), 48 << 10):
            part = base64.b64encode(content[begin:begin + (48 << 10)]).decode()
            self.check(f"echo {part} | base64 -d >>{shlex.quote(path)}")

    def add(self, interface):
        """Plugs a device into a running guest, under a free root port; returns it with its id."""
        interface = self.named(interface)
        if backend := interface.backend(interface.id):
            kind, _, rest = backend[1].partition(",")
            options = dict(word.split("=", 1) for word in rest.split(","))
            self.qmp.execute("netdev_add", type=kind, **{key: typed(value) for key, value in options.items()})
        try:
            self.qmp.execute("device_add", **self.plugged(interface))
        except GuestError:
            self.unplugged(interface.id)
            raise
        return interface

    def remove(self, name: str, timeout=20):
        """Asks the guest to let a device go, and returns when it is gone.

        Not for a vfio-user device with MSI-X: QEMU 11.1 aborts on its device_del.
        """
        self.qmp.execute("device_del", id=name)
        self.qmp.wait_event("DEVICE_DELETED", lambda data: data.get("device") == name, timeout)
        self.unplugged(name)

    def stop(self, timeout=20):
        """Shuts the guest down; kills it when it does not comply."""
        if self.process is None:
            return
        if self.process.poll() is None and self.ready.is_set():
            with contextlib.suppress(OSError):
                self.send(f"run {next(NUMBERS)} {base64.b64encode(b'sync; poweroff -f').decode()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        self.kill()

    def kill(self):
        """Ends QEMU at once: what a loss of power is to a machine."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        # The reader of the channel ends by itself: its far end is closed now.
        if self.qmp:
            self.qmp.close()

    def gone(self) -> bool:
        return self.process.poll() is not None

    def console(self, lines=40) -> str:
        """The last lines of the console, from a panic's first line on if there was one, and of what QEMU itself said."""
        said = []
        for path in (self.log, self.log.with_suffix(".qemu")):
            if path.exists():
                written = path.read_text(errors="replace").splitlines()
                panics = [number for number, line in enumerate(written) if "Kernel panic" in line]
                begin = min([len(written) - lines, *panics[-1:]])
                said += [f"--- {path.relative_to(ROOT)}", *written[max(0, begin) :]]
        return "\n".join(said)

    def error(self, what: str) -> GuestError:
        return GuestError(f"{what}\n{self.console()}")

    def save_messages(self):
        """Keeps the kernel's messages beside the console's log, for who looks into a failure."""
        with contextlib.suppress(GuestError, OSError):
            if self.ready.is_set() and not self.gone():
                self.log.with_suffix(".dmesg").write_text(self.check("dmesg", timeout=10))

    def send(self, line: str):
        with self.lock:
            self.channel.sendall(line.encode() + b"\n")

    def listen(self):
        """Reads the command channel until it ends."""
        with contextlib.suppress(OSError), self.channel, self.channel.makefile("rb") as lines:
            for line in lines:
                verb, *words = line.decode().split()
                if verb == "ready":
                    self.release, self.boot_s = words[0], time.monotonic() - self.began
                    self.ready.set()
                elif verb == "done":
                    number, status, count = map(int, words)
                    output = base64.b64decode(b"".join(lines.readline() for _ in range(count)))
                    if command := self.commands.pop(number, None):
                        command.status, command.output = status, output.decode(errors="replace")
                        command.ended.set()
        for command in list(self.commands.values()):
            command.ended.set()

    def named(self, interface):
        name = interface.id or f"device{next(NUMBERS)}"
        return dataclasses.replace(interface, id=name)

    def plugged(self, interface) -> dict:
        """The device's options with the root port that it takes."""
        free = next((index for index, user in enumerate(self.ports) if user is None), None)
        if free is None:
            raise GuestError(f"all {ROOT_PORTS} root ports are taken: {self.ports}")
        self.ports[free], self.devices[interface.id] = interface.id, interface
        return {**interface.device(), "id": interface.id, "bus": f"port{free}"}

    def unplugged(self, name: str):
        interface = self.devices.pop(name)
        self.ports[self.ports.index(name)] = None
        if interface.backend(name):
            self.qmp.execute("netdev_del", id=f"net-{name}")


class Monitor:
    """QEMU's machine protocol (QMP) on a connected socket."""

    def __init__(self, connection: socket.socket, guest: Guest):
        self.connection, self.guest = connection, guest
        connection.settimeout(30)
        self.lines = connection.makefile("rb")
        self.events = []
        if "QMP" not in self.read():
            raise guest.error("QEMU's monitor did not greet")
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments):
        """Runs a command; returns what it returned."""
        request = {"execute": command, "arguments": arguments}
        try:
            self.connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise self.guest.error(f"{command}: QEMU is gone: {error}") from error
        while True:
            reply = self.read()
            if "error" in reply:
                raise self.guest.error(f"{command} {arguments}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]

    def wait_event(self, name: str, fits=lambda data: True, timeout: float = 20) -> dict:
        """The first event of that name that fits, from now or from before; each is given out once."""
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name and fits(event.get("data", {})):
                    self.events.remove(event)
                    return event
            if time.monotonic() > end:
                raise self.guest.error(f"no {name} within {timeout} s")
            # An answer is certain, so the wait for events never blocks for long.
            self.execute("query-status")
            time.sleep(0.05)

    def read(self) -> dict:
        """The next message that is not an event; events are kept."""
        while True:
            try:
                line = self.lines.readline()
            except OSError as error:
                raise self.guest.error(f"QEMU's monitor does not answer: {error}") from error
            if not line:
                raise self.guest.error("QEMU is gone")
            message = json.loads(line)
            if "event" not in message:
                return message
            self.events.append(message)

    def close(self):
        self.lines.close()
        self.connection.close()


def typed(value: str):
    """An option of QEMU's command line as its machine protocol wants it."""
    return {"on": True, "off": False}.get(value, value)


def setpriv() -> list:
    """A prefix that has the kernel end QEMU when its starter dies, however that happens."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


@functools.cache
def log_folder() -> pathlib.Path:
    folder = GUESTS / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def best_accelerator() -> str:
    """`kvm` where a stock kernel boots under it, else `tcg`.

    That /dev/kvm is there says little: nested hosts exist whose KVM stops at a stock kernel's first
    instructions. So one is booted, once for a QEMU on a host kernel; the answer is kept in target/guests.
    """
    if chosen := os.environ.get("TRINIC_GUEST_ACCELERATOR"):
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    about = [platform.release(), platform.node(), cpu_model(), (GUESTS / "stamps/qemu").read_text(), *KERNELS]
    kept, key = GUESTS / "accelerator", hashlib.sha256("\n".join(about).encode()).hexdigest()
    if kept.exists() and kept.read_text().split()[:1] == [key]:
        return kept.read_text().split()[1]
    found = "kvm" if all(boots_under_kvm(kernel) for kernel in KERNELS) else "tcg"
    kept.write_text(f"{key} {found}\n")
    return found


def boots_under_kvm(kernel: str) -> bool:
    guest = Guest(kernel, accelerator="kvm", modules=(), name="kvm-probe")
    try:
        guest.start()
        end = time.monotonic() + PROBE_LIMIT_S
        while not guest.ready.wait(0.1):
            # KVM that cannot go on stops the machine, and QEMU says so.
            if guest.gone() or time.monotonic() > end or not guest.qmp.execute("query-status")["running"]:
                return False
        return guest.run("true", PROBE_LIMIT_S)[0] == 0
    except GuestError:
        return False
    finally:
        guest.stop()


def cpu_model() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in lines if line.startswith("model name")), "")


NUMBERS = itertools.count(1)
ACCELERATORS = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
CPUS = {"kvm": "host", "tcg": "max"}
