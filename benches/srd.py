#!/usr/bin/env python3
"""SRD comparison: SRD and kernel TCP with the same messages over the same links, interleaved in one run.

Two namespaces are joined by several cables; between them, in a third one, a relay of the bench delays
each packet and drops some (or, without delay and loss, the cables join the two directly). Writes
target/bench/srd.json and prints a table. Every figure is the median of the rounds with its spread.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benches"))
from eni import claim  # noqa: E402
from paths import sh  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS_PER_RUN", "1"))
MTU = int(os.environ.get("MTU", "9000"))
PROGRAM = str(ROOT / "target/release/trinic-srd-bench")
PROBE = str(ROOT / "target/release/trinic-probe")
CABLES = 4
PORT = 5300
ONE, TWO = "10.98.0.1", "10.98.0.2"
# Round trip in ms that the relay adds (None: no relay, offloads as the kernel has them), loss in %.
LINKS = [(None, 0), (0.2, 0), (0.2, 0.1), (0.2, 1), (1, 0), (1, 0.1), (1, 1)]
# Name, bytes, messages outstanding: many fill the path, few show how long a message takes on one that is not full.
LOADS = [
    ("64 B", 64, 256),
    ("8 KiB", 8 << 10, 256),
    ("8 KiB, few", 8 << 10, 16),
    ("64 KiB", 64 << 10, 32),
    ("1 MiB", 1 << 20, 8),
]
# Linux's own choice, which the aims are about, and that of this machine, if it is another.
CUBIC = "cubic"
MACHINE = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
PROTOCOLS = list(dict.fromkeys(["srd", CUBIC, MACHINE]))
FIGURES = ["messages_per_s", "goodput_mbyte_s", "p50_us", "p99_us", "p999_us"]
# Link, load, figure, whether the ratio of SRD to TCP (cubic) should be large, and the bound.
AIMS = [
    ((1, 1), "8 KiB", "goodput_mbyte_s", True, 5),
    ((1, 1), "1 MiB", "goodput_mbyte_s", True, 5),
    ((1, 1), "8 KiB, few", "p999_us", False, 0.1),
    ((1, 1), "8 KiB", "p999_us", False, 0.1),
    ((1, 1), "1 MiB", "p999_us", False, 0.1),
    ((None, 0), "64 KiB", "goodput_mbyte_s", True, 1),
]
# What SRD's end is started with beside its defaults: KEY=VALUE, for trials.
TUNING = os.environ.get("SRD_TUNING", "").split()


def take_short_turns():
    """Asks for turns of 0.1 ms on the processor instead of the kernel's 1 to 3 ms, for this program and what it starts.

    Three programs share the machine's processors with whatever else runs there; one that wakes up goes before one that
    asked for longer turns, so it does not wait for the end of that one's. Both protocols' programs ask alike.
    Source: sched_setattr(2); Linux 6.12 and later read the runtime of an ordinary process as its slice.
    """
    attributes = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, -20, 0, 100_000, 0, 0)
    number = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine)
    if number is None or ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0):
        print(f"no short turns: error {ctypes.get_errno()}")


def name_of(link):
    delay, loss = link
    return "direct" if delay is None else f"{delay} ms, {loss} %"


def start(command, word):
    """Starts a program that says a word when it is ready, and ends with its standard input."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdout.readline().strip() != word:
        raise RuntimeError(f"{command} did not start")
    return process


def stop(process):
    """Ends it; what it says last."""
    process.stdin.close()
    said = process.stdout.read().strip()
    process.wait(10)
    return json.loads(said) if said else None


def mac(side, cable):
    return f"02:5d:00:00:{side:02x}:{cable:02x}"


class Net:
    """Two namespaces joined by cables, each side with one address and a route over all cables."""

    def __init__(self, link, seed):
        self.link, self.seed = link, seed
        tag = f"ts{os.getpid() % 100000}"
        self.one, self.two, self.middle = f"{tag}a", f"{tag}b", f"{tag}m"
        self.relay = self.server = None
        # What they say at their end.
        self.said = {}

    def __enter__(self):
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def make(self):
        delay, loss = self.link
        spaces = [self.one, self.two] + ([self.middle] if delay is not None else [])
        for space in spaces:
            sh(f"ip netns add {space} && ip -n {space} link set lo up")
            sh(f"ip netns exec {space} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 "
               "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.fib_multipath_hash_policy=1 "
               # Where the machine's choice is BBR, a connection begins with its pacing and keeps that when it is told to use another.
               "net.ipv4.tcp_congestion_control=reno")
        for cable in range(CABLES):
            if delay is None:
                sh(f"ip link add c{cable} mtu {MTU} netns {self.one} type veth peer name c{cable} mtu {MTU} netns {self.two}")
            else:
                for side, space in ((0, self.one), (1, self.two)):
                    sh(f"ip link add c{cable} mtu {MTU} netns {space} type veth "
                       f"peer name m{side}{cable} mtu {MTU} netns {self.middle}")
                    sh(f"ip netns exec {self.middle} ethtool -K m{side}{cable} {OFFLOADS}")
                    sh(f"ip -n {self.middle} link set m{side}{cable} up")
                    # With offloads a packet of the relay would be many of the wire.
                    sh(f"ip netns exec {space} ethtool -K c{cable} {OFFLOADS}")
        for side, (space, own, peer) in enumerate(((self.one, ONE, TWO), (self.two, TWO, ONE))):
            sh(f"ip -n {space} addr add {own}/32 dev lo")
            hops = ""
            for cable in range(CABLES):
                near, far = f"10.99.{cable}.{side + 1}", f"10.99.{cable}.{2 - side}"
                sh(f"ip -n {space} link set c{cable} address {mac(side, cable)} up && ip -n {space} addr add {near}/30 dev c{cable}")
                # Lost questions for addresses are not what is measured.
                sh(f"ip -n {space} neigh replace {far} lladdr {mac(1 - side, cable)} dev c{cable} nud permanent")
                hops += f" nexthop via {far} dev c{cable}"
            sh(f"ip -n {space} route add {peer}/32 src {own}{hops}")
        if delay is not None:
            pairs = [f"m0{cable}:m1{cable}" for cable in range(CABLES)]
            self.relay = start(["ip", "netns", "exec", self.middle, PROGRAM, "relay", str(int(delay * 500)),
                                str(int(loss * 10_000)), str(self.seed), *pairs], "relaying")
        self.server = start(["ip", "netns", "exec", self.two, PROGRAM, "serve", TWO, ONE, str(PORT), f"mtu={MTU}", *TUNING],
                            "serving")

    def __exit__(self, *_):
        for name, process in (("server", self.server), ("relay", self.relay)):
            if process:
                with contextlib.suppress(ValueError, subprocess.TimeoutExpired):
                    self.said[name] = stop(process)
        for space in (self.one, self.two, self.middle):
            sh(f"ip netns del {space}", check=False)

    def run(self, protocol, size, outstanding):
        if protocol == "srd":
            words = ["srd", ONE, TWO, size, outstanding, SECONDS, f"mtu={MTU}", *TUNING]
        else:
            words = ["tcp", TWO, PORT, protocol, size, outstanding, SECONDS]
        done = subprocess.run(["ip", "netns", "exec", self.one, PROGRAM, *map(str, words)],
                              capture_output=True, text=True, timeout=60 + 10 * SECONDS)
        if done.returncode:
            raise RuntimeError(f"{self.link} {words}: {done.stderr}")
        got = json.loads(done.stdout)
        if got["failed"]:
            print(f"  {name_of(self.link)} {protocol} {size} B: {got['failed']} messages failed")
        return got


def measure(link, number):
    """One round of one link: each load over all protocols, one after the other."""
    found = {}
    with Net(link, seed=number + 1) as net:
        for at, (name, size, outstanding) in enumerate(LOADS):
            turn = (at + number) % len(PROTOCOLS)
            found[name] = {protocol: net.run(protocol, size, outstanding)
                           for protocol in PROTOCOLS[turn:] + PROTOCOLS[:turn]}
    return {"loads": found} | net.said


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(rounds):
    """Median and spread of each figure, and of the ratios of SRD's to each TCP's, round by round."""
    table = {}
    for link in rounds[0]:
        table[link] = {}
        for load in rounds[0][link]["loads"]:
            table[link][load] = {}
            for figure in FIGURES:
                got = [{which: one[link]["loads"][load][which][figure] for which in PROTOCOLS} for one in rounds]
                # A run in which nothing was acknowledged in time has no figure.
                got = [one for one in got if all(one.values())]
                if got:
                    table[link][load][figure] = {which: spread([one[which] for one in got]) for which in PROTOCOLS} | {
                        f"srd / {tcp}": spread([one["srd"] / one[tcp] for one in got]) for tcp in PROTOCOLS[1:]
                    }
    return table


def show(table, cacheline):
    print(f"{'median [spread]':42}" + "".join(f"{which:>32}" for which in PROTOCOLS)
          + "".join(f"{'srd / ' + tcp:>23}" for tcp in PROTOCOLS[1:]))
    for link, loads in table.items():
        for load, figures in loads.items():
            for figure, one in figures.items():
                cells = ""
                for which, cell in one.items():
                    digits, width = (2, 23) if "/" in which else (0, 32)
                    text = f"{cell['median']:.{digits}f} [{cell['min']:.{digits}f}-{cell['max']:.{digits}f}]"
                    cells += f" {text}".rjust(width)
                print(f"{link:13}{load:12}{figure:17}{cells}")
    print()
    for link, load, figure, at_least, aim in AIMS:
        one = table.get(name_of(link), {}).get(load, {}).get(figure)
        if not one:
            print(f"{name_of(link):12}{load:12}{figure:17} not measured")
            continue
        value = one[f"srd / {CUBIC}"]["median"]
        met = "met" if (value >= aim if at_least else value <= aim) else "MISSED"
        print(f"{name_of(link):12}{load:12}{figure:17}{value:8.2f} of TCP's ({CUBIC}), aim {'>=' if at_least else '<='} {aim:<4g} {met}")
    print(f"cache line between two cores, one way (ns), per round: {', '.join(f'{one:.0f}' for one in cacheline)}")


def main():
    if os.geteuid() != 0:
        print("SKIP srd comparison: the links need root to make namespaces")
        return
    if os.getpid() != os.getpgrp():
        os.setsid()
    claim(os.getpid())
    take_short_turns()
    rounds, cacheline = [], []
    load_before = os.getloadavg()
    for number in range(ROUNDS):
        links = LINKS[number % len(LINKS):] + LINKS[: number % len(LINKS)]
        got = {name_of(link): measure(link, number) for link in links}
        rounds.append({name_of(link): got[name_of(link)] for link in LINKS})
        line = json.loads(subprocess.run([PROBE, "cacheline"], capture_output=True, text=True, check=True).stdout)
        cacheline.append(line["one_way_ns"])
    table = summarise(rounds)
    load_after = os.getloadavg()
    print(f"{ROUNDS} rounds of {SECONDS} s, interleaved, on {os.cpu_count()} CPUs, Linux {os.uname().release}, MTU {MTU}, "
          f"{CABLES} cables, TCP {' and '.join(PROTOCOLS[1:])}, load average {load_before[0]:.1f} before and {load_after[0]:.1f} after\n")
    show(table, cacheline)
    out = ROOT / "target/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "srd.json").write_text(
        json.dumps({"cpus": os.cpu_count(), "kernel": os.uname().release, "round_s": SECONDS, "mtu": MTU, "cables": CABLES,
                    "load_average": [load_before, load_after], "tuning": TUNING, "table": table,
                    "cacheline_ns": cacheline, "rounds": rounds}, indent=1)
    )
    print(f"written to {out / 'srd.json'}")


# What would make one frame of the relay many packets of the wire, or leave checksums open.
OFFLOADS = "tso off gso off gro off tx off rx off tx-udp-segmentation off"


if __name__ == "__main__":
    main()
