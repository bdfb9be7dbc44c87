#!/usr/bin/env python3
"""Stock drivers in guests: `ena` on a card's function against `virtio_net` on a tap, on the same card.

Two virtual machines of one image but for its EnaSupport, so that the one has the ENA and the other the traditional card:
same kernel, same userland, same instance type, same groups. Each speaks with the same namespace instance. The load
generator and the stopwatch (benches/probe, linked statically for the guests) are the same on both. Rounds take turns between
all measurements. Prints a table and adds its rows to target/bench/ena.json; each figure is the median of the rounds
with its spread, a ratio the median of the rounds' ratios.
"""

import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tests/guest")]
import machine_lab  # noqa: E402
from machine_lab import KERNEL, Machines, eventually, system  # noqa: E402

ROUNDS = int(os.environ.get("GUEST_ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_PER_RUN", "1.5"))
TRIPS = int(os.environ.get("GUEST_TRIPS", "1000"))
PROGRAM = os.environ.get("TRINIC_BIN", str(ROOT / "target/release/trinic"))
PROBE = str(ROOT / "target/release/trinic-probe")
# For the guests, whose C library is not this machine's.
STATIC_PROBE = ROOT / "target/static/x86_64-unknown-linux-gnu/release/trinic-probe"
PORT = 5300
# With and without an ENA on EC2, so that the images alone make the difference.
KIND = "r4.large"
FUNCTIONS = {"ena": ("ena", "10.0.1.20"), "virtio": ("traditional", "10.0.1.30")}
DRIVERS = {"ena": "ena", "virtio": "virtio_net"}
FIGURES = {
    "tcp_out_gbit_s": ("TCP, one stream, from the guest (Gbit/s)", 2),
    "tcp_in_gbit_s": ("TCP, one stream, to the guest (Gbit/s)", 2),
    "kpps_out": ("64-byte packets from the guest that arrived (1,000/s)", 1),
    "kpps_in": ("64-byte packets to the guest that arrived (1,000/s)", 1),
    "rtt_p50_us": ("round trip to the guest, p50 (µs)", 0),
    "rtt_p99_us": ("round trip to the guest, p99 (µs)", 0),
}


class Bench:
    """A card with the two machines, and servers of the probe in them and in the namespace instance."""

    def __init__(self, folder):
        # What is measured is the way, not what an instance type may do.
        self.card = system.Card(PROGRAM, folder / "s", ["--ephemeral", "--allowances", "none"]).start()
        self.server = None
        try:
            self.backend = eventually(lambda: system.backend_of(self.card), what="card report")
        except BaseException:
            self.stop()
            raise

    def boot(self, folder):
        probe = STATIC_PROBE.read_bytes()
        self.machines = Machines(self.card, self.card.client(), folder, {"usr/bin/trinic-probe": probe})
        self.ids = {name: self.machines.launch(image, KIND, address) for name, (image, address) in FUNCTIONS.items()}
        for name, (_, address) in FUNCTIONS.items():
            self.machines.says(self.ids[name], f"guest: eth0 has {address}", timeout=600)
            driver = self.shell(name, "basename $(readlink /sys/class/net/eth0/device/driver)").strip()
            if driver != DRIVERS[name]:
                raise RuntimeError(f"{name}: eth0's driver is {driver}")
            # Its input does not end before the guest does.
            self.shell(name, f"tail -f /dev/null </dev/null 2>&1 | trinic-probe serve {PORT} >/dev/null 2>&1 &")
        self.kernel = self.shell("ena", "uname -r").strip()
        self.server = subprocess.Popen(
            [*self.inside(), PROBE, "serve", str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.server.stdout.readline().strip() != "serving":
            raise RuntimeError("the server in the namespace instance did not start")

    def inside(self):
        return [PROGRAM, "exec", "--state", str(self.card.state), self.machines.peer, "--"]

    def shell(self, name, command, timeout=60):
        return self.machines.shell(FUNCTIONS[name][1], command, timeout, silence=None)

    def accelerator(self):
        """As the machines were started: `tcg` or `kvm`."""
        words = pathlib.Path(f"/proc/{self.machines.pid(self.ids['ena'])}/cmdline").read_bytes().split(b"\0")
        return words[words.index(b"-accel") + 1].decode().partition(",")[0]

    def from_guest(self, name, *arguments):
        said = self.shell(name, f"trinic-probe {' '.join(map(str, arguments))}")
        return self.parsed(name, arguments, said)

    def to_guest(self, name, *arguments):
        done = subprocess.run(
            [*self.inside(), PROBE, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
        )
        return self.parsed(name, arguments, done.stdout or done.stderr)

    def parsed(self, name, arguments, said):
        try:
            return json.loads(said)
        except ValueError as error:
            raise RuntimeError(f"{name} {arguments}: {said}; card log: {self.card.tail()}") from error

    def jobs(self, name):
        """The measurements of a function: each gives some of the figures."""
        guest, peer = FUNCTIONS[name][1], "10.0.1.10"

        def tcp_out():
            return {"tcp_out_gbit_s": self.from_guest(name, "tcp", peer, PORT, SECONDS, 1)["bits_per_s"] / 1e9}

        def tcp_in():
            return {"tcp_in_gbit_s": self.to_guest(name, "tcp", guest, PORT, SECONDS, 1)["bits_per_s"] / 1e9}

        def packets_out():
            return {"kpps_out": self.from_guest(name, "pps", peer, PORT, SECONDS)["packets_per_s"] / 1e3}

        def packets_in():
            return {"kpps_in": self.to_guest(name, "pps", guest, PORT, SECONDS)["packets_per_s"] / 1e3}

        def round_trip():
            got = self.to_guest(name, "rtt", guest, PORT, TRIPS)
            return {"rtt_p50_us": got["p50_ns"] / 1e3, "rtt_p99_us": got["p99_ns"] / 1e3, "rtt_lost": got["lost"]}

        return [tcp_out, tcp_in, packets_out, packets_in, round_trip]

    def round(self, number):
        """Every measurement once; of each the two functions right after one another, in turn the one or the other first."""
        found = {name: {} for name in FUNCTIONS}
        for at, pair in enumerate(zip(*(self.jobs(name) for name in FUNCTIONS))):
            turn = list(zip(FUNCTIONS, pair))
            for name, job in turn if (number + at) % 2 else reversed(turn):
                found[name] |= job()
        return found

    def stop(self):
        if self.server:
            self.server.kill()
            self.server.wait()
        self.card.stop()


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def summary(rounds):
    """Of each figure the values of both functions, and the median of the ratios."""
    table = {}
    for figure in FIGURES:
        ena, virtio = ([one[name][figure] for one in rounds] for name in FUNCTIONS)
        ratios = [one / other for one, other in zip(ena, virtio) if other]
        table[figure] = {"ena": ena, "virtio": virtio, "ratio": statistics.median(ratios) if ratios else None}
    return table


def show(table):
    print(f"\n{'in guests':58}{'ENA':>22}{'virtio-net':>22}{'ENA/virtio':>12}")
    for figure, (text, digits) in FIGURES.items():
        row = table[figure]
        ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "-"
        print(f"{text:58}{spread(row['ena'], digits):>22}{spread(row['virtio'], digits):>22}{ratio:>12}")


def keep(found):
    """Adds the rows to what benches/ena.py has written."""
    out = ROOT / "target/bench/ena.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps({**kept, "guests": found}, indent=1))
    print(f"written to {out}")


def missing():
    """Why there is nothing to compare, or None."""
    if reason := machine_lab.missing():
        return reason
    if not machine_lab.has_taps():
        return "the host allows no taps, which virtio-net needs"
    return None if STATIC_PROBE.exists() else "the probe could not be linked statically"


def main():
    if reason := missing():
        print(f"SKIP comparison in guests: {reason}")
        return
    os.environ["TRINIC_QEMU"] = str(machine_lab.QEMU)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tb-"))
    with contextlib.ExitStack() as ending:
        ending.callback(shutil.rmtree, folder, ignore_errors=True)
        bench = Bench(folder)
        ending.callback(bench.stop)
        if bench.backend != "namespace":
            print(f"SKIP comparison in guests: instances run on the {bench.backend} backend here")
            return
        bench.boot(folder)
        rounds, load = [], []
        for number in range(ROUNDS):
            load.append(os.getloadavg()[0])
            rounds.append(bench.round(number))
        about = {"accelerator": bench.accelerator(), "guest_kernel": bench.kernel, "instance_type": KIND}
    table = summary(rounds)
    print(f"ENA and virtio-net in guests under {about['accelerator'].upper()}, Linux {about['guest_kernel']} ({KERNEL.name}), {KIND}, "
          f"{ROUNDS} rounds, {SECONDS} s and {TRIPS} round trips each, interleaved, on {os.cpu_count()} CPUs, "
          f"Linux {os.uname().release}; load average before each round: {', '.join(f'{one:.1f}' for one in load)}")
    print("the other end is one namespace instance of the same card, on a tap; stateful security groups on")
    show(table)
    keep({**about, "round_s": SECONDS, "trips": TRIPS, "load_average": load, "table": table, "rounds": rounds})


if __name__ == "__main__":
    main()
