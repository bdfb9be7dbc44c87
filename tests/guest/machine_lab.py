"""Machines that run on a card through the EC2 API: images with Debian's kernel, and what tests and `make bench` do with them."""

import importlib.util
import json
import os
import pathlib
import platform
import stat

import pytest

from harness import CLOCK

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUESTS = ROOT / "target" / "guests"
QEMU = pathlib.Path(os.environ.get("TRINIC_QEMU", GUESTS / "qemu-system-x86_64"))
KERNEL = GUESTS / "kernels" / "trixie"
NEWER_KERNEL = GUESTS / "kernels" / "trixie-backports"
# On a loaded machine without KVM; 5 s on a quiet one.
BOOT_S = 120

spec = importlib.util.spec_from_file_location("system_fixtures", ROOT / "tests" / "system" / "conftest.py")
system = importlib.util.module_from_spec(spec)
spec.loader.exec_module(system)
eventually = system.eventually


def missing() -> str | None:
    if platform.machine() != "x86_64":
        return f"the guests are x86_64, this machine is {platform.machine()}"
    parts = [kernel / part for kernel in (KERNEL, NEWER_KERNEL) for part in ("vmlinuz", "modules.cpio")]
    absent = [path for path in (QEMU, GUESTS / "userland.cpio", *parts) if not path.exists()]
    return f"{absent[0]} is missing (scripts/setup-guests makes it)" if absent else None


def has_taps() -> bool:
    return os.access("/dev/net/tun", os.R_OK | os.W_OK)


INIT = r"""#!/bin/sh
# Brings up every interface that appears, says so on the console, and runs commands from TCP port 7.
export PATH=/usr/sbin:/usr/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
hostname guest; ip link set lo up
for module in ena virtio_net; do modprobe $module; done
echo "guest: up"
while :; do nc -l -p 7 -e /bin/sh; done 2>/dev/null &
seen=
while :; do
  now=
  for path in /sys/class/net/eth*; do
    name=${path##*/}
    [ -e "$path" ] || continue
    now="$now $name"
    case " $seen " in *" $name "*) continue ;; esac
    ip link set $name up
    udhcpc -f -i $name -t 3 -T 1 -A 1 -O mtu -s /lease </dev/null >/dev/null 2>&1 &
  done
  for name in $seen; do
    case " $now " in *" $name "*) ;; *) echo "guest: $name gone" ;; esac
  done
  seen=$now
  usleep 100000
done
"""

LEASE = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin
[ "$1" = bound ] || exit 0
ip link set $interface mtu $mtu
ip addr replace $ip/$mask dev $interface
[ $interface != eth0 ] || ip route replace default via $router dev $interface
echo "guest: $interface has $ip" >/dev/console
"""


def cpio(files: dict) -> bytes:
    """An archive in the kernel's `newc` format. Source: Documentation/driver-api/early-userspace/buffer-format.rst."""
    out = b""
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        path = name.encode() + b"\0"
        fields = (number, stat.S_IFREG | 0o755, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        out += head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
    return out


class Machines(system.Lab):
    """A VPC with a peer in each of two subnets, and images to start machines from; `files` are added to them."""

    def __init__(self, card, ec2, folder, files=None):
        super().__init__(card, ec2)
        self.first, self.second = self.subnet("10.0.1.0/24"), self.subnet("10.0.2.0/24")
        self.all = self.group("all", system.rule("-1", cidr="10.0.0.0/16"))
        self.peer = self.instance(self.first, [self.all], "10.0.1.10")["InstanceId"]
        self.second_peer = self.instance(self.second, [self.all], "10.0.2.10")["InstanceId"]
        self.folder, self.files = folder, files or {}
        linux = self.linux(KERNEL)
        self.images = {
            "ena": self.register("guest-ena", linux, EnaSupport=True),
            "traditional": self.register("guest-traditional", linux),
        }

    def linux(self, kernel: pathlib.Path) -> str:
        """Where an image with that kernel is, for `register`."""
        initrd = self.folder / f"initrd-{kernel.name}"
        parts = [(GUESTS / "userland.cpio").read_bytes(), (kernel / "modules.cpio").read_bytes()]
        initrd.write_bytes(b"".join([*parts, cpio({"init": INIT.encode(), "lease": LEASE.encode(), **self.files})]))
        return f"file:{kernel / 'vmlinuz'}?initrd={initrd}&append=console=ttyS0%20panic=-1%20{CLOCK}"

    def register(self, name, location, **more):
        return self.ec2.register_image(Name=name, Architecture="x86_64", ImageLocation=location, **more)["ImageId"]

    def launch(self, image, kind="c5.large", address=None, **more):
        options = {"PrivateIpAddress": address} if address else {}
        found = self.ec2.run_instances(
            ImageId=self.images[image], InstanceType=kind, MinCount=1, MaxCount=1, SubnetId=self.first,
            SecurityGroupIds=[self.all], **options, **more,
        )
        return found["Instances"][0]["InstanceId"]

    def console(self, instance) -> str:
        return self.card.run("console", instance, check=False).stdout

    def says(self, instance, text, times=1, timeout=BOOT_S):
        def check():
            return self.console(instance).count(text) >= times

        try:
            eventually(check, timeout, 0.05, f"{text!r} on the console of {instance}")
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure}; it said:\n{self.console(instance)[-1500:]}\n{self.card.tail()}")

    def becomes(self, instance, state, timeout=30):
        eventually(lambda: self.describe(instance)["State"]["Name"] == state, timeout, what=f"{instance} {state}")
        return self.describe(instance)

    def shell(self, address, command, timeout=20, silence=5) -> str:
        """Runs a command in a Linux guest; its output and errors, until it ends or says nothing for so many seconds."""
        code = (
            "import socket,sys,time\n"
            "for _ in range(50):\n"
            " try: s=socket.create_connection((sys.argv[1],7),5);break\n"
            " except OSError: time.sleep(.1)\n"
            f"s.settimeout({silence})\n"
            "s.sendall(('exec 2>&1\\n'+sys.argv[2]+'\\nexit\\n').encode())\n"
            "while (d:=s.recv(65536)): sys.stdout.write(d.decode());sys.stdout.flush()\n"
        )
        return self.card.exec(self.peer, "python3", "-c", code, address, command, timeout=timeout).stdout

    def reaches(self, instance, address):
        eventually(lambda: self.card.ping(instance, address), 20, 0.1, f"{instance} reaches {address}")

    def interface(self, address):
        found = self.ec2.create_network_interface(SubnetId=self.second, Groups=[self.all], PrivateIpAddress=address)
        return found["NetworkInterface"]["NetworkInterfaceId"]

    def attach(self, interface, instance, index=1):
        found = self.ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=instance, DeviceIndex=index)
        return found["AttachmentId"]

    def detach(self, attachment, interface, timeout=15):
        self.ec2.detach_network_interface(AttachmentId=attachment)

        def status():
            found = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
            return found["Status"] == "available"

        eventually(status, timeout, what=f"{interface} available")

    def pid(self, instance):
        record = self.card.state / "card" / "instances" / f"{instance}.json"
        return json.loads(record.read_text())["backend"]["machine"]["pid"]
