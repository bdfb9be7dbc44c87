"""The paths that `make bench` compares: two network stacks on this machine joined in different ways.

Each path gives `client` and `server` prefixes (command words that run a program on that side) and the
server's address. All addresses are in namespaces that this program makes and removes.
"""

import contextlib
import os
import subprocess


def sh(line, check=True):
    return subprocess.run(line, shell=True, check=check, capture_output=True, text=True)


class Path:
    """A joined pair of stacks."""

    def __init__(self, name, client, server, address):
        self.name, self.client, self.server, self.address = name, client, server, address


@contextlib.contextmanager
def kernel(name, bridge=False, rules=False):
    """veth, veth + bridge, or veth + bridge + nftables with connection tracking on what is bridged."""
    tag = f"tb{os.getpid() % 10000}{name[:2]}"
    one, two, mid = f"{tag}a", f"{tag}b", f"{tag}m"
    made = [one, two]
    try:
        sh(f"ip netns add {one} && ip netns add {two}")
        if not bridge:
            sh(f"ip link add {tag}0 netns {one} type veth peer name {tag}1 netns {two}")
            ends = [(one, f"{tag}0", "10.99.0.1/24"), (two, f"{tag}1", "10.99.0.2/24")]
        else:
            sh(f"ip netns add {mid}")
            made.append(mid)
            sh(f"ip -n {mid} link add br0 type bridge && ip -n {mid} link set br0 up")
            ends = []
            for side, namespace in enumerate((one, two)):
                sh(f"ip link add {tag}{side} netns {namespace} type veth peer name {tag}{side} netns {mid}")
                sh(f"ip -n {mid} link set {tag}{side} master br0 mtu 9001 up")
                ends.append((namespace, f"{tag}{side}", f"10.99.0.{side + 1}/24"))
        if rules:
            ruleset = (
                "table inet filter { chain forward { type filter hook forward priority 0; policy drop; "
                "ct state established,related accept; "
                "ip saddr 10.99.0.0/24 tcp dport 1-65535 ct state new accept; "
                "ip saddr 10.99.0.0/24 udp dport 1-65535 ct state new accept; "
                "ip protocol icmp accept; }\n}\n"
            )
            # The bridge hands its IPv4 frames to the inet hooks, where connection tracking lives.
            sh(f"ip netns exec {mid} sysctl -qw net.bridge.bridge-nf-call-iptables=1")
            done = subprocess.run(
                ["ip", "netns", "exec", mid, "nft", "-f", "-"], input=ruleset, text=True, capture_output=True
            )
            if done.returncode:
                raise RuntimeError(done.stderr)
        for namespace, device, address in ends:
            sh(f"ip -n {namespace} link set lo up")
            sh(f"ip -n {namespace} link set {device} mtu 9001 up && ip -n {namespace} addr add {address} dev {device}")
        yield Path(name, ["ip", "netns", "exec", one], ["ip", "netns", "exec", two], "10.99.0.2")
    finally:
        for namespace in made:
            sh(f"ip netns del {namespace}", check=False)


@contextlib.contextmanager
def trinic(program, state, environment):
    """Two namespace instances of a card, with stateful groups on."""
    import sys

    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests", "system"))
    from conftest import Card, Lab, rule

    card = Card(program, state, ["--ephemeral"]).start()
    try:
        lab = Lab(card, card.client(), "10.98.0.0/16")
        net = lab.subnet("10.98.1.0/24")
        # Rules narrower than 0.0.0.0/0, so that every flow is tracked (as the nftables path does).
        group = lab.group(
            "bench",
            rule("tcp", 1, 65535, cidr="10.98.0.0/16"),
            rule("udp", 1, 65535, cidr="10.98.0.0/16"),
            rule("icmp", -1, cidr="10.98.0.0/16"),
        )
        one = lab.instance(net, [group])
        two = lab.instance(net, [group])
        run = [program, "exec", "--state", str(state)]
        yield Path(
            "trinic",
            [*run, one["InstanceId"], "--"],
            [*run, two["InstanceId"], "--"],
            two["PrivateIpAddress"],
        ), card, lab, net, group
    finally:
        card.stop()
