"""The README's session with the AWS CLI, line by line as it is printed there."""

import os
import pathlib
import re
import subprocess

import pytest
from conftest import ROOT, binary

# What a reader takes from `trinic ls` before he types a line with an ellipsis in it.
LOOK = r"""
while trinic ls | grep -q pending; do sleep 0.05; done
eval "$(trinic ls --output json | python3 -c '
import json, sys
listing = json.load(sys.stdin)
for number, interface in enumerate(i for i in listing["interfaces"] if i["attachment"]):
    print(f"i{number}=" + interface["attachment"]["instance"])
    print(f"eni{number}=" + interface["id"])
    print(f"ip{number}=" + interface["ipv4"][0][0])
')"
"""


def session() -> list[str]:
    """The indented lines of the section, without comments."""
    text = (ROOT / "README.md").read_text().split("## A session with the AWS CLI")[1].split("\n## ")[0]
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def test_the_session_of_the_readme(tmp_path, namespaces):
    if not (ROOT / ".venv/bin/aws").exists():
        pytest.skip("the AWS CLI is not in .venv")
    lines = session()
    assert lines[0].startswith("cargo install") and any("run-instances" in line for line in lines)
    script = [f'trinic() {{ "{binary()}" "$@"; }}']
    for line in lines[1:]:
        # A port of this test's own; the reader's is 4566.
        typed = line.replace("trinic up --detach", "trinic up --detach --listen 127.0.0.1:0")
        typed = typed.replace("eni-…", "$eni1" if "stats" in typed else "$eni0").replace("i-…", "$i0")
        typed = typed.replace("10.0.1.x", "$ip1")
        assert "…" not in typed, typed
        script += [f"echo '@@ {line}'", f"{typed}; echo \"status $?\""]
        if "run-instances" in line:
            script.append(LOOK)
    environment = {
        **os.environ,
        "TRINIC_STATE": str(tmp_path / "state"),
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    subprocess.run([binary(), "--state", str(tmp_path / "state"), "down"], capture_output=True, timeout=60)
    said = [part.split("\n", 1) for part in done.stdout.split("@@ ")[1:]]
    outputs = {}
    for line, output in said:
        outputs.setdefault(line, []).append(output)
    pings = next(outputs[line] for line in outputs if "ping" in line)
    assert "1 received" not in pings[0] and "status 1" in pings[0], done.stdout + done.stderr
    assert "1 received" in pings[1] and "status 0" in pings[1], done.stdout + done.stderr
    stats = next(outputs[line][0] for line in outputs if "stats" in line)
    assert re.search(r"drops\.security-group-inbound +[1-9]", stats), stats
    trace = next(outputs[line][0] for line in outputs if "trace" in line)
    assert "security-group-in" in trace, trace
    others = [output for line in outputs for output in outputs[line] if "ping" not in line]
    assert all(output.rstrip().endswith("status 0") for output in others), done.stdout + done.stderr
    assert not pathlib.Path(tmp_path / "state" / "endpoint").exists(), "the card is still up"
