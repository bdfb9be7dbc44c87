"""`trinic up --uplink`: names outside the VPC come from the host's resolver, which here is the test's own."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = "0", "2", "3"


@pytest.fixture(scope="module")
def seen(program, tmp_path_factory, namespaces):
    if os.geteuid() != 0:
        pytest.skip("a resolver of one's own on port 53 needs root here")
    for tool in ("unshare", "ip", "mount"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    lab = pathlib.Path(__file__).with_name("uplink_lab.py")
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, str(lab), program,
         str(tmp_path_factory.mktemp("uplink"))],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_name_of_the_outside_is_resolved_with_uplink_alone(seen):
    assert seen["with"]["known"] == [NO_ERROR, "192.0.2.77"]
    assert seen["with"]["getent"] == ["192.0.2.77"]
    assert seen["without"]["known"][1:] == [] and seen["without"]["known"] != [NO_ERROR]
    assert seen["asked_without"] == []


def test_what_the_resolver_says_is_passed_on(seen):
    assert seen["with"]["unknown"] == [NO_SUCH_NAME]
    assert "unknown.example" in seen["asked_with"]


def test_a_resolver_that_does_not_answer_is_a_server_failure(seen):
    assert seen["with"]["silent"] == [SERVER_FAILURE]
    assert "silent.example" in seen["asked_with"]


def test_names_of_the_vpc_never_leave_it(seen):
    for which in ("with", "without"):
        assert seen[which]["own"] == [NO_ERROR, seen[which]["address"]]
    assert seen["with"]["own_name"] not in seen["asked_with"]
    assert set(seen["asked_with"]) == {"known.example", "unknown.example", "silent.example"}
