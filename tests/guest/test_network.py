"""The way a guest gets its address, against DHCP servers that are none of ours."""

import contextlib
import socket

import pytest

from harness import KERNELS, Guest, VirtioNet

UDHCPD = """
interface eth0
start 10.9.0.20
end 10.9.0.29
opt subnet 255.255.255.0
opt router 10.9.0.1
opt dns 10.9.0.2
opt domain example.internal
opt mtu 9001
opt staticroutes 0.0.0.0/0 10.9.0.1, 192.0.2.0/24 10.9.0.3
opt lease 3600
"""


@pytest.mark.parametrize("kernel", KERNELS)
def test_dhcp_configures_an_interface(kernel):
    """QEMU's own user network: its server gives 10.0.2.15, a router and a resolver."""
    with Guest(kernel, [VirtioNet("user")], modules=["virtio_net"], dhcp=["virtio_net"], name="dhcp") as guest:
        assert guest.lease()["ip"] == "10.0.2.15"
        assert "inet 10.0.2.15/24" in guest.check("ip -4 addr show eth0")
        assert "default via 10.0.2.2 dev eth0" in guest.check("ip route")
        assert guest.check("cat /etc/resolv.conf").split() == ["nameserver", "10.0.2.3"]
        guest.check("ping -c 2 -i 0.2 -W 2 10.0.2.2")

        guest.check("ifdown eth0")
        assert "inet 10.0.2.15" not in guest.check("ip -4 addr show eth0")
        guest.check("ifup eth0")
        guest.lease()
        guest.check("ping -c 1 -W 2 10.0.2.2")


def test_an_interface_that_comes_later_is_configured():
    with Guest(modules=["virtio_net"], dhcp=["virtio_net"], name="late") as guest:
        guest.add(VirtioNet())
        assert guest.lease()["ip"] == "10.0.2.15"
        # The driver goes and comes back: so does the address.
        guest.check("rmmod virtio_net")
        guest.eventually("test ! -e /run/dhcp/eth0.lease")
        guest.check("modprobe virtio_net")
        assert guest.lease()["ip"] == "10.0.2.15"


def test_two_guests_with_jumbo_frames():
    """One guest is the DHCP server of the other: MTU, classless routes, domain. Then bulk traffic."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    fds = [end.fileno() for end in ends]
    server, client = (
        Guest(
            kernel,
            [VirtioNet(f"dgram,local.type=fd,local.str={fd}", options={"host_mtu": 9001, "mac": f"02:00:00:00:00:{fd:02x}"})],
            modules=["virtio_net"], dhcp=[name], pass_fds=[fd], name=name,
            files={"etc/udhcpd.conf": UDHCPD.encode(), "var/lib/misc/udhcpd.leases": b""},
        )
        for name, kernel, fd in zip(("udhcpd", "virtio_net"), KERNELS, fds)
    )
    with contextlib.ExitStack() as running:
        for guest in (server, client):
            running.callback(guest.start().stop)
        for end in ends:
            end.close()
        server.wait_ready().check("ip addr add 10.9.0.1/24 dev eth0 && ip link set eth0 mtu 9001 up && udhcpd -S")
        client.wait_ready()
        lease = client.lease()
        assert lease["mtu"] == "9001" and lease["domain"] == "example.internal"
        assert "mtu 9001" in client.check("ip link show eth0")
        routes = client.check("ip route")
        assert "default via 10.9.0.1" in routes and "192.0.2.0/24 via 10.9.0.3" in routes
        client.check("ping -c 2 -i 0.2 -W 2 -M do -s 8000 10.9.0.1")
        server.check("iperf3 -s -D --one-off")
        assert "receiver" in client.eventually("iperf3 -c 10.9.0.1 -n 8M", timeout=60)
