#!/usr/bin/env python3
"""ENI comparison: two namespace instances of trinic against kernel paths, interleaved in one run.

Writes target/bench/eni.json and prints a table. Every figure is the median of the rounds with its
spread; ratios are against the nftables path of the same round.
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benches"))
import paths  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_PER_RUN", "1.5"))
PROGRAM = str(ROOT / "target/release/trinic")
PROBE = str(ROOT / "target/release/trinic-probe")
PORT = 5300
IDLE_SECONDS = 5
# The aims: whether the figure should be large, and the bound; ratios to the nftables path for what all
# paths have, else the figure itself.
AIMS = {
    "tcp1_gbit_s": (True, 0.7),
    "rtt_p50_us": (False, 1.2),
    "kpps": (True, 1.0),
    "idle_cpu_percent": (False, 1),
    "run_to_first_ping_ms": (False, 100),
    "hot_attach_to_usable_ms": (False, 50),
    "start_ms": (False, 500),
    "resident_1000_interfaces_mb": (False, 200),
}
COMPARED = {
    "veth": "two namespaces joined by a virtual cable, nothing between them",
    "bridge": "two namespaces, each on a cable to a bridge in a third one",
    "nftables": "as bridge, with stateful nftables rules (connection tracking) on the bridged packets",
    "trinic": "two instances of a card in one subnet, tap functions, stateful security groups",
}


def claim(pid):
    """Keeps other work on a shared machine off the figures: the session of `pid` goes before others.

    The kernel shares the processors by session (autogroup); the sessions of the card and of the probes get
    the same weight, so that no path is favoured. A kernel without the file measures without it.
    """
    try:
        pathlib.Path(f"/proc/{pid}/autogroup").write_text("-19")
    except OSError as error:
        print(f"session of {pid} has no weight of its own: {error}")


def busy_s():
    """CPU seconds that the whole machine has spent working (user, system, interrupts)."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    ticks = [int(field) for field in fields]
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


def probe(path, *arguments):
    done = subprocess.run([*path.client, PROBE, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{path.name} {arguments}: {done.stderr}")
    return json.loads(done.stdout)


def measure(path):
    """One round of one path."""
    server = subprocess.Popen([*path.server, PROBE, "serve", str(PORT)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if server.stdout.readline().strip() != "serving":
            raise RuntimeError(f"{path.name}: the server did not start")
        found = {}
        for streams in (1, 4):
            start = busy_s()
            got = probe(path, "tcp", path.address, PORT, SECONDS, streams)
            found[f"tcp{streams}_gbit_s"] = got["bits_per_s"] / 1e9
            found[f"tcp{streams}_cpu_s_per_gbyte"] = (busy_s() - start) / (got["bytes"] / 1e9)
        got = probe(path, "rtt", path.address, PORT, 20000)
        found["rtt_p50_us"], found["rtt_p99_us"] = got["p50_ns"] / 1e3, got["p99_ns"] / 1e3
        start = busy_s()
        got = probe(path, "pps", path.address, PORT, SECONDS)
        found["kpps"] = got["packets_per_s"] / 1e3
        found["cpu_us_per_packet"] = (busy_s() - start) / max(got["arrived"], 1) * 1e6
        return found
    finally:
        server.stdin.close()
        server.wait(10)


def first_answer_ms(card, lab, prober, address, act):
    """Time from `act` to the first echo of `address`, which `prober` has been pinging every 2 ms before.

    The address is in another subnet than the prober, so the ping leaves through the router from the start:
    on the same link the kernel would ask for an address that nobody has yet only once a second.
    """
    ping = subprocess.Popen(
        [card.program, "exec", "--state", str(card.state), prober, "--",
         "ping", "-n", "-c", "5000", "-i", "0.002", "-W", "1", address],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        time.sleep(0.1)
        start = time.monotonic()
        act()
        for line in ping.stdout:
            if "bytes from" in line and "Unreachable" not in line:
                return (time.monotonic() - start) * 1e3
        raise RuntimeError(f"{address} never answered")
    finally:
        ping.kill()
        ping.wait()


def cpu_s(process):
    """CPU seconds that a process has used, to the nanosecond: the sum over its threads."""
    tasks = pathlib.Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def times(card, lab, net, group):
    """Times of single acts, as a user meets them through the API, and the CPU time of an idle card."""
    prober = lab.instance(net, [group])["InstanceId"]
    far = lab.subnet("10.98.2.0/24")
    runs, attaches = [], []
    for number in range(5):
        address = f"10.98.2.{200 + number}"
        runs.append(
            first_answer_ms(
                card, lab, prober, address, lambda: lab.instance(far, [group], address, wait=False)
            )
        )
        address = f"10.98.2.{220 + number}"
        eni = lab.ec2.create_network_interface(SubnetId=far, Groups=[group], PrivateIpAddress=address)
        eni = eni["NetworkInterface"]["NetworkInterfaceId"]
        holder = lab.instance(far, [group])["InstanceId"]
        attaches.append(
            first_answer_ms(
                card, lab, prober, address,
                lambda: lab.ec2.attach_network_interface(
                    NetworkInterfaceId=eni, InstanceId=holder, DeviceIndex=1
                ),
            )
        )
    processes = [card.json("ls")["card"]["pid"], card.process.pid]
    before = [cpu_s(process) for process in processes]
    time.sleep(IDLE_SECONDS)
    idle = sum(cpu_s(process) - used for process, used in zip(processes, before)) / IDLE_SECONDS * 100
    return {
        "run_to_first_ping_ms": statistics.median(runs),
        "hot_attach_to_usable_ms": statistics.median(attaches),
        "idle_cpu_percent": idle,
    }


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def start_and_size(folder):
    """Time from the start of `trinic up` to its ready line, and memory with 1,000 interfaces."""
    sys.path.insert(0, str(ROOT / "tests/system"))
    from conftest import Card, Lab

    starts = []
    for number in range(5):
        card = Card(PROGRAM, folder / f"start{number}", ["--ephemeral"])
        start = time.monotonic()
        card.start()
        starts.append((time.monotonic() - start) * 1e3)
        if number < 4:
            card.stop()
    lab = Lab(card, card.client(), "10.97.0.0/16")
    net = lab.subnet("10.97.0.0/20")
    for _ in range(1000):
        lab.ec2.create_network_interface(SubnetId=net)
    pid = card.json("ls")["card"]["pid"]
    sizes = {"control": resident_mb(card.process.pid), "card": resident_mb(pid)}
    card.stop()
    return {
        "start_ms": statistics.median(starts),
        "resident_1000_interfaces_mb": sum(sizes.values()),
        "resident_control_mb": sizes["control"],
        "resident_card_mb": sizes["card"],
    }


def summarise(rounds):
    """Median and spread of each figure, and the ratio to the nftables path round by round."""
    table = {}
    for name in rounds[0]:
        table[name] = {}
        for figure in rounds[0][name]:
            values = [one[name][figure] for one in rounds]
            ratios = [one[name][figure] / one["nftables"][figure] for one in rounds]
            table[name][figure] = {
                "median": statistics.median(values), "min": min(values), "max": max(values),
                "ratio_to_nftables": statistics.median(ratios),
            }
    return table


def show(table, single, cacheline):
    figures = list(next(iter(table.values())))
    print(f"{'median [spread] x ratio':24}" + "".join(f"{name:>30}" for name in table))
    for figure in figures:
        cells = ""
        for name in table:
            one = table[name][figure]
            text = f"{one['median']:.2f} [{one['min']:.2f}-{one['max']:.2f}] x{one['ratio_to_nftables']:.2f}"
            cells += f"{text:>30}"
        print(f"{figure:24}{cells}")
    print()
    for figure, (at_least, aim) in AIMS.items():
        value = table["trinic"][figure]["ratio_to_nftables"] if figure in table["trinic"] else single[figure]
        kind = "of nftables" if figure in table["trinic"] else ""
        met = "met" if (value >= aim if at_least else value <= aim) else "MISSED"
        print(f"{figure:30}{value:10.2f} {kind:12} aim {'>=' if at_least else '<='} {aim:<6g} {met}")
    for name, value in single.items():
        if name not in AIMS:
            print(f"{name:30}{value:10.2f}")
    print(f"cache line between two cores, one way (ns), per round: {', '.join(f'{one:.0f}' for one in cacheline)}")


def main():
    if os.geteuid() != 0:
        print("SKIP eni comparison: the kernel paths need root to make namespaces")
        return
    if any(str(ROOT).startswith(own + "/") for own in ("/tmp", "/var/tmp", "/run", "/dev")):
        sys.exit(f"{ROOT} lies where an instance has files of its own and cannot see the probe: use another folder")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="trinic-bench-"))
    if os.getpid() != os.getpgrp():
        os.setsid()
    claim(os.getpid())
    rounds, cacheline = [], []
    with paths.kernel("veth") as veth, paths.kernel("bridge", bridge=True) as bridge, paths.kernel(
        "nftables", bridge=True, rules=True
    ) as nftables, paths.trinic(PROGRAM, folder / "state", os.environ) as (ours, card, lab, net, group):
        for each in (card.process.pid, card.json("ls")["card"]["pid"]):
            claim(each)
        for number in range(ROUNDS):
            order = [veth, bridge, nftables, ours]
            order = order[number % 4:] + order[: number % 4]
            got = {path.name: measure(path) for path in order}
            rounds.append({path.name: got[path.name] for path in (veth, bridge, nftables, ours)})
            line = json.loads(subprocess.run([PROBE, "cacheline"], capture_output=True, text=True).stdout)
            cacheline.append(line["one_way_ns"])
        single = times(card, lab, net, group)
    single |= start_and_size(folder)
    table = summarise(rounds)
    print(f"{ROUNDS} rounds of {SECONDS} s, interleaved, on {os.cpu_count()} CPUs, Linux {os.uname().release}")
    for name, text in COMPARED.items():
        print(f"  {name:9} {text}")
    print()
    show(table, single, cacheline)
    out = ROOT / "target/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "eni.json").write_text(
        json.dumps({"compared": COMPARED, "cpus": os.cpu_count(), "kernel": os.uname().release,
                    "round_s": SECONDS, "table": table, "single": single, "cacheline_ns": cacheline, "rounds": rounds}, indent=1)
    )
    print(f"written to {out / 'eni.json'}")


if __name__ == "__main__":
    main()
