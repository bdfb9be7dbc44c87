"""The clients that read the metadata service on EC2, run in an instance: Debian's cloud-init, Debian's
amazon-ec2-net-utils with systemd-networkd, and the requests of the VPC CNI plugin.

scripts/setup-clients unpacks the packages under target/clients. What a test changes about them is said in
its doc; everything else is the client's own.
"""

import ipaddress
import json
import pathlib
import shutil

import pytest
from conftest import PING, ROOT, Lab, eventually, internet_gateway, main_table

pytestmark = pytest.mark.usefixtures("namespaces")

CLIENTS = ROOT / "target" / "clients"
USER_DATA = "#!/bin/sh\necho said by user data\n"


@pytest.fixture(scope="module")
def lab(card, ec2):
    """An instance with two interfaces in a dual-stack subnet: the first has an Elastic IP, secondary addresses of both
    families, the second a secondary address and a delegated prefix; and a neighbour that answers pings."""
    built = Lab(card, ec2, "10.44.0.0/16")
    ec2.associate_vpc_cidr_block(VpcId=built.vpc, AmazonProvidedIpv6CidrBlock=True)
    vpc = ec2.describe_vpcs(VpcIds=[built.vpc])["Vpcs"][0]
    ipv6 = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    net = ec2.create_subnet(VpcId=built.vpc, CidrBlock="10.44.1.0/24", Ipv6CidrBlock=ipv6)["Subnet"]["SubnetId"]
    group = built.group("open", PING)
    gateway = internet_gateway(ec2, built.vpc)
    ec2.create_route(
        RouteTableId=main_table(ec2, built.vpc), DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
    )
    interface = {"SubnetId": net, "Groups": [group]}
    built.id = ec2.run_instances(
        ImageId="ami-0abcdef1234567890", InstanceType="m5.large", MinCount=1, MaxCount=1, UserData=USER_DATA,
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SecondaryPrivateIpAddressCount": 2, "Ipv6AddressCount": 2, **interface},
        ],
    )["Instances"][0]["InstanceId"]
    second = ec2.create_network_interface(SecondaryPrivateIpAddressCount=1, Ipv6AddressCount=1, **interface)
    second = second["NetworkInterface"]["NetworkInterfaceId"]
    ec2.assign_private_ip_addresses(NetworkInterfaceId=second, Ipv4PrefixCount=1)
    built.running(built.id)
    ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=built.id, DeviceIndex=1)
    eventually(lambda: card.exec(built.id, "ip", "link", "show", "eth1").returncode == 0, what="eth1")
    address = ec2.allocate_address(Domain="vpc")
    first = built.describe(built.id)["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=first)
    built.public = address["PublicIp"]
    built.neighbour = built.instance(net, [group])["PrivateIpAddress"]
    return built


@pytest.fixture(scope="module")
def unpacked(card, lab):
    """The folder of the unpacked packages, as the instance sees it."""
    if not (CLIENTS / "packages").exists():
        why = CLIENTS / "skip"
        pytest.skip(why.read_text().strip() if why.exists() else "scripts/setup-clients was not run")
    if card.exec(lab.id, "test", "-r", str(CLIENTS / "packages")).returncode != 0:
        pytest.skip(f"an instance does not see {CLIENTS}: it has a /tmp and a /run of its own")
    return CLIENTS / "root"


@pytest.fixture
def interfaces(ec2, lab):
    """What the API says of the instance's interfaces, by device index."""
    described = ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": [lab.id]}]
    )["NetworkInterfaces"]
    return sorted(described, key=lambda found: found["Attachment"]["DeviceIndex"])


def private(interface):
    """Its private addresses, the primary first."""
    return [a["PrivateIpAddress"] for a in sorted(interface["PrivateIpAddresses"], key=lambda a: not a["Primary"])]


def ipv6(interface):
    return [a["Ipv6Address"] for a in interface["Ipv6Addresses"]]


# cloud-init ------------------------------------------------------------------------------------------

CRAWL = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cloudinit import distros, helpers
from cloudinit.sources import DataSourceEc2 as ec2
if sys.argv[2] == "aws":
    ec2.identify_platform = lambda: "aws"
paths = helpers.Paths({"cloud_dir": "/run/cloud", "run_dir": "/run/cloud-init", "templates_dir": "/run"})
source = ec2.DataSourceEc2({}, distros.fetch("debian")("debian", {}, paths), paths)
found = source.get_data()
hostname = source.get_hostname(fqdn=True)
print(json.dumps({
    "found": found, "cloud": source.cloud_name, "metadata": source.metadata, "identity": source.identity,
    "address": source.metadata_address, "token": bool(source._api_token),
    "user_data": source.get_userdata_raw().decode(), "instance_id": source.get_instance_id(),
    "hostname": getattr(hostname, "hostname", hostname), "zone": source.availability_zone,
    "region": source.region, "network": source.network_config,
}))
"""


def crawl(card, lab, unpacked, platform):
    """cloud-init's EC2 datasource, run to its end by the host's Python. A namespace instance shows the host's
    DMI, so cloud-init finds an unknown cloud, and there asks without a token; as `aws` the test tells
    it what DMI tells it on EC2, and then it asks with a token or not at all."""
    modules = str(unpacked / "usr/lib/python3/dist-packages")
    done = card.exec(lab.id, "/usr/bin/python3", "-c", CRAWL, modules, platform, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def check_crawl(found, ec2, lab, interfaces):
    instance = lab.describe(lab.id)
    assert found["found"] and found["address"] == "http://169.254.169.254"
    assert found["instance_id"] == lab.id and found["user_data"] == USER_DATA
    assert found["hostname"] == instance["PrivateDnsName"]
    assert (found["zone"], found["region"]) == (instance["Placement"]["AvailabilityZone"], "us-east-1")
    metadata = found["metadata"]
    assert metadata["local-ipv4"] == instance["PrivateIpAddress"]
    assert metadata["public-ipv4"] == lab.public
    macs = metadata["network"]["interfaces"]["macs"]
    assert sorted(macs) == sorted(i["MacAddress"] for i in interfaces)
    for interface in interfaces:
        of = macs[interface["MacAddress"]]
        assert of["interface-id"] == interface["NetworkInterfaceId"]
        assert of["device-number"] == str(interface["Attachment"]["DeviceIndex"])
        assert of["local-ipv4s"] == private(interface)
        assert of["subnet-id"] == interface["SubnetId"] and of["vpc-id"] == interface["VpcId"]
        addresses = of["ipv6s"] if isinstance(of["ipv6s"], list) else [of["ipv6s"]]
        assert sorted(addresses) == sorted(ipv6(interface))
    prefix = interfaces[1]["Ipv4Prefixes"][0]["Ipv4Prefix"]
    assert macs[interfaces[1]["MacAddress"]]["ipv4-prefix"] == prefix


def check_network_config(found, interfaces):
    """The configuration that cloud-init would give netplan or networkd: DHCP for the first address of each
    family, and the others as they are in the API."""
    config = found["network"]
    assert config["version"] == 2 and sorted(config["ethernets"]) == ["eth0", "eth1"]
    for interface in interfaces:
        of = config["ethernets"][f"eth{interface['Attachment']['DeviceIndex']}"]
        assert of["match"]["macaddress"] == interface["MacAddress"]
        assert of["dhcp4"] is True and of["dhcp6"] is True
        extra = [ipaddress.ip_interface(address) for address in of["addresses"]]
        extra4 = [str(a) for a in extra if a.version == 4]
        assert sorted(extra4) == sorted(f"{address}/24" for address in private(interface)[1:])
        extra6 = [str(a.ip) for a in extra if a.version == 6]
        assert set(extra6) < set(ipv6(interface)) and len(extra6) == len(ipv6(interface)) - 1


def test_cloud_init_crawls_without_a_token(card, ec2, lab, unpacked, interfaces):
    found = crawl(card, lab, unpacked, "as-found")
    if found["cloud"] == "aws":
        pytest.skip("this machine is an instance of EC2: cloud-init knows it, and asks with a token")
    assert not found["token"]
    check_crawl(found, ec2, lab, interfaces)
    check_network_config(found, interfaces)


def test_cloud_init_crawls_with_a_token_that_is_required(card, ec2, lab, unpacked, interfaces):
    ec2.modify_instance_metadata_options(InstanceId=lab.id, HttpTokens="required")
    try:
        found = crawl(card, lab, unpacked, "aws")
    finally:
        ec2.modify_instance_metadata_options(InstanceId=lab.id, HttpTokens="optional")
    assert found["token"] and found["cloud"] == "aws"
    check_crawl(found, ec2, lab, interfaces)
    check_network_config(found, interfaces)
    assert found["identity"]["instanceId"] == lab.id
    assert found["identity"]["privateIp"] == private(interfaces[0])[0]


# VPC CNI -----------------------------------------------------------------------------------------------

ASK = """
import json, sys, urllib.request as u
base = "http://169.254.169.254/latest/"
def ask(path, method="GET", **headers):
    request = u.Request(base + path, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with u.urlopen(request, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except u.HTTPError as error:
        return error.code, None
token = ask("api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="300")[1]
print(json.dumps({path: ask(path, X_aws_ec2_metadata_token=token) for path in json.load(sys.stdin)}))
"""


def answers(card, lab, paths):
    done = card.run("exec", lab.id, "--", "python3", "-c", ASK, input=json.dumps(paths))
    return {path: tuple(answer) for path, answer in json.loads(done.stdout).items()}


def test_every_path_of_the_vpc_cni_is_answered(card, ec2, lab, interfaces):
    """What amazon-vpc-cni-k8s asks, by the SDK with a token. It is a Go program that needs a cluster, so it is
    not run; the paths and what it makes of a 404 are read from its source.
    Source: github.com/aws/amazon-vpc-cni-k8s, pkg/awsutils/imds.go, pkg/awsutils/awsutils.go (the region, from
    the identity document) and cmd/aws-vpc-cni-init/main.go (`mac`), commit b5218838."""
    instance = lab.describe(lab.id)
    subnet = ec2.describe_subnets(SubnetIds=[instance["SubnetId"]])["Subnets"][0]
    vpc = ec2.describe_vpcs(VpcIds=[lab.vpc])["Vpcs"][0]
    lines = "\n".join
    expected = {
        "meta-data/placement/availability-zone": instance["Placement"]["AvailabilityZone"],
        "meta-data/instance-type": "m5.large",
        "meta-data/local-ipv4": instance["PrivateIpAddress"],
        "meta-data/instance-id": lab.id,
        "meta-data/mac": interfaces[0]["MacAddress"],
        "meta-data/network/interfaces/macs": lines(sorted(f"{i['MacAddress']}/" for i in interfaces)),
    }
    absent = set()
    for interface in interfaces:
        mac = f"meta-data/network/interfaces/macs/{interface['MacAddress']}"
        prefixes = [p["Ipv4Prefix"] for p in interface.get("Ipv4Prefixes", [])]
        expected |= {
            f"{mac}/interface-id": interface["NetworkInterfaceId"],
            f"{mac}/device-number": str(interface["Attachment"]["DeviceIndex"]),
            f"{mac}/subnet-id": interface["SubnetId"],
            f"{mac}/vpc-id": interface["VpcId"],
            f"{mac}/security-group-ids": lines(g["GroupId"] for g in interface["Groups"]),
            f"{mac}/local-ipv4s": lines(private(interface)),
            f"{mac}/subnet-ipv4-cidr-block": subnet["CidrBlock"],
            f"{mac}/subnet-ipv6-cidr-blocks": subnet["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"],
            f"{mac}/vpc-ipv4-cidr-blocks": vpc["CidrBlock"],
            f"{mac}/vpc-ipv6-cidr-blocks": vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"],
            f"{mac}/network-card": "0",
        }
        if prefixes:
            expected[f"{mac}/ipv4-prefix"] = lines(prefixes)
        else:
            absent.add(f"{mac}/ipv4-prefix")
        # EC2 has no local-ipv6s; the plugin takes a 404 for an interface without any.
        absent |= {f"{mac}/ipv6-prefix", f"{mac}/local-ipv6s"}
    others = {f"meta-data/network/interfaces/macs/{i['MacAddress']}": i for i in interfaces}
    others |= {f"{mac}/ipv6s": i for mac, i in list(others.items())}
    found = answers(card, lab, [*expected, *absent, *others, "meta-data/ipv6", "dynamic/instance-identity/document"])
    for path, value in expected.items():
        assert found[path] == (200, value), path
    for path in absent:
        assert found[path] == (404, None), path
    for path, interface in others.items():
        status, body = found[path]
        assert status == 200, path
        if path.endswith("ipv6s"):
            assert sorted(body.split()) == sorted(ipv6(interface)), path
        else:
            # GetMACImdsFields decides by this listing which of the paths above it asks.
            assert {"interface-id", "device-number", "local-ipv4s", "ipv6s", "subnet-id"} <= set(body.split()), body
    first = found[f"meta-data/network/interfaces/macs/{interfaces[0]['MacAddress']}/ipv6s"][1].split()[0]
    assert found["meta-data/ipv6"] == (200, first)
    assert json.loads(found["dynamic/instance-identity/document"][1])["region"] == "us-east-1"


# amazon-ec2-net-utils ------------------------------------------------------------------------------------

NET_UTILS = r"""
set -e
root=$1
units=/run/systemd/network
mkdir -p /run/dbus $units /run/systemd/netif/{links,leases,lldp} /run/lib
chown -R systemd-network:systemd-network /run/systemd/netif
# The instance as EC2 hands it over: interfaces with no address, no route and no rule.
for family in -4 -6; do
  ip $family rule | sed -n 's/^\(1[0-9]*\):.*/\1/p' | while read -r priority; do ip $family rule del pref "$priority"; done
done
for link in eth0 eth1; do
  ip addr flush dev $link scope global
  for family in -4 -6; do ip $family route flush table all dev $link proto static; done
  mkdir -p $units/70-$link.network.d
  printf '[Match]\nDriver=\n' >$units/70-$link.network.d/tap.conf
done
ln -s $root/usr/lib/systemd/network/80-ec2.network $units/
mkdir $units/80-ec2.network.d
printf '[Match]\nDriver=\nName=eth*\n' >$units/80-ec2.network.d/tap.conf
sed "s,/usr/lib/systemd/network,$root&," $root/usr/share/amazon-ec2-net-utils/lib.sh >/run/lib/lib.sh
dbus-daemon --system --nopidfile --fork
SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-networkd </dev/null >/run/networkd.log 2>&1 &
for attempt in $(seq 100); do networkctl >/dev/null 2>&1 && break; sleep 0.1; done
for link in eth0 eth1; do
  EC2_IF_INITIAL_SETUP=true LIBDIR_OVERRIDE=/run/lib bash $root/usr/bin/setup-policy-routes $link start >&2
done
/lib/systemd/systemd-networkd-wait-online -i eth0 -i eth1 --timeout=20 >&2 || { cat /run/networkd.log >&2; exit 1; }
"""


@pytest.fixture(scope="module")
def managed(card, lab, unpacked):
    """The instance after amazon-ec2-net-utils and systemd-networkd have configured it."""
    programs = ["/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd-wait-online"]
    missing = [p for p in programs if not pathlib.Path(p).exists()]
    missing += [p for p in ("networkctl", "dbus-daemon", "curl", "logger") if not shutil.which(p)]
    if missing:
        pytest.skip(f"amazon-ec2-net-utils needs what is not installed here: {' '.join(missing)}")
    done = card.exec(lab.id, "bash", "-c", NET_UTILS, "bash", str(unpacked), timeout=90)
    assert done.returncode == 0, done.stderr[-3000:]
    return lab


def settings(card, lab, link, name):
    text = card.exec(lab.id, "cat", f"/run/systemd/network/70-{link}.network.d/{name}", check=True).stdout
    return [line for line in text.splitlines() if "=" in line]


def test_net_utils_write_what_the_api_says(card, managed, interfaces):
    """`setup-policy-routes eth0 start` and `… eth1 start`, as the package's udev rule and unit run them. Changed
    are: `Driver=ena` in 80-ec2.network, since the instance has taps, by drop-ins; and the folder in which
    lib.sh finds that file. Not run are udev and systemd itself, which a namespace instance has not."""
    first, second = interfaces
    assert f"MACAddress={second['MacAddress']}" in settings(card, managed, "eth1", "eni.conf")
    assert "RouteTable=10001" in settings(card, managed, "eth1", "eni.conf")
    assert settings(card, managed, "eth1", "ec2net_alias.conf")[0] == f"Address={private(second)[1]}/32"
    sources = [line[5:] for line in settings(card, managed, "eth1", "ec2net_policy_4.conf") if line.startswith("From=")]
    assert sources == [*private(second), second["Ipv4Prefixes"][0]["Ipv4Prefix"]]
    sources = [line[5:] for line in settings(card, managed, "eth1", "ec2net_policy_6.conf") if line.startswith("From=")]
    assert sorted(sources) == sorted(ipv6(second))
    aliases = settings(card, managed, "eth0", "ec2net_alias.conf")
    assert sorted(a[8:] for a in aliases if a.startswith("Address=")) == sorted(f"{a}/32" for a in private(first)[1:])
    names = card.exec(managed.id, "ip", "-j", "link", "show", "eth1", check=True).stdout
    assert set(json.loads(names)[0]["altnames"]) == {second["NetworkInterfaceId"], "device-number-1"}


def test_networkd_configures_both_interfaces_from_it(card, managed, interfaces):
    """Addresses by DHCP, DHCPv6 and router advertisements of the card, the others from net-utils' files; each
    address of the second interface leaves by its own table."""
    shown = json.loads(card.exec(managed.id, "ip", "-j", "addr", check=True).stdout)
    for interface in interfaces:
        link = f"eth{interface['Attachment']['DeviceIndex']}"
        found = next(i for i in shown if i["ifname"] == link)["addr_info"]
        by_dhcp = [a["local"] for a in found if a["family"] == "inet" and a["prefixlen"] == 24]
        assert by_dhcp == private(interface)[:1]
        others = [a["local"] for a in found if a["family"] == "inet" and a["prefixlen"] == 32]
        assert sorted(others) == sorted(private(interface)[1:])
        sixes = [a["local"] for a in found if a["family"] == "inet6" and a["scope"] == "global"]
        assert sixes and set(sixes) <= set(ipv6(interface)), link
    rules = json.loads(card.exec(managed.id, "ip", "-j", "rule", check=True).stdout)
    ours = {f"{r['src']}/{r['srclen']}" if "srclen" in r else r["src"] for r in rules if r["priority"] == 10001}
    assert ours == {*private(interfaces[1]), interfaces[1]["Ipv4Prefixes"][0]["Ipv4Prefix"]}

    def has_default(family):
        routes = card.exec(managed.id, "ip", family, "-j", "route", "show", "table", "10001", check=True).stdout
        return any(r["dst"] == "default" and r["dev"] == "eth1" for r in json.loads(routes))

    # The IPv6 one is there when a router advertisement has come.
    for family in ("-4", "-6"):
        eventually(lambda family=family: has_default(family), 30, what=f"the default route of {family} in table 10001")
    for interface in interfaces:
        for address in private(interface):
            assert card.ping(managed.id, managed.neighbour, 2, 1, "-I", address), address
