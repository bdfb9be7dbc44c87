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
# For the memory figures; the type is one with many interfaces.
# Source: the table of types in crates/vpc, which names its own.
INTERFACES = 1000
MANY_TYPE, MANY_INTERFACES = "c5n.18xlarge", 15
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
    "demo_s": (False, 15),
    "resident_1000_interfaces_mb": (False, 200),
    "resident_1000_attached_mb": (False, 200),
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


def start_times(folder):
    """Time from the start of `trinic up` to its ready line."""
    sys.path.insert(0, str(ROOT / "tests/system"))
    from conftest import Card

    starts = []
    for number in range(5):
        card = Card(PROGRAM, folder / f"start{number}", ["--ephemeral"])
        start = time.monotonic()
        card.start()
        starts.append((time.monotonic() - start) * 1e3)
        card.stop()
    return {"start_ms": statistics.median(starts)}


def demo_time():
    """Time that the demo takes, all checks holding."""
    done = subprocess.run([PROGRAM, "demo", "--output", "json"], check=True, capture_output=True, text=True)
    return {"demo_s": json.loads(done.stdout)["seconds"]}


def card_with_lab(folder, name):
    sys.path.insert(0, str(ROOT / "tests/system"))
    from conftest import Card, Lab

    card = Card(PROGRAM, folder / name, ["--ephemeral"]).start()
    return card, Lab(card, card.client(), "10.97.0.0/16")


def sizes(card, name):
    """Resident memory of the two processes, under names that say of what."""
    control, worker = resident_mb(card.process.pid), resident_mb(card.json("ls")["card"]["pid"])
    return {
        f"resident_1000_{name}_mb": control + worker,
        f"resident_1000_{name}_control_mb": control,
        f"resident_1000_{name}_card_mb": worker,
    }


def size_created(folder):
    """Memory with 1,000 interfaces that are attached to nothing."""
    card, lab = card_with_lab(folder, "created")
    try:
        net = lab.subnet("10.97.0.0/20")
        for _ in range(INTERFACES):
            lab.ec2.create_network_interface(SubnetId=net)
        return sizes(card, "interfaces")
    finally:
        card.stop()


def attached_count(ec2, net):
    pages = ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=[{"Name": "subnet-id", "Values": [net]}, {"Name": "attachment.status", "Values": ["attached"]}]
    )
    return sum(len(page["NetworkInterfaces"]) for page in pages)


def size_attached(folder):
    """Memory with 1,000 interfaces that are functions of running instances, the primary ones included, and
    how long it takes to attach them one after the other, until the card has reported the last one."""
    card, lab = card_with_lab(folder, "attached")
    try:
        net = lab.subnet("10.97.0.0/20")
        count = -(-INTERFACES // MANY_INTERFACES)
        reply = lab.ec2.run_instances(
            ImageId="ami-0abcdef1234567890", InstanceType=MANY_TYPE, MinCount=count, MaxCount=count, SubnetId=net
        )
        instances = [one["InstanceId"] for one in reply["Instances"]]
        for instance in instances:
            lab.running(instance)
        left = [(one, index) for index in range(1, MANY_INTERFACES) for one in instances][: INTERFACES - count]
        made = [lab.ec2.create_network_interface(SubnetId=net)["NetworkInterface"]["NetworkInterfaceId"] for _ in left]
        start = time.monotonic()
        for interface, (instance, index) in zip(made, left):
            lab.ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=index)
        while (attached := attached_count(lab.ec2, net)) < INTERFACES:
            if time.monotonic() - start > 300:
                raise RuntimeError(f"only {attached} of {INTERFACES} interfaces are attached")
            time.sleep(0.1)
        took = time.monotonic() - start
        # What an instance sees is what is there.
        devices = card.exec(instances[0], "ls", "/sys/class/net", check=True).stdout.split()
        if sum(name.startswith("eth") for name in devices) != MANY_INTERFACES:
            raise RuntimeError(f"an instance has {devices}")
        return sizes(card, "attached") | {"attach_in_a_row_ms": took / len(made) * 1e3}
    finally:
        card.stop()


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
    single |= start_times(folder) | demo_time() | size_created(folder) | size_attached(folder)
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
