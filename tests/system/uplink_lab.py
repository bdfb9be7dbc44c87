"""A card with --uplink in namespaces of its own, whose resolver is this program; prints what it saw as JSON.

Run by test_uplink.py under `unshare --mount --net`, so that /etc/resolv.conf and the loopback addresses here
are nobody else's. Arguments: the trinic binary, an empty folder.
"""

import json
import pathlib
import socket
import struct
import subprocess
import sys
import threading

from conftest import PING, Card, Lab

RESOLVER = ("127.0.0.1", 53)
ADDRESS = "192.0.2.77"
# Fields of DNS messages. Source: RFC 1035 §4.1.
ANSWER, NO_SUCH_NAME, TYPE_A = 0x8180, 0x8183, 1


class Resolver(threading.Thread):
    """Knows one name, says that there is no other, and does not answer about `silent.…` at all."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(RESOLVER)

    def run(self):
        while True:
            query, sender = self.socket.recvfrom(4096)
            name, end = self.name(query)
            kind = struct.unpack("!H", query[end : end + 2])[0]
            self.asked.append(name)
            if name.startswith("silent."):
                continue
            is_known = name == "known.example"
            records = b""
            if is_known and kind == TYPE_A:
                records = struct.pack("!HHHIH", 0xC00C, TYPE_A, 1, 60, 4) + socket.inet_aton(ADDRESS)
            flags = ANSWER if is_known else NO_SUCH_NAME
            counts = struct.pack("!HHHHH", flags, 1, bool(records), 0, 0)
            self.socket.sendto(query[:2] + counts + query[12 : end + 4] + records, sender)

    @staticmethod
    def name(query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        return ".".join(labels), at + 1


# One query over UDP to the VPC's resolver: prints the response code, then the addresses.
ASK = (
    "import socket,struct,sys\n"
    "name=b''.join(bytes([len(l)])+l.encode() for l in sys.argv[2].split('.'))+b'\\0'\n"
    "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(9)\n"
    "s.sendto(struct.pack('!HHHHHH',7,0x100,1,0,0,0)+name+struct.pack('!HH',1,1),(sys.argv[1],53))\n"
    "d=s.recv(4096);f=d[3]&15;n=struct.unpack('!H',d[6:8])[0]\n"
    "print(f,*[socket.inet_ntoa(d[-4:])]*n)\n"
)


def ask(card, instance, name):
    return card.exec(instance, "python3", "-c", ASK, "10.190.0.2", name, check=True).stdout.split()


def observe(program, state, *arguments):
    """What an instance of a new card hears about four names."""
    card = Card(program, state, ["--ephemeral", *arguments]).start()
    try:
        lab = Lab(card, card.client(), "10.190.0.0/16")
        one = lab.instance(lab.subnet("10.190.1.0/24"), [lab.group("open", PING)])
        id_ = one["InstanceId"]
        names = ["known.example", "unknown.example", one["PrivateDnsName"]]
        heard = {
            "known": ask(card, id_, names[0]),
            "unknown": ask(card, id_, names[1]),
            "own": ask(card, id_, names[2]),
            "address": one["PrivateIpAddress"],
            "own_name": names[2],
            "getent": card.exec(id_, "getent", "ahostsv4", names[0]).stdout.split()[:1],
        }
        if arguments:
            heard["silent"] = ask(card, id_, "silent.example")
        return heard
    finally:
        card.stop()


def main(program, folder):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    conf = folder / "resolv.conf"
    conf.write_text(f"nameserver {RESOLVER[0]}\n")
    subprocess.run(["mount", "--bind", str(conf), "/etc/resolv.conf"], check=True)
    resolver = Resolver()
    resolver.start()
    without = observe(program, folder / "without")
    asked_without = list(resolver.asked)
    resolver.asked.clear()
    with_ = observe(program, folder / "with", "--uplink")
    told = {"without": without, "asked_without": asked_without, "with": with_, "asked_with": resolver.asked}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
