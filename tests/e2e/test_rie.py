"""The harness of `tests/rie.py` with an extension of a few lines: that it tells what AWS's emulator really does."""

import os
import sys
import time

import pytest

from tests.rie import Rie, RieError

pytestmark = pytest.mark.lambda_runtime

EXTENSION = f"""\
#!{os.path.realpath(sys.executable)} -I
import http.client, json, os, sys

def call(method, path, headers, body=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, "/2020-01-01/extension" + path, body, headers)
    response = connection.getresponse()
    return response.headers, json.loads(response.read())

events = json.dumps({{"events": ["INVOKE", "SHUTDOWN"]}})
headers, _ = call("POST", "/register", {{"Lambda-Extension-Name": "toy"}}, events)
own = {{"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}}
print("toy", "registered at", os.path.dirname(os.path.abspath(sys.argv[0])), flush=True)
while True:
    _, event = call("GET", "/event/next", own)
    print("toy", event["eventType"], event.get("requestId"), event.get("shutdownReason"), flush=True)
    if event["eventType"] == "SHUTDOWN":
        sys.exit(0)
"""
FUNCTION = """
import os

def handler(event, context):
    if event == "raise":
        raise ValueError("no")
    if event == "exit":
        os._exit(1)
    return {"event": event, "id": context.aws_request_id, "word": os.environ["WORD"], "opt": os.listdir("/opt")}
"""


@pytest.fixture
def rie(tmp_path):
    extension = tmp_path / "layer" / "extensions" / "toy"
    extension.parent.mkdir(parents=True)
    extension.write_text(EXTENSION)
    extension.chmod(0o755)
    function = tmp_path / "function"
    function.mkdir()
    (function / "app.py").write_text(FUNCTION)
    with Rie(tmp_path / "layer", function, "app.handler", {"WORD": "hello"}) as rie:
        yield rie


def lines(rie):
    return [line for line in rie.log.splitlines() if line.startswith("toy ")]


def test_function_and_extension_run_with_the_layer_at_opt(rie):
    assert lines(rie) == []  # nothing starts before the first invocation
    status, body = rie.invoke({"a": 1})
    assert status == 200, rie.log
    assert body == {"event": {"a": 1}, "id": body["id"], "word": "hello", "opt": ["extensions"]}
    assert lines(rie) == ["toy registered at /opt/extensions", f"toy INVOKE {body['id']} None"]
    assert len(rie.processes()) == 2


def test_sigterm_becomes_shutdown(rie):
    rie.invoke({})
    assert rie.terminate() == 0
    assert lines(rie)[-1] == "toy SHUTDOWN None SandboxTerminated"
    assert rie.processes() == []


def test_a_handler_that_raises_is_told_in_the_body(rie):
    status, body = rie.invoke("raise")
    assert status == 200 and body["errorType"] == "ValueError"
    assert rie.invoke({})[1]["word"] == "hello"


def test_a_crash_of_the_function_shuts_the_extension_down(rie):
    rie.invoke({})
    assert rie.invoke("exit")[0] == 502
    deadline = time.monotonic() + 10
    while "toy SHUTDOWN None ReleaseFail" not in lines(rie) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "toy SHUTDOWN None ReleaseFail" in lines(rie)


def test_what_cannot_be_started_is_said_with_the_reason(tmp_path):
    with pytest.raises(RieError, match="RIE did not start"), Rie(tmp_path / "nowhere", tmp_path, "app.handler"):
        pass
