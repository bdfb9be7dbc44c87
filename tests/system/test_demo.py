"""The demo itself, as root, as an ordinary user, and on the user-space stack."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest


def run(program, *prefix, environment=None):
    done = subprocess.run(
        [*prefix, program, "demo", "--output", "json"],
        capture_output=True, text=True, timeout=90, env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = json.loads(done.stdout)
    wrong = [check for check in report["checks"] if not check["holds"]]
    assert not wrong, wrong
    assert len(report["checks"]) >= 15
    # The two functions are compared wherever an instance has a process that can map queues.
    shown = {check["what"] for check in report["checks"]}
    figures = {figure["what"]: (figure["eni"], figure["ena"]) for figure in report["figures"]}
    if report["backend"] == "namespace":
        assert {"frames through the ENI", "frames through the ENA"} <= shown
        assert set(figures) == {"frames a second", "round trip, median", "round trip, 99 %"}
        assert all(value is not None and value > 0 for pair in figures.values() for value in pair), figures
    else:
        assert not figures
    return report


def test_as_this_user(program):
    run(program)


def test_as_an_ordinary_user(program):
    if os.geteuid() != 0:
        pytest.skip("this user is already an ordinary one")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    # An ordinary user cannot look into root's folders: give him a copy of the program. The folder's name is
    # short because the state's sockets lie below it.
    home = pathlib.Path(tempfile.mkdtemp(prefix="tn", dir="/tmp"))
    os.chmod(home, 0o777)
    shutil.copy(program, home / "trinic")
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    report = run(str(home / "trinic"), *prefix, environment={"HOME": str(home), "TMPDIR": str(home)})
    assert report["backend"] in ("namespace", "user-space")
    shutil.rmtree(home)


def test_on_the_user_space_stack(program):
    report = run(program, environment={"TRINIC_BACKEND": "user-space"})
    assert report["backend"] == "user-space"
