"""The Wireshark dissector of SRD: docs/spec/srd.lua decodes what docs/spec/srd.md says.

The packets are built here from the tables of the page, so this is a second reading of the formats beside the
engine's. No packet leaves the machine: they go into a capture file that tshark reads.
"""

import json
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DISSECTOR = ROOT / "docs" / "spec" / "srd.lua"
PORT = 64773
HELLO, DATA, ACK = 1, 2, 3
SEND, SEND_IMMEDIATE, VOID, WRITE, WRITE_IMMEDIATE, READ_REQUEST, READ_RESPONSE = range(1, 8)
ACK_NOW, RETRANSMISSION, PAYLOAD_TAG = 1, 2, 4
TAG = bytes(range(0xA0, 0xAC))
FAILED_READ = 0xFFFFFFFF
REASONS = 10


# ---- packets, after the tables of docs/spec/srd.md


def packet(
    kind, body, payload=b"", *, flags=0, context=77, psn=0, txn=0, path=0, operation=0, epoch=0, version=1, length=None
):
    """A packet: base header, `body` up to the tag, tag, payload."""
    whole = 20 + len(body) + len(TAG) + len(payload) if length is None else length
    base = struct.pack(
        ">BBHIIIBBH", version << 4 | kind, flags, whole, context, psn, txn, path, operation, epoch
    )
    return base + body + TAG + payload


def data(operation, own=b"", payload=b"", *, source=11, destination=22, qkey=0x11223344, immediate=0, **base):
    body = struct.pack(">HHII", source, destination, qkey, immediate) + own
    return packet(DATA, body, payload, operation=operation, **base)


def segment(index, count, *, identity=5, key=0xCAFE, address=0x1_0000_2000):
    return struct.pack(">IIQII", identity, key, address, index, count)


def request(length, *, identity=6, key=0xBEEF, address=0xFFFF_8000_0000_0000):
    return struct.pack(">IIQII", identity, key, address, length, 0)


def response(offset, total, *, identity=6):
    return struct.pack(">III", identity, offset, total)


def ack(expected, arrived=(), echoes=(), refusals=(), *, counts=None, **base):
    """An ACK: `arrived` are PSNs, echoes (path, delay, TXN, CE, packets), refusals (PSN, reason)."""
    places = [(psn - expected - 1) % 2**32 for psn in arrived]
    words = [0] * (max(places) // 64 + 1 if places else 0)
    for place in places:
        words[place // 64] |= 1 << place % 64
    counts = counts or (len(words), len(echoes), len(refusals))
    body = struct.pack(">BBBB", *counts, 0) + struct.pack(f">{len(words)}Q", *words)
    for path, delay, txn, marked, packets in echoes:
        body += struct.pack(">BBHIHH", path, 0, delay, txn, marked, packets)
    for psn, reason in refusals:
        body += struct.pack(">IB3x", psn, reason)
    return packet(ACK, body, psn=expected, **base)


def hello(
    *, lowest=1, highest=1, datagram=8972, window=4096, rdma=64, features=0, sender=0x1122334455667788, receiver=0, **base
):
    body = struct.pack(">BBHIHH", lowest, highest, datagram, window, rdma, features)
    body += struct.pack(">QQ", sender, receiver)
    body += socket.inet_pton(socket.AF_INET6, "fe80::a") + socket.inet_pton(socket.AF_INET6, "fe80::b")
    return packet(HELLO, body, **base)


# ---- captures


def datagram(payload, *, source=50000, destination=PORT, v6=False):
    """An IP packet with one UDP datagram."""
    udp = struct.pack(">HHHH", source, destination, 8 + len(payload), 0) + payload
    if v6:
        ends = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
        return struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + ends + udp
    ends = socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2")
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends + udp


def capture(datagrams, snap=65535):
    """A pcap file of raw IP packets (link type 101)."""
    file = struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for index, whole in enumerate(datagrams):
        kept = whole[:snap]
        file += struct.pack(">IIII", index, 0, len(kept), len(whole)) + kept
    return file


class Tshark:
    """tshark with the dissector and without the preferences of whoever runs the test.

    Later versions run no script for root, so root runs it as nobody: from a folder that nobody can read, and with the
    capture on its standard input.
    """

    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.script = shutil.copy(DISSECTOR, folder)
        os.chmod(self.script, 0o644)
        self.environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder, "LC_ALL": "C.UTF-8"}
        self.nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            subprocess.run(["true"], check=True, **self.nobody)
        except (OSError, subprocess.SubprocessError):
            self.nobody = {}  # a namespace without such a user

    def run(self, *arguments, file=b""):
        done = subprocess.run(
            ["tshark", *arguments, "-X", f"lua_script:{self.script}"],
            input=file, env=self.environment, cwd="/", capture_output=True, timeout=120, **self.nobody,
        )
        errors = done.stderr.decode(errors="replace")
        assert done.returncode == 0, errors
        assert "lua" not in errors.lower(), errors
        return done.stdout.decode(errors="replace")

    def read(self, datagrams, *arguments, snap=65535):
        text = self.run("-n", "-r", "-", *arguments, file=capture(datagrams, snap))
        assert "Lua Error" not in text, text[-3000:]
        return text

    def fields(self, datagrams, *arguments, **more):
        """For each datagram its fields of SRD: name to the list of values, or None where it is not taken for SRD."""
        found = json.loads(self.read(datagrams, "-T", "json", "--no-duplicate-keys", *arguments, **more))
        return [flat(one["_source"]["layers"].get("srd")) for one in found]

    def info(self, datagrams):
        return self.read(datagrams, "-o", 'gui.column.format:"Protocol","%p","Info","%i"').splitlines()

    def one(self, payload, *arguments, **more):
        return self.fields([datagram(payload, **more)], *arguments)[0]


def flat(tree):
    """The leaves of a tree of fields by name, in order, truth values as 1 and 0."""
    found = {}

    def visit(name, value):
        if isinstance(value, dict):
            found.setdefault(name, [])
            for inner, below in value.items():
                visit(inner, below)
        elif isinstance(value, list):
            for one in value:
                visit(name, one)
        else:
            found.setdefault(name, []).append({"True": "1", "False": "0"}.get(value, value))

    if tree is None:
        return None
    visit("srd", tree)
    return found


def expert(fields):
    """The names of the expert information about a packet."""
    others = {"srd.cut", "srd.retransmitted", "srd.refused"}
    return {name for name in fields if name in others or name.startswith(("srd.bad.", "srd.doubt."))}


def has(fields, expected):
    """Whether a packet has these values: number or string, or a list for a field that comes more than once."""
    for name, wanted in expected.items():
        wanted = wanted if isinstance(wanted, list) else [wanted]
        values = [int(v, 0) if isinstance(w, int) else v for v, w in zip(fields.get(name, []), wanted)]
        assert len(fields.get(name, [])) == len(wanted) and values == wanted, (name, fields.get(name), wanted)
    return True


@pytest.fixture(scope="module")
def tshark():
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed")
    with tempfile.TemporaryDirectory() as folder:
        yield Tshark(folder)


# One of each kind, with what of it is decoded.
EACH = {
    "hello": (
        hello(features=1, receiver=0x99, context=3, path=2, epoch=9, rdma=256, flags=ACK_NOW),
        "HELLO context=3 incarnation=1122334455667788 receiver=0000000000000099 window=4096 path=2",
        {
            "srd.version": 1, "srd.type": HELLO, "srd.length": 92, "srd.context": 3, "srd.path": 2, "srd.epoch": 9,
            "srd.flags": ACK_NOW, "srd.flags.ack_now": 1, "srd.flags.retransmission": 0, "srd.flags.payload_tag": 0,
            "srd.hello.version.lowest": 1, "srd.hello.version.highest": 1, "srd.hello.datagram": 8972,
            "srd.hello.window": 4096, "srd.hello.rdma": 256, "srd.hello.features": 1,
            "srd.hello.features.payload_tag": 1, "srd.hello.incarnation.sender": 0x1122334455667788,
            "srd.hello.incarnation.receiver": 0x99, "srd.hello.gid.sender": "fe80::a",
            "srd.hello.gid.receiver": "fe80::b", "srd.tag": TAG.hex(":"),
        },
    ),
    "send": (
        data(SEND, payload=b"\x01\x02\x03", psn=4_000_000_000, txn=7, path=63, epoch=1, flags=PAYLOAD_TAG),
        "DATA SEND psn=4000000000 txn=7 path=63 3 bytes",
        {
            "srd.type": DATA, "srd.length": 47, "srd.context": 77, "srd.psn": 4_000_000_000, "srd.txn": 7,
            "srd.path": 63, "srd.operation": SEND, "srd.epoch": 1, "srd.flags.payload_tag": 1, "srd.flags.ack_now": 0,
            "srd.qp.source": 11, "srd.qp.destination": 22, "srd.qkey": 0x11223344, "srd.tag": TAG.hex(":"),
            "srd.payload": "01:02:03", "srd.payload.length": 3,
        },
    ),
    "send with immediate data": (
        data(SEND_IMMEDIATE, payload=b"x" * 64, immediate=0xDEADBEEF, psn=1, txn=2),
        "DATA SEND_IMMEDIATE psn=1 txn=2 path=0 64 bytes",
        {"srd.operation": SEND_IMMEDIATE, "srd.immediate": 0xDEADBEEF, "srd.payload.length": 64},
    ),
    "void": (
        data(VOID, psn=1, txn=2),
        "DATA VOID psn=1 txn=2 path=0 0 bytes",
        {"srd.operation": VOID, "srd.length": 44, "srd.tag": TAG.hex(":"), "srd.payload": []},
    ),
    "write": (
        data(WRITE, segment(2, 16), b"y" * 10, psn=1, txn=2),
        "DATA WRITE psn=1 txn=2 path=0 id=5 segment=2/16 10 bytes",
        {
            "srd.operation": WRITE, "srd.length": 78, "srd.rdma.id": 5, "srd.rdma.key": 0xCAFE,
            "srd.rdma.address": 0x1_0000_2000, "srd.rdma.segment": 2, "srd.rdma.segments": 16,
            "srd.tag": TAG.hex(":"), "srd.payload": (b"y" * 10).hex(":"),
        },
    ),
    "write with immediate data": (
        data(WRITE_IMMEDIATE, segment(0, 1), immediate=8, psn=1, txn=2),
        "DATA WRITE_IMMEDIATE psn=1 txn=2 path=0 id=5 segment=0/1 0 bytes",
        {"srd.operation": WRITE_IMMEDIATE, "srd.immediate": 8, "srd.rdma.segment": 0, "srd.rdma.segments": 1},
    ),
    "read request": (
        data(READ_REQUEST, request(1 << 30), psn=1, txn=2),
        "DATA READ_REQUEST psn=1 txn=2 path=0 id=6 length=1073741824 0 bytes",
        {
            "srd.operation": READ_REQUEST, "srd.length": 68, "srd.rdma.id": 6, "srd.rdma.key": 0xBEEF,
            "srd.rdma.address": 0xFFFF_8000_0000_0000, "srd.rdma.length": 1 << 30, "srd.tag": TAG.hex(":"),
        },
    ),
    "read response": (
        data(READ_RESPONSE, response(4096, 4100), b"abcd", psn=1, txn=2),
        "DATA READ_RESPONSE psn=1 txn=2 path=0 id=6 offset=4096/4100 4 bytes",
        {
            "srd.operation": READ_RESPONSE, "srd.length": 60, "srd.rdma.id": 6, "srd.rdma.offset": 4096,
            "srd.rdma.total": 4100, "srd.tag": TAG.hex(":"), "srd.payload": b"abcd".hex(":"),
        },
    ),
    "failed read": (
        data(READ_RESPONSE, response(FAILED_READ, 7), psn=1, txn=2),
        "DATA READ_RESPONSE psn=1 txn=2 path=0 id=6 failed: not permitted by the region 0 bytes",
        {"srd.rdma.offset": FAILED_READ, "srd.rdma.failure": 7, "srd.rdma.total": []},
    ),
    "bare ack": (
        ack(9, path=4),
        "ACK next=9 path=4",
        {"srd.type": ACK, "srd.length": 36, "srd.ack.next": 9, "srd.path": 4, "srd.tag": TAG.hex(":")},
    ),
    "ack with all": (
        ack(
            100, [101, 103, 104, 105, 164, 165, 228], [(3, 100, 55, 2, 40), (4, 1, 56, 0, 65535)], [(102, 2)], path=1,
        ),
        "ACK next=100 +7 refusals=1 path=1",
        {
            "srd.ack.next": 100, "srd.ack.words": 2, "srd.ack.echoes": 2, "srd.ack.refusals": 1,
            "srd.ack.beyond": 7, "srd.ack.range": ["101", "103-105", "164-165", "228"],
            "srd.ack.range.first": [101, 103, 164, 228], "srd.ack.range.last": [101, 105, 165, 228],
            "srd.ack.bitmap": "80:00:00:00:00:00:00:1d:80:00:00:00:00:00:00:01",
            "srd.echo.path": [3, 4], "srd.echo.delay": [100, 1], "srd.echo.delay_ns": [6400, 64],
            "srd.echo.txn": [55, 56], "srd.echo.ce": [2, 0], "srd.echo.packets": [40, 65535],
            "srd.refusal.psn": 102, "srd.refusal.reason": 2, "srd.tag": TAG.hex(":"),
        },
    ),
    "ack over the wrap": (
        ack(2**32 - 3, [2**32 - 1, 0, 1]),
        "ACK next=4294967293 +3 path=0",
        {"srd.ack.range": "4294967295-1", "srd.ack.range.first": 2**32 - 1, "srd.ack.range.last": 1},
    ),
}


@pytest.fixture(scope="module")
def decoded(tshark):
    """The fields of every packet of EACH and of WRONG, by name."""
    names = [*EACH, *WRONG]
    return dict(zip(names, tshark.fields([datagram((EACH | WRONG)[name][0]) for name in names]), strict=True))


@pytest.mark.parametrize("name", EACH)
def test_each_kind_is_decoded(decoded, name):
    _, _, expected = EACH[name]
    fields = decoded[name]
    assert has(fields, expected)
    assert expert(fields) <= {"srd.refused"}


def test_info_column(tshark):
    lines = tshark.info([datagram(payload) for payload, _, _ in EACH.values()])
    assert [line.split(maxsplit=1) for line in lines] == [["SRD", info] for _, info, _ in EACH.values()]


def test_ipv6(tshark):
    assert has(tshark.one(data(SEND, psn=3), v6=True), {"srd.psn": 3})


def test_the_largest_ack(tshark):
    arrived = range(1, 128 * 64 + 1)
    whole = ack(0, arrived, [(path, 0, 0, 0, 0) for path in range(64)], [(9000 + i, 1) for i in range(64)])
    fields = tshark.one(whole)
    assert has(fields, {"srd.ack.beyond": 8192, "srd.ack.range": "1-8192", "srd.echo.path": list(range(64))})
    assert expert(fields) == {"srd.refused"}


def test_every_field_has_a_filter_and_is_decoded(tshark, decoded):
    """No field of the dissector is there only in name. (`srd.cut` comes from captures that cut packets: below.)"""
    known = {
        line.split("\t")[2]
        for line in tshark.run("-G", "fields").splitlines()
        if line.startswith("F\t") and line.split("\t")[2].startswith("srd.")
    }
    again = tshark.fields([datagram(data(SEND, psn=1, flags=flags)) for flags in (0, RETRANSMISSION)])
    seen = {"srd.cut"}.union(*decoded.values(), *again)
    assert len(known) > 60
    assert known - seen == set()


def test_filters(tshark):
    datagrams = [datagram(payload) for payload, _, _ in EACH.values()]
    datagrams.append(datagram(data(SEND, source=500, psn=8, flags=RETRANSMISSION)))

    def count(filter_text):
        return len(tshark.read(datagrams, "-Y", filter_text).splitlines())

    assert count("srd") == len(datagrams)
    assert count("srd.qp.source == 500 && srd.flags.retransmission == 1") == 1
    assert count("srd.ack.range.first <= 104 && srd.ack.range.last >= 104") == 1
    assert count("srd.refusal.reason == 2") == 1
    assert count("srd.hello.gid.sender == fe80::a") == 1
    assert count("srd.rdma.address == 0x100002000") == 2


def test_reasons_and_operations_have_names(tshark):
    text = tshark.read([datagram(ack(0, refusals=[(5, reason) for reason in range(1, REASONS + 1)]))], "-V")
    for reason in (
        "receiver not ready (1)", "bad queue pair (2)", "bad queue key (3)", "message too long for the buffer (4)",
        "bad remote key (5)", "remote address outside of its region (6)", "not permitted by the region (7)",
        "malformed (8)", "too many operations (9)", "dropped (10)",
    ):
        assert f"Reason: {reason}" in text
    assert "(not verified)" in text
    assert "Operation: READ_REQUEST (6)" in tshark.read([datagram(data(READ_REQUEST, request(1)))], "-V")


def test_retransmissions_are_flagged(tshark):
    first, other = data(SEND, psn=5, txn=1), data(SEND, psn=5, txn=2, context=78)
    again = data(SEND, psn=5, txn=3, flags=RETRANSMISSION)
    unseen = data(SEND, psn=6, txn=4, flags=RETRANSMISSION)
    datagrams = [datagram(one) for one in (first, other, again, again, unseen)]
    plain, elsewhere, second, third, lone = tshark.fields(datagrams)
    assert expert(plain) == expert(elsewhere) == set()
    assert all(expert(one) == {"srd.retransmitted"} for one in (second, third, lone))
    assert [one.get("srd.retransmission.of") for one in (second, third, lone)] == [["1"], ["3"], None]
    assert "[retransmission]" in tshark.info(datagrams)[2]


# ---- what is wrong

# Name to packet and the expert information that it gets.
WRONG = {
    "too short for a base header": (data(SEND)[:19], "srd.bad.short"),
    "one byte": (b"\x12", "srd.bad.short"),
    "shorter than its header": (data(WRITE, segment(0, 1))[:60], "srd.bad.short"),
    "an ack without its counts": (ack(1)[:22], "srd.bad.short"),
    "an ack without its bitmap": (ack(1, counts=(128, 64, 64)), "srd.bad.short"),
    "a length too great": (data(SEND, length=45), "srd.bad.length"),
    "a length too small": (data(SEND, payload=b"ab", length=44), "srd.bad.length"),
    "an unknown type": (packet(4, b"", operation=0), "srd.bad.type"),
    "an unknown operation": (data(8), "srd.bad.operation"),
    "operation 0": (data(0), "srd.bad.operation"),
    "an unknown flag": (data(SEND, flags=0x80), "srd.bad.flags"),
    "a void with payload": (data(VOID, payload=b"x"), "srd.bad.payload"),
    "a request with payload": (data(READ_REQUEST, request(1), b"x"), "srd.bad.payload"),
    "a segment at the count": (data(WRITE, segment(3, 3), b"x"), "srd.bad.segment"),
    "no segments": (data(WRITE_IMMEDIATE, segment(0, 0)), "srd.bad.segment"),
    "a response beyond its total": (data(READ_RESPONSE, response(4, 5), b"xy"), "srd.bad.beyond"),
    "a failed read for no reason": (data(READ_RESPONSE, response(FAILED_READ, 0)), "srd.bad.reason"),
    "a failed read with payload": (data(READ_RESPONSE, response(FAILED_READ, 7), b"x"), "srd.bad.payload"),
    "an unknown refusal": (ack(1, refusals=[(2, REASONS + 1)]), "srd.bad.reason"),
    "too many words": (ack(1, [1 + 129 * 64]), "srd.bad.count"),
    "too many echoes": (ack(1, echoes=[(1, 0, 0, 0, 0)] * 65), "srd.bad.count"),
    "too many refusals": (ack(1, refusals=[(2, 1)] * 65), "srd.bad.count"),
    "an ack with bytes behind": (ack(1)[:2] + b"\x00\x25" + ack(1)[4:] + b"x", "srd.bad.trailing"),
    "a hello without incarnation": (hello(sender=0), "srd.bad.incarnation"),
    "a hello with tiny datagrams": (hello(datagram=255), "srd.bad.datagram"),
    "a hello with no version": (hello(lowest=3, highest=2), "srd.bad.versions"),
    "a hello of another version": (hello(version=2, lowest=2, highest=2), "srd.doubt.version"),
    "data of another version": (data(SEND, version=0), "srd.doubt.version"),
    "immediate data where none belongs": (data(SEND, immediate=1), "srd.doubt.zero"),
    "an ack with a TXN": (ack(1, txn=1), "srd.doubt.zero"),
    "an unknown feature": (hello(features=0x8000), "srd.doubt.zero"),
    "a path too many": (data(SEND, path=64), "srd.doubt.path"),
    "a read of more than 1 GiB": (data(READ_REQUEST, request((1 << 30) + 1)), "srd.doubt.rdma_length"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(decoded, name):
    _, wanted = WRONG[name]
    assert wanted in expert(decoded[name])


def test_a_hello_of_another_version_shows_what_never_changes(tshark):
    fields = tshark.one(hello(version=2, lowest=2, highest=5, sender=0) + b"more")
    assert has(fields, {"srd.version": 2, "srd.hello.version.highest": 5, "srd.tag": TAG.hex(":")})
    assert "srd.hello.incarnation.sender" not in fields


def test_every_prefix_of_every_packet_is_survived(tshark):
    prefixes = [payload[:size] for payload, _, _ in EACH.values() for size in range(1, len(payload))]
    decoded = tshark.fields([datagram(one) for one in prefixes])
    assert len(decoded) == len(prefixes) > 500
    for prefix, fields in zip(prefixes, decoded):
        assert expert(fields) & {"srd.bad.short", "srd.bad.length"}, prefix.hex()


def test_changed_packets_are_survived(tshark):
    """No bytes make an error of the dissector (`Tshark.run` looks for one)."""
    chance = random.Random(0x5D)
    whole = [payload for payload, _, _ in EACH.values()]
    changed = []
    for _ in range(3000):
        bytes_now = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 6)):
            value = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
            bytes_now[chance.randrange(min(len(bytes_now), 90))] = value
        size = chance.choice([len(bytes_now), chance.randint(1, len(bytes_now))])
        changed.append(bytes(bytes_now[:size]))
    decoded = tshark.fields([datagram(one) for one in changed])
    assert len(decoded) == len(changed) and None not in decoded


def test_a_capture_that_cuts_packets_is_no_fault_of_theirs(tshark):
    """Every snap length over IP and UDP headers: what was cut off is not called malformed."""
    whole = [datagram(payload) for payload, _, _ in EACH.values()]
    for snap in [29, 40, 47, 48, 51, 60, 72, 80, 96, 112, 119]:
        for fields, packet_bytes in zip(tshark.fields(whole, snap=snap), whole, strict=True):
            assert not any(name.startswith("srd.bad.") for name in expert(fields)), (snap, packet_bytes.hex())
    cut = tshark.fields(whole, snap=60)
    assert all("srd.cut" in expert(fields) for fields in cut)
    with_header = tshark.fields([datagram(data(SEND, payload=b"z" * 100))], snap=28 + 44 + 10)[0]
    assert has(with_header, {"srd.payload.length": 100, "srd.payload": (b"z" * 10).hex(":")})


# ---- where packets are looked for


def test_other_ports_by_the_form_of_the_packet(tshark):
    others = [
        b"\x00" * 60,
        data(SEND, version=2),
        data(SEND, length=45),
        data(8),
        data(SEND, flags=0x10),
        packet(4, b""),
        data(WRITE, segment(0, 1), length=60)[:60],
        ack(1, counts=(1, 0, 0)),
    ]
    ours = [payload for payload, _, _ in EACH.values()]
    # A source port for each: Wireshark remembers what a pair of ports was.
    every = [datagram(one, source=50000 + n, destination=5999) for n, one in enumerate(ours + others)]
    assert [one is not None for one in tshark.fields(every)] == [True] * len(ours) + [False] * len(others)


def test_the_port_is_a_preference(tshark):
    odd = data(SEND, version=2)
    assert tshark.one(odd) is not None
    assert tshark.one(odd, destination=7001) is None
    assert tshark.one(odd, "-o", "srd.ports:7000-7001", destination=7001) is not None
    assert tshark.one(odd, "-o", "srd.ports:7000-7001") is None


# ---- what the engine sends


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A capture that the engine made: crates/srd/examples/capture.rs, two ends in virtual time."""
    if not shutil.which("cargo"):
        pytest.skip("cargo, which builds the example, is not here")
    file = tmp_path_factory.mktemp("srd") / "engine.pcap"
    subprocess.run(
        ["cargo", "run", "-q", "--locked", "-p", "trinic-srd", "--example", "capture", "--", str(file)],
        cwd=ROOT, check=True, timeout=600, stdout=subprocess.DEVNULL,
    )
    return file.read_bytes()


CHECKSUMS = ("-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")


def test_what_the_engine_sends_is_decoded(tshark, engine):
    layers = json.loads(
        tshark.run("-n", "-r", "-", "-T", "json", "--no-duplicate-keys", *CHECKSUMS, file=engine)
    )
    packets = [flat(one["_source"]["layers"].get("srd")) for one in layers]
    assert len(packets) > 30 and all(packets), "every frame is SRD"
    # What is not news about the network contradicts the specification.
    doubts = [(number, expert(fields) - {"srd.retransmitted", "srd.refused"}) for number, fields in enumerate(packets, 1)]
    assert [doubt for doubt in doubts if doubt[1]] == []
    wrong = tshark.run(
        "-n", "-r", "-", *CHECKSUMS, "-Y", '_ws.expert.severity == "Error" || udp.checksum.status == 0', file=engine
    )
    assert wrong == "", "checksums and lengths are right"

    def number(fields, name):
        return int(fields[name][0], 0)

    kinds = [number(fields, "srd.type") for fields in packets]
    assert kinds[:3] == [HELLO] * 3
    sent = [fields for fields, kind in zip(packets, kinds) if kind == DATA]
    operations = {number(fields, "srd.operation") for fields in sent}
    assert operations == {SEND, SEND_IMMEDIATE, VOID, WRITE_IMMEDIATE, READ_REQUEST, READ_RESPONSE}
    assert len({number(fields, "srd.path") for fields in sent}) > 8, "many paths"


def test_what_the_engine_sends_again_is_flagged(tshark, engine):
    def info(condition):
        columns = ("-o", 'gui.column.format:"Info","%i"')
        return tshark.run("-n", "-r", "-", "-Y", condition, *columns, file=engine).splitlines()

    again = info("srd.flags.retransmission == 1")
    assert len(again) == 2, again
    assert "SEND_IMMEDIATE" in again[0] and "[retransmission]" in again[0], "the packet that was lost"
    assert "VOID" in again[1], "what fills the place of the one that was refused"
    before = tshark.run(
        "-n", "-r", "-", "-Y", "srd.retransmission.of", "-T", "fields", "-e", "srd.psn", "-e", "srd.txn", file=engine
    ).splitlines()
    assert len(before) == 2, "each points to the frame before it"
    refusals = info("srd.refusal")
    assert len(refusals) == 1 and "refusals=1" in refusals[0]
    reason = tshark.run("-n", "-r", "-", "-Y", "srd.refusal", "-V", file=engine)
    assert "bad queue pair" in reason.lower()
