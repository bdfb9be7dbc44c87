#!/usr/bin/env python3
"""OVS-DPDK beside trinic: the same frames through one switching core, each with its own user-mode drivers.

Both are arranged alike on two processors. The first has the switching thread alone (trinic's worker; OVS's one PMD
thread). The second has one thread that is sender and receiver in turn (`trinic program frames-pair`; one forwarding
core of DPDK's testpmd) and whatever else the two need (OVS's other threads). OVS gets vhost-user ports and connection
tracking rules for the policy of the trinic benchmark; what counts is what the receiver got.

`scripts/setup-peers` unpacks OVS and testpmd under target/peers/root; installed ones serve as well. All that is started
here is a child with a session of its own, in a network namespace of its own, with its files in a temporary folder; it
ends with this process, and hugepages are given back. By itself this program prints its table; benches/ena.py takes
turns with its other measurements and writes target/bench/ena.json.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from eni import claim

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("TRINIC_BIN", str(ROOT / "target/release/trinic"))
FOUND_IN = (ROOT / "target/peers/root", pathlib.Path("/"))
MEMORY = ["--in-memory", "--single-file-segments", "--no-pci", "--no-telemetry"]
DRIVERS = ("bus_vdev", "mempool_ring", "net_null", "net_pcap", "net_virtio")
HUGEPAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
OVS_MIB, TESTPMD_MIB = 512, 1024
PATIENCE_S = 60
MACS = ("02:00:00:00:00:04", "02:00:00:00:00:05")
ADDRESSES = ("10.0.0.4", "10.0.0.5")
SOURCE_PORTS = 32768  # before the next destination port; as in crates/trinic/src/program/frames/template.rs
# Ports of testpmd: frames of the sender, both virtio ports, frames of replies, and nothing at all.
FRAMES, NEAR, FAR, REPLIES, NOTHING = range(5)
# Packets of established connections and of new ones, told apart by these cookies.
ESTABLISHED, NEW = 1, 2
POLICY_WORDS = {
    "one table": "both security groups in one look at one table of connections: the cheapest form of the policy",
    "two tables": "a table of connections (a zone) for each interface, so that each security group tracks by itself; as trinic does",
}


def policy(name):
    """The policy of the trinic benchmark as OpenFlow rules: a sender uses its own addresses, 10.0.0.0/16 may talk to
    10.0.0.0/16 (narrower than everything, so that each connection is tracked), and what is established passes."""
    two = name == "two tables"
    peers = "ip,nw_src=10.0.0.0/16,nw_dst=10.0.0.0/16"
    lines = []
    for port, (mac, address) in enumerate(zip(MACS, ADDRESSES), 1):
        zone = port if two else 1
        lines.append(f"table=0,in_port={port},dl_src={mac},ip,nw_src={address} actions=load:{zone}->NXM_NX_REG1[],ct(table=1,zone={zone})")
        deliver = f"load:{port}->NXM_NX_REG2[],ct(table=3,zone={port})" if two else f"output:{port}"
        lines.append(f"table=2,ip,nw_dst={address} actions=load:{port}->NXM_NX_REG3[],{deliver}")
    gates = [(1, "NXM_NX_REG1[0..15]", "resubmit(,2)")]
    if two:
        gates.append((3, "NXM_NX_REG2[0..15]", "output:NXM_NX_REG3[0..15]"))
    for table, zone, onward in gates:
        lines.append(f"cookie={ESTABLISHED},table={table},ct_state=+trk+est,ip actions={onward}")
        lines.append(f"cookie={NEW},table={table},ct_state=+trk+new,{peers} actions=ct(commit,zone={zone}),{onward}")
    return "\n".join(lines) + "\n"


class Missing(Exception):
    """Why there is nothing to compare with here."""


class NoFigure(Exception):
    """Why a measurement has no figure."""


def quit_on_sigterm():
    """So that what was started is ended, as after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Tools:
    """The programs of OVS and DPDK, unpacked or installed."""

    def __init__(self):
        if os.geteuid() != 0:
            raise Missing("not root: hugepages and network namespaces are root's")
        self.cpus = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cpus) < 2:
            raise Missing("one processor only: the switching core needs one of its own")
        self.vswitchd = self.find("usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
        self.testpmd = self.find("usr/bin/dpdk-testpmd")
        self.schema = self.find("usr/share/openvswitch/vswitch.ovsschema")
        drivers = [self.find(f"usr/lib/*/dpdk/pmds-*/librte_{driver}.so*") for driver in DRIVERS]
        self.drivers = [word for driver in drivers for word in ("-d", driver)]
        root = FOUND_IN[0]
        libraries = [str(one) for one in [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]]
        self.environment = {**os.environ, "PATH": f"{root}/usr/bin:{root}/usr/sbin:{os.environ['PATH']}"}
        if libraries:
            self.environment["LD_LIBRARY_PATH"] = ":".join(libraries)

    @staticmethod
    def find(pattern):
        """A file as scripts/setup-peers unpacked it, or as it is installed (then it is not unpacked)."""
        for root in FOUND_IN:
            if found := sorted(root.glob(pattern)):
                return str(found[0])
        raise Missing(f"no {pattern.rsplit('/', 1)[-1]}: neither unpacked by scripts/setup-peers nor installed")

    def versions(self):
        def first(program, pattern):
            done = subprocess.run([program, "--version"], env=self.environment, capture_output=True, text=True)
            found = re.search(pattern, done.stdout + done.stderr)
            return found[1] if found else "?"

        return {"ovs": first(self.vswitchd, r"Open vSwitch\) ([\d.]+)"), "dpdk": first(self.vswitchd, r"DPDK ([\d.]+)")}


@contextlib.contextmanager
def hugepages(mib):
    """Reserves hugepages of 2 MiB, and gives them back."""
    setting = HUGEPAGES / "nr_hugepages"
    try:
        before = int(setting.read_text())
        wanted = before + mib // 2
        setting.write_text(str(wanted))
    except OSError as error:
        raise Missing(f"no hugepages can be reserved: {error}") from error
    try:
        for _ in range(20):
            if int(setting.read_text()) >= wanted:
                break
            # Memory in pieces is put together meanwhile.
            time.sleep(0.5)
            setting.write_text(str(wanted))
        if (got := int(setting.read_text())) < wanted:
            raise Missing(f"of {wanted - before} hugepages {got - before} could be reserved")
        yield
    finally:
        setting.write_text(str(before))


@contextlib.contextmanager
def claimed():
    """The commands that control OVS and testpmd get the weight of their sessions, else they would wait for them."""
    own = pathlib.Path("/proc/self/autogroup")
    try:
        before = own.read_text().split()[-1]
    except OSError:
        yield
        return
    claim(os.getpid())
    try:
        yield
    finally:
        own.write_text(before)


class Switch:
    """OVS with two vhost-user ports and testpmd on them, for one number of connections. All of it ends with `stop`."""

    def __init__(self, tools, connections):
        self.tools, self.connections = tools, connections
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trinic-ovs-"))
        self.children = []
        folder = str(self.folder)
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR")
        self.environment = {**tools.environment, **dict.fromkeys(names, folder)}
        try:
            self.start_ovs()
            self.start_testpmd()
        except BaseException:
            self.stop()
            raise

    def start(self, name, *words, **options):
        """A child in a network namespace and a session of its own, which goes when this process does."""
        with (self.folder / f"{name}.out").open("w") as out:
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "taskset", "-c", str(self.tools.cpus[1]), *words],
                env=self.environment, cwd=self.folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                text=True, **{"stdin": subprocess.DEVNULL, **options},
            )
        self.children.append(child)
        return child

    def stop(self):
        # None of them has anything to tidy: no file outside the folder, no shared memory, devices in their own namespace.
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        self.children = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words, given=None):
        try:
            done = subprocess.run(
                words, env=self.environment, cwd=self.folder, input=given, capture_output=True, text=True, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired as error:
            raise NoFigure(f"{' '.join(words[:4])}: no answer; {self.said()}") from error
        if done.returncode:
            raise NoFigure(f"{' '.join(words[:4])}: {done.stderr.strip()}; {self.said()}")
        return done.stdout

    def appctl(self, *words):
        return self.run("ovs-appctl", "-t", f"{self.folder}/ovs.ctl", *words)

    def wait_for(self, what, check):
        end = time.monotonic() + PATIENCE_S
        while not (found := check()):
            gone = [child.args for child in self.children if child.poll() is not None]
            if gone or time.monotonic() > end:
                raise NoFigure(f"no {what}; ended: {gone}; {self.said()}")
            time.sleep(0.05)
        return found

    def said(self):
        """The last words of the children, for who looks for a fault."""
        ends = [f"{one.stem}: …{one.read_text(errors='replace')[-600:]}" for one in sorted(self.folder.glob("*.out"))]
        return "\n".join(["they said last:", *ends])

    def start_ovs(self):
        self.run("ovsdb-tool", "create", "conf.db", self.tools.schema)
        self.start("ovsdb", "ovsdb-server", "conf.db", "--remote=punix:db.sock", "--unixctl=db.ctl")
        self.wait_for("database", (self.folder / "db.sock").exists)
        vsctl = ("ovs-vsctl", "--db=unix:db.sock", f"--timeout={PATIENCE_S}")
        mask = "0x%x" % (1 << self.tools.cpus[0])
        others = "0x%x" % (1 << self.tools.cpus[1])
        extra = " ".join([*MEMORY, *self.tools.drivers])
        self.run(*vsctl, "--no-wait", "init")
        self.run(
            *vsctl, "--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            f"other_config:pmd-cpu-mask={mask}", f"other_config:dpdk-lcore-mask={others}",
            f"other_config:dpdk-socket-mem={OVS_MIB}", f'other_config:dpdk-extra="{extra}"',
        )
        self.vswitchd = self.start("ovs", self.tools.vswitchd, "unix:db.sock", "--unixctl=ovs.ctl", "--log-file=ovs.log")
        self.wait_for("DPDK in OVS", lambda: "true" in self.run(*vsctl, "get", "Open_vSwitch", ".", "dpdk_initialized"))
        ports = []
        for number, name in enumerate(("near", "far"), 1):
            ports += [
                "--", "add-port", "br0", name, "--", "set", "interface", name, "type=dpdkvhostuserclient",
                f"options:vhost-server-path={self.folder}/{name}.sock", f"ofport_request={number}",
            ]
        self.run(*vsctl, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=secure", *ports)
        self.pmd = self.wait_for("switching thread", self.find_pmd)
        claim(self.vswitchd.pid)

    def find_pmd(self):
        for task in pathlib.Path(f"/proc/{self.vswitchd.pid}/task").iterdir():
            if (task / "comm").read_text().startswith("pmd-"):
                return task / "schedstat"
        return None

    def start_testpmd(self):
        write_frames(self.folder / "frames.pcap", self.connections, False)
        write_frames(self.folder / "replies.pcap", self.connections, True)
        devices = [
            "net_pcap0,rx_pcap=frames.pcap,infinite_rx=1",
            f"net_virtio_user0,path={self.folder}/near.sock,server=1,queue_size=1024,mac={MACS[0]}",
            f"net_virtio_user1,path={self.folder}/far.sock,server=1,queue_size=1024,mac={MACS[1]}",
            "net_pcap1,rx_pcap=replies.pcap,infinite_rx=1",
            "net_null0,no-rx=1",
        ]
        self.testpmd = self.start(
            "testpmd", "stdbuf", "-oL", self.tools.testpmd, "--lcores", f"(0-1)@{self.tools.cpus[1]}",
            "-m", str(TESTPMD_MIB), *MEMORY, "--log-level=error", *self.tools.drivers,
            *(word for device in devices for word in ("--vdev", device)),
            "--", "--interactive", "--forward-mode=io", "--nb-cores=1", "--rxd=1024", "--txd=1024", "--burst=64",
            f"--total-num-mbufs={2 * self.connections + 20000}", stdin=subprocess.PIPE,
        )
        claim(self.testpmd.pid)
        self.heard = (self.folder / "testpmd.out").open()
        # A frame for which there is no room yet is tried again, so that no connection is left out.
        self.tell("set fwd io retry", "Set io packet forwarding mode with retry")
        self.tell("set burst tx delay 1 retry 1000", "")

    def tell(self, command, answer):
        """Gives testpmd a command; what it says, up to the answer and the end of its line."""
        self.testpmd.stdin.write(command + "\n")
        self.testpmd.stdin.flush()
        said = []

        def answered():
            said.append(self.heard.read())
            found = re.search(f"(?s)(.*{answer}[^\n]*)\n", "".join(said))
            return found and found[1]

        return self.wait_for(f"answer to {command}", answered) if answer else ""

    def forward(self, *ports):
        self.tell("stop", "")
        self.tell(f"set portlist {','.join(map(str, ports))}", "")
        self.tell("start", "packet forwarding.* - ports=4")

    def port(self, number):
        """Packets in and out of a port of testpmd, and packets a second that came in since the last look."""
        said = self.tell(f"show port stats {number}", r"Rx-pps:\s+\d+.*Tx-pps:")
        found = [re.findall(rf"{name}:\s+(\d+)", said)[-1] for name in ("RX-packets", "TX-packets", "Rx-pps")]
        return tuple(map(int, found))

    def by_cookie(self, cookie):
        said = self.run("ovs-ofctl", "-O", "OpenFlow14", "dump-aggregate", "br0", f"cookie={cookie}/-1")
        return int(re.search(r"packet_count=(\d+)", said)[1])

    def measure(self, name, seconds):
        """Million packets a second that the receiver got, and what each took of the switching thread."""
        self.run("ovs-ofctl", "-O", "OpenFlow14", "--bundle", "replace-flows", "br0", "-", given=policy(name))
        self.appctl("dpctl/flush-conntrack")
        wanted = self.connections * (2 if name == "two tables" else 1)
        # Established is what was seen in both directions (UDP in OVS), so the replies flow for a while.
        begun = [self.port(number)[1] for number in (NEAR, FAR)]
        self.forward(FRAMES, NEAR, FAR, REPLIES)

        def known():
            sent = [self.port(number)[1] - before for number, before in zip((NEAR, FAR), begun)]
            return min(sent) > 2 * self.connections + 10000 and self.tracked() >= wanted

        self.wait_for(f"{wanted} tracked connections", known)
        self.forward(FRAMES, NEAR, FAR, NOTHING)
        time.sleep(0.7)  # OVS counts packets of rules twice a second
        tracked = self.tracked()
        if tracked != wanted:
            raise NoFigure(f"{tracked} connections are tracked, not {wanted}")
        rules = [self.by_cookie(cookie) for cookie in (ESTABLISHED, NEW)]
        received = self.port(FAR)[0]
        self.appctl("dpif-netdev/pmd-stats-clear")
        start, cpu = time.monotonic(), cpu_ns(self.pmd)
        time.sleep(seconds)
        cpu, took = cpu_ns(self.pmd) - cpu, time.monotonic() - start
        after, _, per_s = self.port(FAR)
        perf = self.appctl("dpif-netdev/pmd-perf-show")
        time.sleep(0.7)
        established, new = (self.by_cookie(cookie) - before for cookie, before in zip((ESTABLISHED, NEW), rules))
        self.tell("stop", "")
        if after == received or not per_s:
            raise NoFigure("no packet arrived")
        if new * 100 > established:
            raise NoFigure(f"{new} packets were of new connections and {established} of established ones")
        return {
            "mpps": per_s / 1e6, "worker_ns": cpu / took / per_s, "tracked": tracked,
            "established": established, "new": new, **processing(perf),
        }

    def tracked(self):
        return int(self.appctl("dpctl/ct-get-nconns"))


def cpu_ns(schedstat):
    return int(schedstat.read_text().split()[0])


def processing(perf):
    """What OVS itself says of its switching thread: time in rounds that had packets, for each packet."""
    def number(pattern):
        found = re.search(pattern, perf)
        return float(found[1]) if found else None

    used, share = number(r"Used TSC cycles:\s+(\d+)"), number(r"Used TSC cycles:\s+\d+\s+\(\s*([\d.]+) %")
    seconds, each = number(r"Measurement duration: ([\d.]+)"), number(r"Rx packets:.*?(\d+) cycles/pkt")
    if not (used and share and seconds and each):
        return {"processing_ns": None, "passes": None, "busy_percent": None}
    hertz = used / (share / 100) / seconds
    return {
        "processing_ns": each / hertz * 1e9, "passes": number(r"([\d.]+) passes/pkt"),
        "busy_percent": number(r"busy iterations:\s+\d+\s+\(\s*([\d.]+) %"),
    }


def write_frames(path, connections, replies):
    """The frames of `frames-core`, one for each connection, or what would answer them, in libpcap's file format."""
    mac, address = ([bytes.fromhex(one.replace(":", "")) for one in MACS], [bytes(map(int, one.split("."))) for one in ADDRESSES])
    sender, receiver = (1, 0) if replies else (0, 1)
    payload = b"\x5a" * 18
    header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0, 64, 17, 0) + address[sender] + address[receiver])
    header[10:12] = struct.pack("!H", checksum(words(header)))
    front = mac[receiver] + mac[sender] + b"\x08\x00" + header
    total = words(payload) + words(address[0] + address[1]) + 17 + 26 + 26
    record = struct.pack("<IIII", 0, 0, 60, 60) + front
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(connections):
            ports = [1024 + number % SOURCE_PORTS, 5000 + number // SOURCE_PORTS]
            check = checksum(total + sum(ports)) or 0xFFFF
            out.write(record + struct.pack("!HHHH", ports[sender], ports[receiver], 26, check) + payload)


def words(data):
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def checksum(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Comparison:
    """The measurements that benches/ena.py takes turns with, and their table."""

    def __init__(self, loads, milliseconds):
        """`loads`: bytes of the IP packet and connections, by name; those of the smallest frame are compared."""
        self.loads = {name: load for name, load in loads.items() if load[0] == 46}
        self.milliseconds = milliseconds
        self.skip, self.failures = None, []

    @contextlib.contextmanager
    def ready(self):
        with contextlib.ExitStack() as held:
            try:
                self.tools = Tools()
                quit_on_sigterm()
                # Some more than both ask for: DPDK aligns.
                held.enter_context(hugepages(OVS_MIB + TESTPMD_MIB + 64))
            except Missing as why:
                self.skip = str(why)
                print(f"SKIP OVS-DPDK comparison: {why}")
            yield self

    def jobs(self):
        """Key and function of each measurement; the keys of a load follow one another."""
        if self.skip:
            return []
        found = []
        for load, (size, connections) in self.loads.items():
            found.append((("pair", load), lambda size=size, connections=connections: self.pair(size, connections)))
            found.append((("ovs", load), lambda connections=connections: self.ovs(connections)))
        return found

    def pair(self, size, connections):
        """trinic: the worker on the first processor, both drivers on the second."""
        child = subprocess.Popen(
            [PROGRAM, "--output", "json", "program", "frames-pair", str(self.milliseconds), str(size), str(connections)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        claim(child.pid)
        try:
            out, said = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
        if child.returncode:
            raise RuntimeError(said)
        return json.loads(out)

    def ovs(self, connections):
        """OVS: both policies; what has no figure says why."""
        found = {}
        switch = None
        try:
            with claimed():
                switch = Switch(self.tools, connections)
                for name in POLICY_WORDS:
                    found[name] = switch.measure(name, self.milliseconds / 1000)
        except (NoFigure, OSError) as why:
            self.failures.append(str(why))
            print(f"no figure for OVS-DPDK with {connections} connections: {why}", file=sys.stderr)
        finally:
            if switch:
                switch.stop()
        return found

    def report(self):
        """For the JSON file."""
        if self.skip:
            return {"skip": self.skip}
        return {
            **self.tools.versions(), "policies": {name: policy(name) for name in POLICY_WORDS},
            "switching_cpu": self.tools.cpus[0], "drivers_cpu": self.tools.cpus[1], "failures": self.failures,
        }

    def show(self, rounds):
        if self.skip:
            print(f"\nSKIP OVS-DPDK comparison: {self.skip}")
            return
        versions = self.tools.versions()
        print(f"\none switching core (processor {self.tools.cpus[0]} has the switching thread alone, processor "
              f"{self.tools.cpus[1]} one thread that sends and receives), OVS {versions['ovs']} with DPDK {versions['dpdk']}")
        for name, text in POLICY_WORDS.items():
            print(f"  {name:11}{text}")
        print(f"{'':38}{'trinic':>24}{'OVS, one table':>24}{'ratio':>20}{'OVS, two tables':>24}{'ratio':>20}")
        for load in self.loads:
            for figure, unit, digits in (("mpps", "Mpps", 2), ("worker_ns", "CPU ns", 0)):
                cells = [f"{load + ', ' + unit:38}", f"{spread([one['pair', load][figure] for one in rounds], digits):>24}"]
                for name in POLICY_WORDS:
                    both = [(one["pair", load][figure], one["ovs", load][name][figure]) for one in rounds if name in one["ovs", load]]
                    cells.append(f"{spread([peer for _, peer in both], digits):>24}")
                    cells.append(f"{spread([ours / peer for ours, peer in both], 2):>20}")
                print("".join(cells))
        for load in self.loads:
            cells = [f"{load + ', processing ns':38}", f"{spread([one['core', load]['switch_ns'] for one in rounds], 0):>24}"]
            for name in POLICY_WORDS:
                peers = [one["ovs", load][name] for one in rounds if name in one["ovs", load]]
                cells.append(f"{spread([peer['processing_ns'] for peer in peers], 0):>24}{'':20}")
            print("".join(cells).rstrip())
        for load in self.loads:
            cells = [f"{load + ', limit %':38}", f"{spread([one['pair', load]['waits_percent'] for one in rounds], 1):>24}"]
            for name in POLICY_WORDS:
                peers = [one["ovs", load][name] for one in rounds if name in one["ovs", load]]
                cells.append(f"{spread([peer['busy_percent'] for peer in peers], 1):>24}{'':20}")
            print("".join(cells).rstrip())
        print("  CPU ns: time of the switching thread for each frame received, its looking for work included. processing ns: for\n"
              "  trinic the switching core alone (above; one thread, warm caches), for OVS its own count of rounds that had packets.\n"
              "  limit %: whether the switching thread is the limit; for trinic the turns in which its drivers waited for it, for OVS the time\n"
              "  in which its thread had packets")


def spread(values, digits):
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def main():
    loads = {"64 B, 256 connections": (46, 256), "64 B, 131,072 connections": (46, 131072)}
    import ena

    compared = Comparison(loads, ena.MILLISECONDS)
    rounds, load_average = [], []
    with compared.ready():
        for _ in range(ena.ROUNDS if not compared.skip else 0):
            load_average.append(os.getloadavg()[0])
            found = {("core", load): ena.core(*loads[load]) for load in loads}
            rounds.append({**found, **{key: job() for key, job in compared.jobs()}})
    print(f"{len(rounds)} rounds of {ena.MILLISECONDS} ms; load average before each: {', '.join(f'{one:.1f}' for one in load_average)}")
    compared.show(rounds)


if __name__ == "__main__":
    main()
