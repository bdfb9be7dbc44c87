#!/usr/bin/env python3
"""ENA comparison: queues mapped into a program against the kernel's stack, on the same two instances of one card.

The same program makes and counts the same raw UDP frames on both (`trinic probe … frames-…`): through an interface
attached as an ENA with the user-mode driver, and through eth0, a tap, with a packet socket. Rounds take turns between
all measurements. Writes target/bench/ena.json and prints tables; each figure is the median of the rounds with its
spread, a ratio the median of the rounds' ratios.
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
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "tests/system")]
import ovs_dpdk  # noqa: E402
from eni import cpu_s  # noqa: E402
from conftest import Card, Lab, backend_of, eventually, rule  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
MILLISECONDS = int(float(os.environ.get("SECONDS_PER_RUN", "1")) * 1000)
TRIPS = int(os.environ.get("TRIPS", "5000"))
PROGRAM = os.environ.get("TRINIC_BIN", str(ROOT / "target/release/trinic"))
PROBE = str(ROOT / "target/release/trinic-probe")
PORT = 5000
SMALL = 46  # bytes of the IP packet in the smallest frame, which has 64 with its check sequence
LOADS = {
    "64 B, 256 connections": (SMALL, 256),
    "64 B, 131,072 connections": (SMALL, 131072),
    "1,500 B": (1500, 256),
    "9,001 B": (9001, 256),
}
ENDS = ("ena", "eni")
FIGURES = {
    "core": "the switching thread alone: a sender's driver, the card's worker and a receiver's driver take turns on one "
            "thread, and only the worker's turn is timed; needs no other processor, and has warm caches",
    "path": "frames that a program in the other instance received, everything running at once on this machine's CPUs",
    "worker": "CPU time of the card's worker thread for each frame received, everything running at once (its looking "
              "for work included)",
    "turns": "64-byte frames of 256 connections that arrived, with the worker on one processor and one thread of the host that "
             "is sender and receiver in turn on another, so that both functions have the same two",
    "cpu": "CPU time of both programs and the worker for each frame received",
    "rtt": "one 64-byte frame to an echo in the other instance and back; poll = the programs look again and again on "
           "one processor and the worker on another, "
           "wait = they sleep until an interrupt (ENA) or until the kernel wakes them (ENI)",
    "idle": "CPU time of the whole card process while nothing happens, in percent of a core; sleep = a program that only "
            "sleeps for 1 ms again and again",
    "first": "one 64-byte frame to an echo and back after 50 ms of silence: the worker sleeps up to 1 ms between two looks "
             "at the doorbells; the echo waits for its interrupt",
}
CORE_ROUNDS = 20000
# The program that is sender and receiver in turn runs on the host, outside of both instances.
TURNS = os.geteuid() == 0
IDLE_SECONDS = 5
FIRST_TRIPS, FIRST_PAUSE_MS = 50, 50
# Aims of the project: what, at least or at most, bound.
AIMS = [
    ("core: 64 B, 256 connections", "Mpps", True, 15),
    ("core: 64 B, 131,072 connections", "Mpps", True, 8),
    ("packets a second and core, ENA to ENI (64 B, 256 connections)", "ratio", True, 20),
    ("round trip p50, ENA polling to ENI waiting", "ratio", False, 0.2),
    ("idle CPU of a card with one function", "%", False, 1),
]


class Bench:
    """A card with two instances, each with eth0 and an ENA."""

    def __init__(self, folder):
        self.card = Card(PROGRAM, folder / "state", ["--ephemeral"]).start()
        lab = Lab(self.card, self.card.client(), "10.98.0.0/16")
        net = lab.subnet("10.98.1.0/24")
        # Narrower than 0.0.0.0/0, so that every connection is tracked.
        group = lab.group("bench", rule("udp", 1, 65535, cidr="10.98.0.0/16"))
        self.ends = {name: [] for name in ENDS}
        for _ in range(2):
            instance = lab.instance(net, [group])
            self.ends["eni"].append((instance["InstanceId"], "eth0", instance["PrivateIpAddress"]))
            made = lab.ec2.create_network_interface(
                SubnetId=net, Groups=[group],
                TagSpecifications=[
                    {"ResourceType": "network-interface", "Tags": [{"Key": "trinic:function", "Value": "ena"}]}
                ],
            )["NetworkInterface"]
            eni = made["NetworkInterfaceId"]
            lab.ec2.attach_network_interface(
                NetworkInterfaceId=eni, InstanceId=instance["InstanceId"], DeviceIndex=1
            )
            eventually(lambda: eni in {one["interface"] for one in self.card.json("card")}, what="attached")
            self.ends["ena"].append((instance["InstanceId"], eni, made["PrivateIpAddress"]))
        self.worker = self.thread("worker")

    def thread(self, name):
        pid = self.card.json("ls")["card"]["pid"]
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            if (task / "comm").read_text().strip() == name:
                return task / "schedstat"
        raise RuntimeError(f"the card has no thread {name}")

    def worker_s(self):
        return int(self.worker.read_text().split()[0]) / 1e9

    @contextlib.contextmanager
    def apart(self):
        """The worker on one processor and the programs on another: three that look again and again on two
        processors, placed as the kernel likes, would measure its scheduler."""
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            yield
            return
        worker = int(self.worker.parent.name)
        os.sched_setaffinity(worker, {cpus[-1]})
        os.sched_setaffinity(0, {cpus[0]})
        try:
            yield
        finally:
            os.sched_setaffinity(0, cpus)
            os.sched_setaffinity(worker, cpus)

    def start(self, end, program, *arguments):
        instance, carrier, _ = end
        return subprocess.Popen(
            [PROGRAM, "probe", "--state", str(self.card.state), "--output", "json", instance, program, carrier,
             *map(str, arguments)],
            stdout=subprocess.PIPE, text=True,
        )

    def finish(self, process):
        out, _ = process.communicate(timeout=60)
        if process.returncode:
            raise RuntimeError(f"{process.args}: {process.returncode}; card log: {self.card.tail()}")
        return json.loads(out)

    def flood(self, name, size, connections):
        near, far = self.ends[name]
        if connections > 4096:
            # What is measured is packets of connections that the card knows.
            self.finish(
                self.start(near, "frames-flood", near[2], far[2], PORT, 3 * MILLISECONDS, size, connections)
            )
        sink = self.start(far, "frames-sink", PORT, 300, size)
        time.sleep(0.3)
        before = self.worker_s()
        flood = self.finish(
            self.start(near, "frames-flood", near[2], far[2], PORT, MILLISECONDS, size, connections)
        )
        worker = self.worker_s() - before
        got = self.finish(sink)
        received = max(got["received"], 1)
        return {
            "mpps": got["per_s"] / 1e6, "gbit_s": got["bits_per_s"] / 1e9, "offered_mpps": flood["sent"] / flood["seconds"] / 1e6,
            "received": got["received"], "sent": flood["sent"],
            "worker_ns": worker / received * 1e9,
            "cpu_ns": (worker + flood["cpu_s"] + got["cpu_s"]) / received * 1e9,
        }

    def turns(self, name):
        """The worker on one processor; on the other a thread of the host that is sender and receiver in turn."""
        near, far = self.ends[name]
        if name == "ena":
            carriers = [next((self.card.state / "card").rglob(f"{end[1]}.sock")) for end in (near, far)]
        else:
            carriers = [f"{device}@{instance}" for instance, device, _ in (near, far)]
        with self.apart():
            done = subprocess.run(
                [PROGRAM, "--output", "json", "program", "frames-turns", *map(str, carriers), near[2], far[2], str(PORT),
                 str(MILLISECONDS), str(SMALL), "256"],
                capture_output=True, text=True, timeout=120,
            )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    def round_trip(self, name, way):
        with self.apart() if way == "poll" else contextlib.nullcontext():
            return self.round_trip_here(name, way)

    def round_trip_here(self, name, way):
        near, far = self.ends[name]
        echo = self.start(far, "frames-echo", PORT, 1500, way)
        time.sleep(0.3)
        got = self.finish(self.start(near, "frames-rtt", near[2], far[2], PORT, TRIPS, 3 * MILLISECONDS, way))
        self.finish(echo)
        return {"p50_us": got["p50_us"], "p99_us": got["p99_us"], "lost": got["lost"]}


    def card_cpu_percent(self):
        pid = self.card.json("ls")["card"]["pid"]
        before = cpu_s(pid)
        time.sleep(IDLE_SECONDS)
        return (cpu_s(pid) - before) / IDLE_SECONDS * 100

    def idle(self):
        """A card at rest: with functions that nobody drives, and with one whose driver is silent."""
        time.sleep(1)
        found = {"no_driver_percent": self.card_cpu_percent()}
        echo = self.start(self.ends["ena"][1], "frames-echo", PORT, (IDLE_SECONDS + 2) * 1000, "wait")
        time.sleep(1)
        found["silent_driver_percent"] = self.card_cpu_percent()
        self.finish(echo)
        naps = json.loads(subprocess.run([PROBE, "naps", str(IDLE_SECONDS)], capture_output=True, text=True, check=True).stdout)
        return found | {"sleep_percent": naps["cpu_percent"]}

    def first_packet(self):
        near, far = self.ends["ena"]
        echo = self.start(far, "frames-echo", PORT, 1500, "wait")
        time.sleep(0.3)
        got = self.finish(
            self.start(near, "frames-rtt", near[2], far[2], PORT, FIRST_TRIPS, 20000, "poll", FIRST_PAUSE_MS)
        )
        self.finish(echo)
        return {"p50_us": got["p50_us"], "p99_us": got["p99_us"], "lost": got["lost"]}


def core(size, connections):
    done = subprocess.run(
        [PROGRAM, "--output", "json", "program", "frames-core", str(CORE_ROUNDS), str(size), str(connections)],
        capture_output=True, text=True, timeout=120,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def one_round(bench, peer, number):
    jobs = peer.jobs()
    jobs += [(("core", load), lambda load=load: core(*LOADS[load])) for load in LOADS]
    for name in ENDS:
        jobs += [((name, load), lambda name=name, load=load: bench.flood(name, *LOADS[load])) for load in LOADS]
        if TURNS:
            jobs += [((name, "turns"), lambda name=name: bench.turns(name))]
        jobs += [
            ((name, f"rtt {way}"), lambda name=name, way=way: bench.round_trip(name, way)) for way in ("poll", "wait")
        ]
    jobs += [(("card", "idle"), bench.idle), (("ena", "first"), bench.first_packet)]
    first = number * 5 % len(jobs)
    return {key: job() for key, job in jobs[first:] + jobs[:first]}


def spread(values, digits=2):
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def ratio(rounds, figure, upper, lower):
    found = [one[upper][figure] / one[lower][figure] for one in rounds if one[lower][figure] and one[upper][figure]]
    return statistics.median(found) if found else None


def show(rounds):
    def column(key, figure, digits=2):
        return spread([one[key][figure] for one in rounds], digits)

    print(f"\n{'switching core alone':28}{'ns a frame':>24}{'Mpps':>22}")
    for load in LOADS:
        print(f"{load:28}{column(('core', load), 'switch_ns', 1):>24}{column(('core', load), 'switch_mpps'):>22}")
    print(f"\n{'whole path':28}{'ENA':>24}{'ENI':>24}{'ENA/ENI':>9}")
    for load, (size, _) in LOADS.items():
        ena, eni = ("ena", load), ("eni", load)
        figures = [("mpps", "Mpps", 3)] if size == SMALL else [("gbit_s", "Gbit/s", 2)]
        for figure, unit, digits in [*figures, ("worker_ns", "worker ns", 0), ("cpu_ns", "CPU ns", 0)]:
            times = ratio(rounds, figure, ena, eni)
            print(f"{load + ', ' + unit:38}{column(ena, figure, digits):>24}{column(eni, figure, digits):>24}"
                  f"{times if times is not None else float('nan'):9.3f}")
    for figure, unit, digits in (("mpps", "Mpps", 3), ("waits_percent", "turns without work, %", 1)) if TURNS else ():
        ena, eni = ("ena", "turns"), ("eni", "turns")
        print(f"{'in turn, ' + unit:38}{column(ena, figure, digits):>24}{column(eni, figure, digits):>24}"
              f"{ratio(rounds, figure, ena, eni) or float('nan'):9.3f}")
    for way in ("poll", "wait"):
        for figure in ("p50_us", "p99_us"):
            ena, eni = ("ena", f"rtt {way}"), ("eni", f"rtt {way}")
            print(f"{'round trip, ' + way + ', ' + figure:38}{column(ena, figure, 1):>24}{column(eni, figure, 1):>24}"
                  f"{ratio(rounds, figure, ena, eni) or float('nan'):9.3f}")
    for state, text in (("no_driver", "functions without a driver"), ("silent_driver", "one silent driver"), ("sleep", "sleep")):
        print(f"{'idle CPU, ' + text + ', %':38}{column(('card', 'idle'), state + '_percent'):>24}")
    for figure in ("p50_us", "p99_us"):
        print(f"{'first packet after silence, ' + figure:38}{column(('ena', 'first'), figure, 1):>24}")
    found = {
        AIMS[0][0]: statistics.median(one["core", "64 B, 256 connections"]["switch_mpps"] for one in rounds),
        AIMS[1][0]: statistics.median(one["core", "64 B, 131,072 connections"]["switch_mpps"] for one in rounds),
        AIMS[2][0]: ratio(rounds, "mpps", ("ena", "turns"), ("eni", "turns")) if TURNS else None,
        AIMS[3][0]: statistics.median(
            one["ena", "rtt poll"]["p50_us"] / one["eni", "rtt wait"]["p50_us"] for one in rounds
        ),
        AIMS[4][0]: statistics.median(one["card", "idle"]["silent_driver_percent"] for one in rounds),
    }
    print()
    for what, unit, at_least, bound in AIMS:
        if found[what] is None:
            print(f"SKIP {what}: only root can enter the namespaces of both instances from the host")
            continue
        met = found[what] >= bound if at_least else found[what] <= bound
        print(f"{what:64}{found[what]:8.2f} {unit:6} aim {'>=' if at_least else '<='} {bound:<5g} {'met' if met else 'MISSED'}")
    return found


def main():
    with ovs_dpdk.Comparison(LOADS, MILLISECONDS).ready() as peer:
        run(peer)


def run(peer):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="trinic-bench-"))
    bench = Bench(folder)
    try:
        if (found := eventually(lambda: backend_of(bench.card), what="card report")) != "namespace":
            print(f"SKIP ena comparison: instances run on the {found} backend here, where no program can map queues")
            return
        rounds, cacheline, load = [], [], []
        for number in range(ROUNDS):
            load.append(os.getloadavg()[0])
            rounds.append(one_round(bench, peer, number))
            line = json.loads(subprocess.run([PROBE, "cacheline"], capture_output=True, text=True, check=True).stdout)
            cacheline.append(line["one_way_ns"])
    finally:
        bench.card.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"ENI and ENA, {ROUNDS} rounds of {MILLISECONDS} ms and {TRIPS} round trips, interleaved, on {os.cpu_count()} "
          f"CPUs, Linux {os.uname().release}; load average before each round: {', '.join(f'{one:.1f}' for one in load)}")
    print("polling user-mode queues (ENA) against the kernel's stack (ENI: packet sockets on taps)")
    for name, text in FIGURES.items():
        print(f"  {name:7} {text}")
    found = show(rounds)
    peer.show(rounds)
    print(f"cache line between two cores, one way (ns), per round: {', '.join(f'{one:.0f}' for one in cacheline)}")
    out = ROOT / "target/bench"
    out.mkdir(parents=True, exist_ok=True)
    plain = [{" ".join(key): value for key, value in one.items()} for one in rounds]
    (out / "ena.json").write_text(json.dumps({
        "figures": FIGURES, "cpus": os.cpu_count(), "kernel": os.uname().release, "round_ms": MILLISECONDS,
        "load_average": load, "cacheline_ns": cacheline, "aims": found, "rounds": plain, "ovs_dpdk": peer.report(),
    }, indent=1))
    print(f"written to {out / 'ena.json'}")


if __name__ == "__main__":
    main()
