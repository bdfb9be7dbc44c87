#!/usr/bin/env python3
"""Writes the tables of this directory, and the fixtures of ../tests/fixtures, from botocore's EC2 model.

Run it with a Python that has botocore, after adding an action to src/actions.rs:

    python3 crates/ec2/model/generate.py

actions.txt    every action of the API, one name a line
requests.txt   the request shapes of the actions that src/actions.rs names
responses.txt  the response shapes of the same
../tests/fixtures/requests.jsonl   for each of them, every parameter as botocore's own serializer sends it
../tests/fixtures/replies.jsonl    for each of them, a reply with every member
../tests/fixtures/signed.jsonl     requests signed by botocore, in the header and presigned
"""

import base64
import datetime
import json
import pathlib
import re
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.serialize
import botocore.session

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "tests" / "fixtures"
VERSION = "2016-11-15"
# Lists that carry other lists end here; the model has no cycle among the actions we have.
MAX_DEPTH = 12


def supported_actions():
    text = (HERE.parent / "src" / "actions.rs").read_text()
    return sorted(set(re.findall(r'action\("([A-Za-z0-9]+)"', text)))


def capital(name):
    return name[0].upper() + name[1:]


def query_name(shape, member):
    """The name of a request member on the wire, by the rules of botocore's EC2Serializer."""
    serialization = shape.serialization
    if "queryName" in serialization:
        return serialization["queryName"]
    if "name" in serialization:
        return capital(serialization["name"])
    return member


def xml_name(shape, member):
    return shape.serialization.get("name", member)


def kind(shape, pending):
    if shape.type_name == "structure":
        pending.append(shape)
        return shape.name
    if shape.type_name == "list":
        return "[" + kind(shape.member, pending) + "]"
    return shape.type_name


def describe(roots, wire_name):
    lines, seen, pending = [], set(), []
    for action, shape in roots:
        lines.append(f"@{action} {shape.name if shape is not None else '-'}")
        if shape is not None:
            pending.append(shape)
    while pending:
        shape = pending.pop(0)
        if shape.name in seen:
            continue
        seen.add(shape.name)
        words = [shape.name]
        for member, inner in shape.members.items():
            if wire_name is xml_name and inner.type_name == "list":
                # One list of accelerators names its entries otherwise; a reply of ours never has it,
                # and a table without it keeps the writer to one rule.
                if inner.member.serialization.get("name") != "item":
                    continue
            wire = wire_name(inner, member)
            name = member if wire == member else f"{member}={wire}"
            needed = "!" if member in shape.required_members else ""
            words.append(f"{name}{needed}:{kind(inner, pending)}")
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


class Sampler:
    """Makes a value for every member, each scalar different, so that a mix-up shows."""

    def __init__(self, dates_as_text):
        self.count = 0
        self.dates_as_text = dates_as_text

    def sample(self, shape, name, depth=0):
        assert depth < MAX_DEPTH, shape.name
        self.count += 1
        kind = shape.type_name
        if kind == "structure":
            return {key: self.sample(inner, key, depth + 1) for key, inner in shape.members.items()}
        if kind == "list":
            return [self.sample(shape.member, name, depth + 1) for _ in range(2 if depth <= 2 else 1)]
        if kind == "boolean":
            return name == "DryRun" or self.count % 2 == 0
        if kind in ("integer", "long"):
            return self.count
        if kind in ("double", "float"):
            return self.count + 0.5
        if kind == "timestamp":
            moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
            moment += datetime.timedelta(seconds=self.count)
            return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if self.dates_as_text else moment
        if kind == "blob":
            return f"{name} {self.count}".encode()
        return f"{name} <{self.count}> & é"


SIGNED_AT = datetime.datetime(2026, 11, 23, 13, 5, 9, tzinfo=datetime.timezone.utc)


def signed_requests():
    """Requests as botocore signs them, at one fixed time."""
    botocore.auth.get_current_datetime = lambda *_, **__: SIGNED_AT.replace(tzinfo=None)
    url = "http://127.0.0.1:4566/"
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    describe = "Action=DescribeVpcs&Version=2016-11-15"
    spaces = describe + "&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b%2Bc%C3%A9~%2F"
    for key, secret, token, region in [
        ("test", "test", None, "us-east-1"),
        ("123456789012", "s3cr3t+/=", None, "eu-central-1"),
        ("ASIAEXAMPLEEXAMPLE00", "s3cr3t", "token/with+signs==", "ap-southeast-2"),
    ]:
        credentials = botocore.credentials.Credentials(key, secret, token)
        # In a query string botocore signs "+" as it stands, so the space there is %20.
        address = url + "?" + spaces.replace("+", "%20")
        plain = [("POST", url, describe), ("POST", url, spaces), ("GET", address, "")]
        for method, target, body in plain:
            request = botocore.awsrequest.AWSRequest(method, target, dict(form), body)
            botocore.auth.SigV4Auth(credentials, "ec2", region).add_auth(request)
            yield row(request, key, secret, token, region)
        request = botocore.awsrequest.AWSRequest("GET", address, {}, "")
        botocore.auth.SigV4QueryAuth(credentials, "ec2", region, expires=600).add_auth(request)
        yield row(request, key, secret, token, region)


def row(request, key, secret, token, region):
    prepared = request.prepare()
    headers = {name: value if isinstance(value, str) else value.decode() for name, value in prepared.headers.items()}
    headers.setdefault("Host", "127.0.0.1:4566")
    body = prepared.body or b""
    return {
        "method": prepared.method,
        "query": urllib.parse.urlsplit(prepared.url).query,
        "headers": sorted([name, value] for name, value in headers.items()),
        "body": body if isinstance(body, str) else body.decode(),
        "access_key": key,
        "secret": secret,
        "region": region,
        "now_s": int(SIGNED_AT.timestamp()),
    }


def main():
    model = botocore.session.get_session().get_service_model("ec2", api_version=VERSION)
    actions = supported_actions()
    operations = [model.operation_model(name) for name in actions]
    (HERE / "actions.txt").write_text("\n".join(sorted(model.operation_names)) + "\n")
    requests = [(operation.name, operation.input_shape) for operation in operations]
    responses = [(operation.name, operation.output_shape) for operation in operations]
    (HERE / "requests.txt").write_text(describe(requests, query_name))
    (HERE / "responses.txt").write_text(describe(responses, xml_name))

    serializer = botocore.serialize.create_serializer("ec2", include_validation=False)
    with open(FIXTURES / "requests.jsonl", "w", encoding="utf-8") as out:
        for operation in operations:
            parameters = Sampler(False).sample(operation.input_shape, operation.name)
            body = serializer.serialize_to_request(parameters, operation)["body"]
            body = urllib.parse.urlencode(body, doseq=True)
            plain = Sampler(True).sample(operation.input_shape, operation.name)
            plain = json.loads(json.dumps(plain, default=lambda blob: base64.b64encode(blob).decode()))
            row = {"action": operation.name, "body": body, "parameters": plain}
            out.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
    with open(FIXTURES / "replies.jsonl", "w", encoding="utf-8") as out:
        for operation in operations:
            if operation.output_shape is None:
                continue
            reply = Sampler(True).sample(operation.output_shape, operation.name)
            out.write(json.dumps({"action": operation.name, "reply": reply}, ensure_ascii=False, sort_keys=True) + "\n")
    with open(FIXTURES / "signed.jsonl", "w", encoding="utf-8") as out:
        for signed in signed_requests():
            out.write(json.dumps(signed, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
