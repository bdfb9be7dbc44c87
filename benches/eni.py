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
    server = subprocess.Popen([*path.server, PROBE, "serve", str(PORT)], stdout=subprocess.PIPE, text=True)
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
        server.kill()
        server.wait()


def times(card, lab, net, group):
    """Times of single acts, as a user meets them through the API."""
    found = {}
    probe_from = lab.instance(net, [group])["InstanceId"]
    runs = []
    for _ in range(5):
        # A free address, so that the ping can start before the reply names one.
        address = f"10.98.1.{200 + len(runs)}"
        ping = subprocess.Popen(
            [card.program, "exec", "--state", str(card.state), probe_from, "--",
             "ping", "-n", "-c", "1000", "-i", "0.002", "-W", "1", address],
            stdout=subprocess.PIPE, text=True,
        )
        time.sleep(0.1)
        start = time.monotonic()
        lab.instance(net, [group], address, wait=False)
        for line in ping.stdout:
            if "bytes from" in line and "Unreachable" not in line:
                break
        runs.append((time.monotonic() - start) * 1e3)
        ping.kill()
        ping.wait()
    found["run_to_first_ping_ms"] = statistics.median(runs)
    runs = []
    for number in range(5):
        address = f"10.98.1.{220 + number}"
        eni = lab.ec2.create_network_interface(SubnetId=net, Groups=[group], PrivateIpAddress=address)
        eni = eni["NetworkInterface"]["NetworkInterfaceId"]
        holder = lab.instance(net, [group])["InstanceId"]
        ping = subprocess.Popen(
            [card.program, "exec", "--state", str(card.state), probe_from, "--",
             "ping", "-n", "-c", "1000", "-i", "0.002", "-W", "1", address],
            stdout=subprocess.PIPE, text=True,
        )
        time.sleep(0.1)
        start = time.monotonic()
        lab.ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=holder, DeviceIndex=1)
        for line in ping.stdout:
            if "bytes from" in line and "Unreachable" not in line:
                break
        runs.append((time.monotonic() - start) * 1e3)
        ping.kill()
        ping.wait()
    found["hot_attach_to_usable_ms"] = statistics.median(runs)
    pid = card.json("ls")["card"]["pid"]

    def cpu_s(process):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    processes = [pid, card.process.pid]
    before = [cpu_s(process) for process in processes]
    time.sleep(5)
    found["idle_cpu_percent"] = sum(cpu_s(p) - b for p, b in zip(processes, before)) / 5 * 100
    return found


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
    print(f"{'':26}" + "".join(f"{name:>28}" for name in table))
    for figure in figures:
        cells = ""
        for name in table:
            one = table[name][figure]
            text = f"{one['median']:.2f} [{one['min']:.2f}-{one['max']:.2f}] x{one['ratio_to_nftables']:.2f}"
            cells += f"{text:>28}"
        print(f"{figure:26}{cells}")
    for name, value in single.items():
        print(f"{name:40} {value:10.2f}")
    print(f"cache line, one way (ns): {', '.join(f'{one:.0f}' for one in cacheline)}")


def main():
    if os.geteuid() != 0:
        print("SKIP eni comparison: the kernel paths need root to make namespaces")
        return
    folder = pathlib.Path(tempfile.mkdtemp(prefix="trinic-bench-"))
    rounds, cacheline = [], []
    with paths.kernel("veth") as veth, paths.kernel("bridge", bridge=True) as bridge, paths.kernel(
        "nftables", bridge=True, rules=True
    ) as nftables, paths.trinic(PROGRAM, folder / "state", os.environ) as (ours, card, lab, net, group):
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
    show(table, single, cacheline)
    out = ROOT / "target/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "eni.json").write_text(
        json.dumps({"table": table, "single": single, "cacheline_ns": cacheline, "rounds": rounds}, indent=1)
    )
    print(f"written to {out / 'eni.json'}")


if __name__ == "__main__":
    main()
