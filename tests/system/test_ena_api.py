"""The API's side of ENA and of virtual machines: attributes, types, queues, images, the console."""

import pytest
from botocore.exceptions import ClientError
from conftest import PING, Card, Lab, eni, eventually

IMAGE = "ami-0abcdef1234567890"


@pytest.fixture(scope="module")
def lab(card, ec2, namespaces):
    return Lab(card, ec2)


@pytest.fixture(scope="module")
def subnet(lab):
    return lab.subnet("10.0.1.0/24")


@pytest.fixture(scope="module")
def group(lab):
    return lab.group("ping", PING)


def refused(code, call, **parameters):
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    assert caught.value.response["Error"]["Code"] == code, caught.value
    return caught.value.response["Error"]["Message"]


def state(lab, instance):
    return lab.describe(instance)["State"]["Name"]


def stop(lab, instance, **more):
    lab.ec2.stop_instances(InstanceIds=[instance], **more)
    eventually(lambda: state(lab, instance) == "stopped", what="stopped")


def typed(lab, subnet, group, kind):
    found = lab.ec2.run_instances(
        ImageId=IMAGE, InstanceType=kind, MinCount=1, MaxCount=1, SubnetId=subnet, SecurityGroupIds=[group]
    )["Instances"][0]["InstanceId"]
    lab.running(found)
    return found


def test_ena_support_is_an_attribute_of_a_stopped_instance(lab, ec2, subnet, group):
    instance = typed(lab, subnet, group, "r4.large")
    assert lab.describe(instance)["EnaSupport"] is True
    refused("IncorrectInstanceState", ec2.modify_instance_attribute, InstanceId=instance, EnaSupport={"Value": False})
    stop(lab, instance)
    ec2.modify_instance_attribute(InstanceId=instance, EnaSupport={"Value": False})
    shown = ec2.describe_instance_attribute(InstanceId=instance, Attribute="enaSupport")
    assert shown["EnaSupport"]["Value"] is False
    ec2.modify_instance_attribute(InstanceId=instance, SriovNetSupport={"Value": "simple"})
    shown = ec2.describe_instance_attribute(InstanceId=instance, Attribute="sriovNetSupport")
    assert shown["SriovNetSupport"]["Value"] == "simple"
    # The type also has the traditional card, so it starts; a type on Nitro has nothing else.
    ec2.start_instances(InstanceIds=[instance])
    lab.running(instance)
    shown = lab.describe(instance)
    assert (shown["EnaSupport"], shown["SriovNetSupport"]) == (False, "simple")
    stop(lab, instance)
    message = refused(
        "InvalidParameterCombination",
        ec2.modify_instance_attribute,
        InstanceId=instance,
        InstanceType={"Value": "c5.large"},
    )
    assert "(ENA) is required for the 'c5.large'" in message


def test_a_type_describes_its_cards(ec2):
    kinds = {
        kind["InstanceType"]: kind
        for page in ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 50})
        for kind in page["InstanceTypes"]
    }
    assert len(kinds) > 150
    network = kinds["p4d.24xlarge"]["NetworkInfo"]
    assert network["EnaSupport"] == "required"
    assert [card["NetworkCardIndex"] for card in network["NetworkCards"]] == [0, 1, 2, 3]
    card = network["NetworkCards"][3]
    assert (card["BaselineBandwidthInGbps"], card["PeakBandwidthInGbps"]) == (100.0, 100.0)
    assert card["DefaultEnaQueueCountPerInterface"] == 32
    assert card["InterfaceTypes"] == ["interface", "efa", "efa-only"]
    assert network["EfaInfo"]["MaximumEfaInterfaces"] == 4
    network = kinds["t3.nano"]["NetworkInfo"]
    assert network["NetworkCards"][0]["BaselineBandwidthInGbps"] == 0.032
    assert (network["Ipv4AddressesPerInterface"], network["DefaultNetworkCardIndex"]) == (2, 0)
    assert network["FlexibleEnaQueuesSupport"] == "unsupported"
    assert kinds["t2.micro"]["NetworkInfo"]["EnaSupport"] == "unsupported"
    found = ec2.describe_instance_types(
        Filters=[{"Name": "network-info.ena-support", "Values": ["supported"]}]
    )["InstanceTypes"]
    assert {"r4.large", "m4.16xlarge"} <= {kind["InstanceType"] for kind in found}


def test_queues_of_a_hot_attached_interface(lab, ec2, subnet, group):
    instance = typed(lab, subnet, group, "c6i.large")
    extra = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    attach = {"NetworkInterfaceId": extra, "InstanceId": instance, "DeviceIndex": 1}
    refused("InvalidParameterValue", ec2.attach_network_interface, EnaQueueCount=4, **attach)
    attachment = ec2.attach_network_interface(EnaQueueCount=1, **attach)["AttachmentId"]

    def shown():
        found = ec2.describe_network_interfaces(NetworkInterfaceIds=[extra])["NetworkInterfaces"][0]
        return found["Attachment"]

    eventually(lambda: shown()["Status"] == "attached", what="attached")
    assert shown()["EnaQueueCount"] == 1

    def modify(**changes):
        ec2.modify_network_interface_attribute(
            NetworkInterfaceId=extra, Attachment={"AttachmentId": attachment, **changes}
        )

    refused("IncorrectInstanceState", modify, EnaQueueCount=2)
    stop(lab, instance)
    modify(EnaQueueCount=2)
    assert shown()["EnaQueueCount"] == 2
    modify(DefaultEnaQueueCount=True)
    assert "EnaQueueCount" not in shown()


def test_an_image_is_registered_launched_and_deregistered(lab, ec2, subnet, group, tmp_path):
    kernel, initrd, disk = tmp_path / "vmlinuz", tmp_path / "initrd", tmp_path / "disk.qcow2"
    kernel.write_bytes(b"MZ")
    initrd.write_bytes(b"070701")
    disk.write_bytes(b"QFI\xfb" + bytes(100))
    location = f"file://{kernel}?initrd={initrd}&append=console=ttyS0 quiet&disk={disk}"
    image = ec2.register_image(
        Name="guest",
        ImageLocation=location,
        Architecture="x86_64",
        EnaSupport=True,
        VirtualizationType="hvm",
        RootDeviceName="/dev/vda",
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "kind", "Value": "vm"}]}],
    )["ImageId"]
    [found] = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["gue*"]}])["Images"]
    assert (found["ImageId"], found["State"], found["EnaSupport"]) == (image, "available", True)
    assert (found["ImageLocation"], found["RootDeviceName"]) == (location, "/dev/vda")
    assert found["Tags"] == [{"Key": "kind", "Value": "vm"}]
    ec2.get_waiter("image_available").wait(ImageIds=[image])
    refused("InvalidAMIName.Duplicate", ec2.register_image, Name="guest")
    ec2.deregister_image(ImageId=image)
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[image])


def test_a_machine_whose_files_have_gone_says_why(lab, ec2, subnet, tmp_path):
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(b"QFI\xfb")
    image = ec2.register_image(Name="gone", ImageLocation=f"file:{disk}", EnaSupport=True)["ImageId"]
    disk.unlink()
    found = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=subnet
    )["Instances"][0]["InstanceId"]
    eventually(lambda: state(lab, found) == "terminated", what="terminated")
    reason = lab.describe(found)["StateReason"]
    assert reason["Code"] == "Server.InternalError"
    assert len(reason["Message"]) > len("Server.InternalError: ")
    ec2.deregister_image(ImageId=image)


def test_files_of_an_image_must_be_there(ec2, tmp_path):
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(512))
    for location in (f"file://{tmp_path}/nothing", f"file://{raw}", f"file://{tmp_path}", "file:///dev/zero"):
        refused("InvalidManifest", ec2.register_image, Name="bad", ImageLocation=location)
    refused("InvalidParameterValue", ec2.register_image, Name="bad", ImageLocation="file:disk.qcow2")
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_an_image_of_no_files_launches_a_namespace(lab, ec2, subnet, group):
    image = ec2.register_image(Name="plain", EnaSupport=True)["ImageId"]
    found = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=subnet, SecurityGroupIds=[group]
    )["Instances"][0]["InstanceId"]
    lab.running(found)
    assert lab.card.exec(found, "true").returncode == 0
    # Without EnaSupport only types that have another card launch it.
    old = ec2.register_image(Name="old")["ImageId"]
    launch = {"ImageId": old, "MinCount": 1, "MaxCount": 1, "SubnetId": subnet}
    refused("InvalidParameterCombination", ec2.run_instances, InstanceType="t3.micro", **launch)
    found = ec2.run_instances(InstanceType="t2.micro", **launch)["Instances"][0]
    assert found["EnaSupport"] is False
    for name in (image, old):
        ec2.deregister_image(ImageId=name)


def test_stop_releases_the_public_address_and_keeps_the_rest(lab, ec2):
    subnet = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]["SubnetId"]
    instance = ec2.run_instances(
        ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1, SubnetId=subnet
    )["Instances"][0]["InstanceId"]
    lab.running(instance)
    before = lab.describe(instance)
    assert before["PublicIpAddress"]
    stop(lab, instance, Force=True)
    stopped = lab.describe(instance)
    assert "PublicIpAddress" not in stopped
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    refused("IncorrectInstanceState", ec2.reboot_instances, InstanceIds=[instance])
    elastic = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=elastic["AllocationId"], InstanceId=instance)
    ec2.start_instances(InstanceIds=[instance])
    lab.running(instance)
    after = lab.describe(instance)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] == elastic["PublicIp"]
    assert eni(after) == eni(before)
    assert after["StateTransitionReason"] == ""
    stop(lab, instance)
    assert lab.describe(instance)["PublicIpAddress"] == elastic["PublicIp"]


def test_the_console_is_what_user_data_printed(lab, ec2, subnet, group):
    script = "#!/bin/sh\nfor i in $(seq 20000); do echo line $i; done\necho the end\n"
    instance = lab.instance(subnet, [group], UserData=script)["InstanceId"]

    def output(**more):
        return ec2.get_console_output(InstanceId=instance, **more)

    found = eventually(lambda: (o := output(Latest=True)) and "the end" in o.get("Output", "") and o, what="console")
    assert found["InstanceId"] == instance and found["Timestamp"]
    assert "line 20000" in found["Output"] and "line 1\n" not in found["Output"]
    assert len(found["Output"]) <= 64 << 10
    assert "the end" in output()["Output"]
    stop(lab, instance)
    assert not output().get("Output")
    refused("InvalidInstanceID.NotFound", ec2.get_console_output, InstanceId="i-00000000000000000")


def test_attributes_and_images_survive_a_kill(program, tmp_path):
    card = Card(program, tmp_path / "state").start()
    try:
        ec2 = card.client()
        disk = tmp_path / "disk.qcow2"
        disk.write_bytes(b"QFI\xfb")
        image = ec2.register_image(Name="kept", ImageLocation=f"file://{disk}", EnaSupport=True)["ImageId"]
        launch = {"ImageId": IMAGE, "InstanceType": "r4.large", "MinCount": 1, "MaxCount": 1}
        instance = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        ec2.stop_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
        ec2.modify_instance_attribute(InstanceId=instance, EnaSupport={"Value": False})
        card.kill()
        card.start()
        assert ec2.describe_images(ImageIds=[image])["Images"][0]["ImageLocation"] == f"file://{disk}"
        shown = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        assert shown["EnaSupport"] is False
    finally:
        card.stop()


def test_the_cli_says_it_too(card, tmp_path):
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(b"QFI\xfb")
    # The CLI reads `file://` as its own, so its users write one slash.
    image = card.aws(
        "ec2", "register-image", "--name", "by-cli", "--image-location", f"file:{disk}", "--ena-support",
        "--architecture", "x86_64",
    )["ImageId"]
    found = card.aws("ec2", "describe-images", "--image-ids", image)["Images"][0]
    assert found["ImageLocation"] == f"file:{disk}"
    assert card.aws("ec2", "deregister-image", "--image-id", image)["Return"] is True
