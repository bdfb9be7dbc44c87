"""botocore's own parser reads every golden reply of crates/ec2, and finds all of it.

A misspelt element would be dropped in silence by any AWS client, so the test counts: each leaf of the
document must come out of the parser, under the member it stands for, with the value that went in.
"""

import datetime
import json
import pathlib
import xml.etree.ElementTree as ElementTree

import botocore.parsers
import botocore.session
import pytest

TESTS = pathlib.Path(__file__).resolve().parents[2] / "crates" / "ec2" / "tests"
GOLDEN = sorted(path for path in (TESTS / "golden").glob("*.xml") if path.stem != "error")
MODEL = botocore.session.get_session().get_service_model("ec2", api_version="2016-11-15")
SAMPLES = {
    row["action"]: row["reply"]
    for row in map(json.loads, (TESTS / "fixtures" / "replies.jsonl").read_text(encoding="utf-8").splitlines())
}


def parse(path, shape, status=200):
    parser = botocore.parsers.create_parser("ec2")
    return parser.parse({"status_code": status, "headers": {}, "body": path.read_bytes()}, shape)


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        if isinstance(value, datetime.datetime):
            value = value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield path, value


def leaf_elements(element):
    if len(element) == 0:
        return 1
    return sum(leaf_elements(child) for child in element)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_element_is_understood(path):
    shape = MODEL.operation_model(path.stem).output_shape
    reply = parse(path, shape)
    assert reply.pop("ResponseMetadata")["RequestId"] == "59dbff89-35bd-4eac-99ed-be587EXAMPLE"
    document = ElementTree.fromstring(path.read_bytes())
    assert document.tag == f"{{http://ec2.amazonaws.com/doc/2016-11-15/}}{path.stem}Response"
    if [child.tag.split("}")[1] for child in document] == ["requestId", "return"] and "Return" not in reply:
        assert document[1].text == "true"
        return
    found = dict(leaves(reply))
    # All leaves but the request id.
    assert len(found) == leaf_elements(document) - 1
    expected = dict(leaves(SAMPLES[path.stem]))
    assert found == {name: expected[name] for name in found}


def test_the_error_is_understood():
    reply = parse(TESTS / "golden" / "error.xml", MODEL.operation_model("CreateVpc").output_shape, status=400)
    assert reply["Error"] == {"Code": "InvalidVpcID.NotFound", "Message": "The vpc ID 'vpc-<1>' does not exist"}
    assert reply["ResponseMetadata"]["RequestId"] == "59dbff89-35bd-4eac-99ed-be587EXAMPLE"


def test_there_is_a_golden_reply_for_every_sample():
    assert set(SAMPLES) <= {path.stem for path in GOLDEN}
    assert GOLDEN
