"""The API as clients and strangers meet it: accounts, errors, dry runs, pages, hostile requests."""

import concurrent.futures
import contextlib
import http.client
import socket

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import rule

LIST = "Action=DescribeVpcs&Version=2016-11-15"


def refusal(call, **arguments):
    """The code of the error that a call must give."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"]


def post(card, body=LIST, headers=None, method="POST", path="/"):
    """Status and body of one HTTP request as a stranger sends it."""
    connection = http.client.HTTPConnection("127.0.0.1", card.port, timeout=10)
    sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    connection.request(method, path, body, sent)
    reply = connection.getresponse()
    return reply.status, reply.read().decode()


def signed(card, body=LIST, extra=None):
    """Headers of a request that botocore signed, so that only what is added to them can be wrong."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = {"Content-Type": "application/x-www-form-urlencoded", **(extra or {})}
    request = AWSRequest("POST", f"http://127.0.0.1:{card.port}/", data=body, headers=headers)
    SigV4Auth(Credentials("test", "test"), "ec2", "us-east-1").add_auth(request)
    return dict(request.headers)


# ---- accounts and regions


def test_accounts_and_regions_do_not_see_each_other(card, ec2):
    other = card.client(access_key="111122223333")
    west = card.client(region="us-west-2")
    vpcs = {}
    for name, client in (("own", ec2), ("other", other), ("west", west)):
        found = client.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        assert len(found) == 1 and found[0]["CidrBlock"] == "172.31.0.0/16"
        vpcs[name] = found[0]
        subnets = client.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [found[0]["VpcId"]]}])["Subnets"]
        zones = {s["AvailabilityZone"] for s in subnets}
        assert len(zones) == len(subnets) >= 3
        assert all(s["MapPublicIpOnLaunch"] and s["DefaultForAz"] for s in subnets)
        gateways = client.describe_internet_gateways(
            Filters=[{"Name": "attachment.vpc-id", "Values": [found[0]["VpcId"]]}]
        )["InternetGateways"]
        assert len(gateways) == 1
    assert len({v["VpcId"] for v in vpcs.values()}) == 3
    assert vpcs["other"]["OwnerId"] == "111122223333"
    assert vpcs["own"]["OwnerId"] == "000000000000"
    assert refusal(ec2.describe_vpcs, VpcIds=[vpcs["other"]["VpcId"]]) == "InvalidVpcID.NotFound"
    assert refusal(ec2.describe_vpcs, VpcIds=[vpcs["west"]["VpcId"]]) == "InvalidVpcID.NotFound"
    assert refusal(other.delete_vpc, VpcId=vpcs["own"]["VpcId"]) == "InvalidVpcID.NotFound"
    subnet = other.describe_subnets()["Subnets"][0]["SubnetId"]
    assert refusal(ec2.create_network_interface, SubnetId=subnet) == "InvalidSubnetID.NotFound"


# ---- what clients rely on


def test_a_dry_run_changes_nothing(ec2):
    before = len(ec2.describe_vpcs()["Vpcs"])
    assert refusal(ec2.create_vpc, CidrBlock="10.1.0.0/16", DryRun=True) == "DryRunOperation"
    assert refusal(ec2.describe_instances, DryRun=True) == "DryRunOperation"
    assert len(ec2.describe_vpcs()["Vpcs"]) == before


def test_a_client_token_makes_a_call_once(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.2.1.0/24")["Subnet"]["SubnetId"]
    made = [
        ec2.create_network_interface(SubnetId=subnet, ClientToken="once")["NetworkInterface"]["NetworkInterfaceId"]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    runs = [
        ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=subnet, ClientToken="run-once")
        for _ in range(2)
    ]
    assert runs[0]["Instances"][0]["InstanceId"] == runs[1]["Instances"][0]["InstanceId"]
    assert (
        refusal(ec2.run_instances, ImageId="ami-1", MinCount=2, MaxCount=2, SubnetId=subnet, ClientToken="run-once")
        == "IdempotentParameterMismatch"
    )


def test_errors_carry_the_codes_of_ec2(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.3.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.3.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    interface = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.3.1.10")["NetworkInterface"]
    eni = interface["NetworkInterfaceId"]
    unknown = "0123456789abcdef0"
    cases = [
        ("InvalidVpc.Range", ec2.create_vpc, {"CidrBlock": "10.0.0.0/8"}),
        ("InvalidSubnet.Range", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.9.0.0/24"}),
        ("InvalidSubnet.Conflict", ec2.create_subnet, {"VpcId": vpc, "CidrBlock": "10.3.1.128/25"}),
        ("InvalidVpcID.NotFound", ec2.create_subnet, {"VpcId": f"vpc-{unknown}", "CidrBlock": "10.3.2.0/24"}),
        ("InvalidGroup.Duplicate", ec2.create_security_group, {"GroupName": "g", "Description": "d", "VpcId": vpc}),
        ("InvalidGroup.NotFound", ec2.delete_security_group, {"GroupId": f"sg-{unknown}"}),
        ("InvalidNetworkInterfaceID.NotFound", ec2.delete_network_interface, {"NetworkInterfaceId": f"eni-{unknown}"}),
        ("InvalidInstanceID.NotFound", ec2.terminate_instances, {"InstanceIds": [f"i-{unknown}"]}),
        ("InvalidInstanceID.Malformed", ec2.terminate_instances, {"InstanceIds": ["i-zz"]}),
        ("InvalidAllocationID.NotFound", ec2.release_address, {"AllocationId": f"eipalloc-{unknown}"}),
        ("InvalidIPAddress.InUse", ec2.create_network_interface,
         {"SubnetId": subnet, "PrivateIpAddress": "10.3.1.10"}),
        ("DependencyViolation", ec2.delete_vpc, {"VpcId": vpc}),
        ("DependencyViolation", ec2.delete_subnet, {"SubnetId": subnet}),
        ("CannotDelete", ec2.delete_security_group,
         {"GroupId": ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]},
          {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]["GroupId"]}),
    ]
    for code, call, arguments in cases:
        assert refusal(call, **arguments) == code, (code, arguments)
    permission = [rule("tcp", 22)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=permission)
    assert (
        refusal(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=permission)
        == "InvalidPermission.Duplicate"
    )
    ec2.delete_network_interface(NetworkInterfaceId=eni)


def test_pages_hold_every_result_once(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.4.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.4.1.0/24")["Subnet"]["SubnetId"]
    made = {
        ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(12)
    }
    filters = [{"Name": "subnet-id", "Values": [subnet]}]
    pages = list(
        ec2.get_paginator("describe_network_interfaces").paginate(
            Filters=filters, PaginationConfig={"PageSize": 5}
        )
    )
    assert [len(p["NetworkInterfaces"]) for p in pages] == [5, 5, 2]
    found = [i["NetworkInterfaceId"] for p in pages for i in p["NetworkInterfaces"]]
    assert len(found) == 12 and set(found) == made


def test_the_cli_filters_tags_and_pages(card, ec2):
    vpc = card.aws(
        "ec2", "create-vpc", "--cidr-block", "10.5.0.0/16",
        "--tag-specifications", "ResourceType=vpc,Tags=[{Key=Name,Value=five},{Key=team,Value=a b}]",
    )["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.5.1.0/24")["Subnet"]["SubnetId"]
    for _ in range(6):
        ec2.create_network_interface(SubnetId=subnet, Description="paged")
    named = card.aws("ec2", "describe-vpcs", "--filters", "Name=tag:Name,Values=fi*", "--query", "Vpcs[].VpcId")
    assert named == [vpc]
    asked = ("ec2", "describe-network-interfaces", "--filters", f"Name=vpc-id,Values={vpc}")
    shown = card.aws(*asked, "Name=description,Values=paged", "--page-size", "5")["NetworkInterfaces"]
    assert len({i["NetworkInterfaceId"] for i in shown}) == 6
    cut = card.aws(*asked, "--max-items", "2")
    assert len(cut["NetworkInterfaces"]) == 2 and "NextToken" in cut
    done = card.aws("ec2", "describe-vpcs", "--vpc-ids", "vpc-0123456789abcdef0", check=False)
    assert done.returncode != 0 and "InvalidVpcID.NotFound" in done.stderr


def test_waiters_of_boto3_end(ec2):
    vpc = ec2.create_vpc(CidrBlock="10.6.0.0/16")["Vpc"]["VpcId"]
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc], WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.6.1.0/24")["Subnet"]["SubnetId"]
    reply = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, SubnetId=subnet)
    ids = [reply["Instances"][0]["InstanceId"]]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 10})


# ---- strangers


def test_who_does_not_sign_is_refused(card):
    status, body = post(card)
    assert status in (401, 403) and "<Code>" in body
    assert post(card, headers=signed(card))[0] == 200


@pytest.mark.parametrize(
    "header",
    [{"Origin": "http://127.0.0.1"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_a_web_page_is_refused(card, header):
    status, body = post(card, headers={**signed(card), **header})
    assert status == 403, body
    assert "vpc-" not in body


def test_garbage_is_answered_not_crashed_on(card):
    for body in ("", "Action=", "Action=Nothing&Version=2016-11-15", "%%%", "A" * 5000, "Action=DescribeVpcs&Version=1"):
        status, reply = post(card, body, signed(card, body))
        assert 400 <= status < 500 and "<Code>" in reply, (body[:20], status, reply)
    for raw in (b"\x00\xff\xfe\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", card.port), 5) as stranger:
            stranger.sendall(raw)
            stranger.settimeout(5)
            answer = stranger.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    assert post(card, headers=signed(card))[0] == 200


def test_a_body_beyond_the_limit_is_refused_unread(card):
    with socket.create_connection(("127.0.0.1", card.port), 5) as stranger:
        stranger.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n")
        stranger.settimeout(5)
        assert stranger.recv(4096).startswith(b"HTTP/1.1 413")


def test_stalling_connections_do_not_stop_others(card, ec2):
    stalled = []
    try:
        for _ in range(200):
            one = socket.create_connection(("127.0.0.1", card.port), 5)
            one.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nAction=")
            stalled.append(one)
        assert ec2.describe_vpcs()["Vpcs"]
        card.client().describe_vpcs()
    finally:
        for one in stalled:
            one.close()


def test_a_flood_of_stalling_connections_does_not_lock_others_out(card):
    """More silent connections than the server serves at a time: a new client still gets its turn."""
    stalled = []
    try:
        for _ in range(700):
            one = socket.create_connection(("127.0.0.1", card.port), 5)
            stalled.append(one)
            # One that was ended meanwhile to make room says so here.
            with contextlib.suppress(ConnectionError):
                one.sendall(b"POST / HTTP/1.1\r\n")
        assert card.client().describe_vpcs()["Vpcs"]
        assert card.json("status")["card"]
    finally:
        for one in stalled:
            one.close()


def test_fifty_clients_at_once(card):
    client = boto3.client(
        "ec2", endpoint_url=f"http://127.0.0.1:{card.port}", region_name="eu-west-1",
        aws_access_key_id="444455556666", aws_secret_access_key="x",
        config=Config(max_pool_connections=50, retries={"max_attempts": 0}),
    )
    vpc = client.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=vpc, CidrBlock="10.8.0.0/20")["Subnet"]["SubnetId"]

    def make(_):
        reply = client.create_network_interface(SubnetId=subnet)["NetworkInterface"]
        return reply["NetworkInterfaceId"], reply["PrivateIpAddress"]

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        made = list(pool.map(make, range(200)))
    assert len({eni for eni, _ in made}) == 200
    assert len({address for _, address in made}) == 200
    shown = client.describe_network_interfaces(Filters=[{"Name": "subnet-id", "Values": [subnet]}])
    assert {i["NetworkInterfaceId"] for i in shown["NetworkInterfaces"]} == {eni for eni, _ in made}
