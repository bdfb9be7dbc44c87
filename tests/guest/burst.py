"""A program for guests that sends one datagram again and again, faster than any tool of their userland can."""

import socket
import struct

# x86-64 Linux: socket, connect, then a write for each datagram, exit. The data lie behind it.
CODE = bytes.fromhex(
    "bf02000000 be02000000 31d2 b829000000 0f05"  # socket(AF_INET, SOCK_DGRAM, 0)
    "4189c0 89c7 488d353a000000 ba10000000 b82a000000 0f05"  # connect(it, the address, 16)
    "8b1d24000000"  # how many
    "4489c7 488d3532000000 8b1528000000 b801000000 0f05"  # write(it, the payload, its length)
    "ffcb 75e5"  # until all are sent
    "31ff b83c000000 0f05"  # exit(0)
)
HEADERS = 64 + 56
AT = 0x400000


def burst(address: str, port: int, payload: bytes, count: int) -> bytes:
    """An ELF file that sends `count` datagrams to an IPv4 address from one port, and ends.

    Source of the layouts: elf(5), ip(7).
    """
    data = struct.pack("<I", count)
    data += struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(address) + bytes(8)
    data += struct.pack("<I", len(payload)) + payload
    length = HEADERS + len(CODE) + len(data)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, AT + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    # One segment, read and execute.
    program = struct.pack("<IIQQQQQQ", 1, 5, 0, AT, AT, length, length, 0x1000)
    return ident + header + program + CODE + data
