"""A host that allows neither namespaces nor taps: the start says so and what would allow them, and the demo runs."""

import json
import os
import shutil
import subprocess

import pytest

# Limits of a user namespace hold for everybody in it, its root included. Source: namespaces(7).
FORBID = "echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces && "


@pytest.fixture(scope="module")
def forbidden(program):
    """Runs a script where no namespace can be made; $0 is the binary."""
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")

    def run(script, state, timeout=90):
        return subprocess.run(
            ["unshare", "--user", "--map-root-user", "sh", "-c", FORBID + script, program],
            capture_output=True, text=True, timeout=timeout, env={**os.environ, "TRINIC_STATE": str(state)},
        )

    if subprocess.run(["unshare", "--user", "--map-root-user", "true"], capture_output=True).returncode != 0:
        pytest.skip("a user namespace, to forbid things in, is not to be had here")
    return run


def test_the_start_says_what_is_missing_and_how_to_allow_it(forbidden, tmp_path):
    state = tmp_path / "s"
    done = forbidden(
        '"$0" up --detach --ephemeral --listen 127.0.0.1:0 && "$0" ls --output json; "$0" down', state
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for wanted in ("user-space stacks", "sysctl -w user.max_user_namespaces", "sysctl -w user.max_net_namespaces"):
        assert wanted in done.stderr, done.stderr
    listed = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
    assert listed["card"]["backend"] == "user-space"
    assert "user.max_user_namespaces" in listed["card"]["backend_reason"]


def test_the_demo_runs_and_says_on_what(forbidden, tmp_path):
    done = forbidden('"$0" demo --output json', tmp_path / "s")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["backend"] == "user-space"
    assert [check for check in report["checks"] if not check["holds"]] == []
    done = forbidden('"$0" demo', tmp_path / "s")
    assert done.returncode == 0 and "user-space" in done.stdout, done.stdout + done.stderr
