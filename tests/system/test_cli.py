"""The command line and the life of a card: what it prints, what it refuses, what it leaves behind."""

import json
import os
import pathlib
import shutil
import stat
import subprocess

import pytest
from conftest import PING, Card, Lab, background, eni, eventually, rule

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def lab(card, ec2):
    built = Lab(card, ec2, "10.90.0.0/16")
    built.net = built.subnet("10.90.1.0/24")
    built.open = built.group("open", PING, rule("tcp", 0, 65535))
    built.one = built.instance(built.net, [built.open], "10.90.1.10")
    return built


def root_with(*tools):
    if os.geteuid() != 0:
        pytest.skip("namespaces of one's own need root here")
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


# ---- exec


def test_exec_passes_streams_and_status(card, lab):
    one = lab.one["InstanceId"]
    done = card.run("exec", one, "--", "sh", "-c", "cat; echo err >&2; exit 42", check=False, input="typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (42, "typed\n", "err\n")
    assert card.exec(one, "no-such-command").returncode == 127
    assert card.exec(one, "sh", "-c", "kill -9 $$").returncode == 137
    big = card.run("exec", one, "--", "head", "-c", "3000000", "/dev/zero")
    assert len(big.stdout) == 3_000_000
    done = card.exec("i-0123456789abcdef0", "true")
    assert done.returncode == 125 and "i-0123456789abcdef0" in done.stderr


def test_a_killed_exec_leaves_no_command_behind(card, lab):
    one = lab.one["InstanceId"]
    with background(card, one, "sh", "-c", "echo $$; exec sleep 987654") as process:
        pid = process.stdout.readline().strip()
        assert card.exec(one, "kill", "-0", pid).returncode == 0
    eventually(lambda: card.exec(one, "kill", "-0", pid).returncode != 0, what="the command's end")


# ---- attach


def attached(card, ec2, lab, *place):
    interface = ec2.create_network_interface(SubnetId=lab.net, Groups=[lab.open])["NetworkInterface"]
    made = card.json("attach", interface["NetworkInterfaceId"], *place)
    shown = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])
    attachment = shown["NetworkInterfaces"][0]["Attachment"]
    assert attachment["Status"] == "attached" and attachment["InstanceId"] == made["instance"]
    return interface, made["instance"]


def detach_all(card, ec2, interface, instance):
    ec2.terminate_instances(InstanceIds=[instance])
    eventually(
        lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])[
            "NetworkInterfaces"
        ][0]["Status"]
        == "available",
        what="interface free again",
    )
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])


def test_attach_to_a_namespace_by_name(card, ec2, lab):
    root_with("ip")
    name = f"trinic-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        interface, instance = attached(card, ec2, lab, "--netns", name)
        inside = ["ip", "netns", "exec", name]
        done = subprocess.run([*inside, "ping", "-n", "-c1", "-W2", "10.90.1.10"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        shown = subprocess.run([*inside, "ip", "link", "show", "eth0"], capture_output=True, text=True, check=True)
        assert interface["MacAddress"] in shown.stdout
        assert card.ping(lab.one["InstanceId"], interface["PrivateIpAddress"])
        detach_all(card, ec2, interface, instance)
        shown = subprocess.run([*inside, "ip", "link", "show", "eth0"], capture_output=True, text=True, check=False)
        assert shown.returncode != 0, "eth0 is still there"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_attach_to_the_namespace_of_a_process(card, ec2, lab):
    root_with("unshare", "nsenter")
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo up; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "up\n"
            interface, instance = attached(card, ec2, lab, "--pid", str(process.pid))
            done = subprocess.run(
                ["nsenter", "-t", str(process.pid), "-n", "ping", "-n", "-c1", "-W2", "10.90.1.10"],
                capture_output=True, text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            detach_all(card, ec2, interface, instance)
        finally:
            process.stdin.close()


def test_attach_refuses_what_cannot_be(card, lab):
    done = card.run("attach", eni(lab.one), "--pid", str(os.getpid()), check=False)
    assert done.returncode == 1 and lab.one["InstanceId"] in done.stderr
    done = card.run("attach", "eni-0123456789abcdef0", "--netns", "no-such-namespace", check=False)
    assert done.returncode == 1 and "no-such-namespace" in done.stderr
    done = card.run("attach", "eni-0123456789abcdef0", "--pid", str(os.getpid()), check=False)
    assert done.returncode == 1 and "eni-0123456789abcdef0" in done.stderr


# ---- what is printed


def test_every_command_prints_text_and_json(card, lab):
    one, interface = lab.one["InstanceId"], eni(lab.one)
    commands = [
        ("status",), ("ls",), ("stats",), ("stats", interface), ("env",), ("console", one), ("card",), ("card", interface),
        ("trace", interface, "--to", "10.90.1.10", "--proto", "icmp"),
        ("probe", one, "ping", "10.90.1.10", "1", "10"),
    ]
    for command in commands:
        card.json(*command)
        text = card.run(*command).stdout
        assert text or command[0] == "console", command
    assert one in card.run("ls").stdout and interface in card.run("ls").stdout
    for shell in ("bash", "zsh", "fish"):
        assert "trinic" in card.run("completion", shell).stdout
    for command in ("up", "down", "ls", "exec", "attach", "stats", "trace", "env", "console", "probe", "card"):
        assert "Example" in card.run(command, "--help").stdout, command


def test_errors_are_json_when_json_is_asked_for(card):
    done = card.run("stats", "eni-0123456789abcdef0", "--output", "json", check=False)
    assert done.returncode == 1
    assert "eni-0123456789abcdef0" in json.dumps(json.loads(done.stderr or done.stdout))


def test_env_points_the_shell_at_the_card(card):
    done = subprocess.run(
        ["sh", "-c", 'eval "$("$0" env)"; echo "$AWS_ENDPOINT_URL"', card.program],
        env={**os.environ, "TRINIC_STATE": str(card.state)}, capture_output=True, text=True, check=True,
    )
    assert done.stdout.strip().rstrip("/") == f"http://127.0.0.1:{card.port}"


# ---- the life of a card


def traces(state, names):
    """What a card with this state folder, and instances of these names, could leave on the machine."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in line:
            found.append(f"process {entry.name}: {line}")
    mounts = pathlib.Path("/proc/self/mountinfo").read_text()
    found += [line for line in mounts.splitlines() if str(state) in line or any(n in line for n in names)]
    run = pathlib.Path("/run/netns")
    found += [str(p) for p in run.iterdir() if p.name in names] if run.is_dir() else []
    return found


def test_down_leaves_nothing(program, tmp_path):
    own = Card(program, tmp_path / "state", ["--ephemeral"]).start()
    try:
        lab = Lab(own, own.client(), "10.91.0.0/16")
        net = lab.subnet("10.91.1.0/24")
        made = [lab.instance(net, [lab.group(f"g{n}", PING)]) for n in range(3)]
        ids = [i["InstanceId"] for i in made]
        own.exec(ids[0], "sh", "-c", "setsid sleep 100000 >/dev/null 2>&1 &")
        inits = {own.exec(i, "readlink", "/proc/1/ns/pid", check=True).stdout.strip() for i in ids}
        assert traces(own.state, ids), "the search finds nothing even while it runs"
    finally:
        own.stop()
    assert own.process.returncode == 0
    assert traces(own.state, ids) == []
    left = set()
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            left.add(os.readlink(entry / "ns/pid"))
        except OSError:
            continue
    assert not inits & left
    done = own.run("ls", check=False)
    assert done.returncode == 3 and "trinic up" in done.stderr


def test_the_state_survives_down_and_up(durable_card):
    lab = Lab(durable_card, durable_card.client(), "10.92.0.0/16")
    net = lab.subnet("10.92.1.0/24")
    group = lab.group("open", PING)
    one, two = lab.instance(net, [group]), lab.instance(net, [group])
    durable_card.run("down")
    durable_card.process.wait(15)
    durable_card.start()
    client = durable_card.client()
    lab = Lab.__new__(Lab)
    lab.card, lab.ec2 = durable_card, client
    for instance in (one, two):
        lab.running(instance["InstanceId"])
    assert lab.describe(two["InstanceId"])["PrivateIpAddress"] == two["PrivateIpAddress"]
    eventually(lambda: durable_card.ping(one["InstanceId"], two["PrivateIpAddress"]), what="ping after down and up")


def test_two_cards_do_not_meet(card, lab, program, tmp_path):
    other = Card(program, tmp_path / "state", ["--ephemeral"]).start()
    try:
        twin = Lab(other, other.client(), "10.90.0.0/16")
        net = twin.subnet("10.90.1.0/24")
        group = twin.group("open", PING)
        here = twin.instance(net, [group], "10.90.1.10")
        there = twin.instance(net, [group], "10.90.1.11")
        assert other.ping(there["InstanceId"], "10.90.1.10")
        assert not card.ping(lab.one["InstanceId"], "10.90.1.11")
        listed = {i["id"] for i in card.json("ls")["instances"]}
        assert here["InstanceId"] not in listed
    finally:
        other.stop()
    assert card.ping(lab.one["InstanceId"], "10.90.1.10")


def test_a_second_start_on_one_state_refuses(card):
    second = card.run("up", "--listen", "127.0.0.1:0", check=False)
    assert second.returncode != 0
    assert str(card.state) in second.stderr and "down" in second.stderr, second.stderr
    assert card.json("status")["card"]


def test_a_taken_port_is_named(card, program, tmp_path):
    done = subprocess.run(
        [program, "up", "--state", str(tmp_path / "s"), "--listen", f"127.0.0.1:{card.port}"],
        capture_output=True, text=True, timeout=20,
    )
    assert done.returncode == 1 and str(card.port) in done.stderr, done.stderr
    done = subprocess.run(
        [program, "up", "--state", str(tmp_path / "s"), "--listen", "0.0.0.0:0"],
        capture_output=True, text=True, timeout=20,
    )
    assert done.returncode != 0 and "loopback" in done.stderr, done.stderr


def test_nobody_else_can_look_into_the_state(card):
    assert stat.S_IMODE(card.state.stat().st_mode) == 0o700
    for path in card.state.rglob("*"):
        if not path.is_symlink():
            assert not path.stat().st_mode & 0o002 or stat.S_ISSOCK(path.stat().st_mode), path
