"""The README's session with a virtual machine, line by line as it is printed there, after the one with namespaces.

Its image is Debian's kernel and a small userland, where the README has a disk.
"""

import os
import re
import subprocess

import pytest

from machine_lab import BOOT_S, KERNEL, QEMU, ROOT, linux, missing, system

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"no machines: {missing()}")


def lines_of(section: str) -> list[str]:
    """The indented lines of a section of the README, without comments."""
    text = (ROOT / "README.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def test_the_machine_of_the_readme(tmp_path_factory):
    # Sockets of functions lie below the state folder, and their paths are short.
    folder = tmp_path_factory.mktemp("vm")
    if not (ROOT / ".venv/bin/aws").exists():
        pytest.skip("the AWS CLI is not in .venv")
    before, lines = lines_of("A session with the AWS CLI"), lines_of("A stock Linux with an ENA")
    assert any("register-image" in line for line in lines) and any("trinic trace" in line for line in lines)
    # The VPC, subnet and group; not the namespaces that run in them.
    before = [line for line in before[1:] if re.search(r"trinic up|trinic env|=\$\(aws", line)]
    assert len(before) == 5, before
    program = system.binary()
    script = [f'trinic() {{ "{program}" "$@"; }}']
    for line in before + lines:
        typed = line.replace("trinic up --detach", "trinic up --detach --listen 127.0.0.1:0")
        typed = typed.replace("file:/images/disk.qcow2", f"'{linux(folder, KERNEL)}'")
        typed = typed.replace("eni-…", "$eni").replace("i-…", "$instance")
        assert "…" not in typed, typed
        script += [f"echo '@@ {line}'", f"{typed}; echo \"status $?\""]
        if "run-instances" in line:
            script.append(LOOK)
    environment = {
        **os.environ,
        "TRINIC_STATE": str(folder / "s"),
        "TRINIC_QEMU": str(QEMU),
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)], env=environment, capture_output=True, text=True, timeout=BOOT_S + 120
        )
    finally:
        subprocess.run([program, "--state", str(folder / "s"), "down"], capture_output=True, timeout=60)
    said = dict(part.split("\n", 1) for part in done.stdout.split("@@ ")[1:])
    everything = done.stdout + done.stderr
    assert all(output.rstrip().endswith("status 0") for output in said.values()), everything
    assert re.search(r"guest: eth0 has 10\.0\.1\.", said["trinic console i-…"]), everything
    assert re.search(r"eni-\w+ .*01:00\.0.*running", said["trinic card"]), everything
    assert "command 1: get feature device attributes -> success" in said["trinic trace eni-…"], everything


# What a reader sees in `trinic ls` and waits for: the machine's ids, and its address on the console.
LOOK = rf"""
eval "$(trinic ls --output json | python3 -c '
import json, sys
(interface,) = (i for i in json.load(sys.stdin)["interfaces"] if i["attachment"])
print("instance=" + interface["attachment"]["instance"])
print("eni=" + interface["id"])
')"
for _ in $(seq {BOOT_S * 5}); do trinic console $instance 2>/dev/null | grep -q "guest: eth0 has" && break; sleep 0.2; done
"""
