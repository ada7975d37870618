import json

import pytest

from tests.component.emulator.toy import Listener
from tests.component.emulator.workshop import said
from warmwire.emulator.rendezvous import Refusal
from warmwire.emulator.telemetry import Telemetry, parse_subscription

VALID = {
    "schemaVersion": "2022-12-13",
    "types": ["platform"],
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/path"},
}
WAITS_FOR_RUNTIME_DONE = """
extension = Extension("INVOKE", "SHUTDOWN")
listener = Listener()
note("subscribed", *extension.subscribe(listener.server_port)[::2])
while (event := extension.next())["eventType"] != "SHUTDOWN":
    request_id = event["requestId"]
    done = listener.await_event("platform.runtimeDone", request_id)["record"]
    note("done", done["status"], done["metrics"]["producedBytes"])
listener.await_event("platform.report", request_id)
note(*listener.types())
"""


@pytest.fixture
def listener():
    with Listener() as listener:
        yield listener
        listener.shutdown()


def subscription(port, timeout_ms=25, types=("platform",)):
    buffering = {"timeoutMs": timeout_ms}
    destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}/"}
    body = {**VALID, "types": types, "buffering": buffering, "destination": destination}
    return json.dumps(body).encode()


def test_runtime_done_reaches_an_extension_that_holds_the_invocation_for_it(workshop):
    workshop.extension(WAITS_FOR_RUNTIME_DONE)
    environment = workshop.environment(timeout=8.0)
    invocation = environment.invoke({"a": 1})
    assert invocation.succeeded and invocation.held_ms > 0
    assert environment.invoke("x").succeeded
    assert environment.shutdown().clean
    assert said(environment.log, "extension toy") == [
        "subscribed 200 OK",
        "done success 8",
        "done success 3",
        "platform.initStart platform.telemetrySubscription platform.initRuntimeDone platform.extension "
        "platform.initReport platform.start platform.runtimeDone platform.report platform.start "
        "platform.runtimeDone platform.report",
    ]


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ("Runtime().next()\ntime.sleep(60)", {"status": "timeout"}),
        ("Runtime().next()\ntime.sleep(0.2)\nos._exit(1)", {"status": "error", "errorType": "Runtime.ExitError"}),
    ],
)
def test_runtime_done_tells_of_timeout_and_crash_before_the_shutdown(workshop, runtime, expected):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        listener = Listener()
        extension.subscribe(listener.server_port)
        request_id = extension.next()["requestId"]
        record = listener.await_event("platform.runtimeDone", request_id)["record"]
        del record["metrics"], record["requestId"]
        note(json.dumps(record))
        note(extension.next()["eventType"])
        """
    )
    environment = workshop.environment(runtime, timeout=1.0)
    invocation = environment.invoke({})
    record, event = said(invocation.log, "extension toy")
    assert json.loads(record) == expected and event == "SHUTDOWN"


def test_after_init_a_subscription_is_too_late(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        extension.next()
        status, _, body = extension.subscribe(1234)
        note(status, body["errorType"])
        extension.next()
        """
    )
    environment = workshop.environment()
    assert environment.invoke({}).succeeded
    assert said(environment.log, "extension toy") == ["403 Telemetry.SubscriptionClosed"]


def test_where_telemetry_is_not_supported_the_answer_is_202(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        status, _, body = extension.subscribe(1234)
        note(status, body["errorType"])
        while extension.next()["eventType"] != "SHUTDOWN":
            pass
        """
    )
    environment = workshop.environment(telemetry=False)
    assert environment.invoke({}).succeeded
    assert said(environment.log, "extension toy") == ["202 Telemetry.NotSupported"]


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": "2020-01-01"},
        {"types": []},
        {"types": "platform"},
        {"types": ["platform", "bogus"]},
        {"destination": {"protocol": "TCP", "port": 1}},
        {"destination": {"protocol": "HTTP", "URI": "http://127.0.0.1:8080/"}},
        {"destination": {"protocol": "HTTP", "URI": "https://sandbox.localdomain:8080/"}},
        {"destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:99999/"}},
        {"buffering": {"timeoutMs": 24}},
        {"buffering": {"timeoutMs": 30_001}},
        {"buffering": {"timeoutMs": "25"}},
        {"buffering": {"timeoutMs": True}},
        {"buffering": {"maxItems": 999}},
        {"buffering": {"maxBytes": 262_143}},
        {"buffering": 25},
    ],
)
def test_a_wrong_subscription_is_a_validation_error(change):
    with pytest.raises(Refusal) as refused:
        parse_subscription(json.dumps({**VALID, **change}).encode())
    assert (refused.value.status, refused.value.error_type) == (400, "ValidationError")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_subscription_that_is_no_json_object_is_a_validation_error(body):
    with pytest.raises(Refusal) as refused:
        parse_subscription(body)
    assert refused.value.status == 400


def test_a_subscription_has_the_defaults_of_the_reference():
    parsed = parse_subscription(json.dumps(VALID).encode())
    assert (parsed.port, parsed.path) == (8080, "/path")
    assert (parsed.max_items, parsed.max_bytes, parsed.timeout) == (10_000, 262_144, 1.0)


def test_events_of_other_types_are_not_delivered(listener):
    telemetry = Telemetry()
    telemetry.subscribe("toy", subscription(listener.server_port, types=["function"]))
    telemetry.emit("platform.start", {})
    telemetry.emit("extension", "words")
    telemetry.emit("function", "words")
    listener.await_event("function")
    assert listener.types() == ["function"]
    telemetry.clear()


def test_while_frozen_nothing_is_delivered_and_after_the_thaw_everything(listener):
    telemetry = Telemetry()
    telemetry.subscribe("toy", subscription(listener.server_port))
    listener.await_event("platform.telemetrySubscription")
    telemetry.pause()
    telemetry.emit("platform.report", {"requestId": "1"})
    with pytest.raises(AssertionError):
        listener.await_event("platform.report", timeout=0.3)
    telemetry.resume()
    listener.await_event("platform.report")
    telemetry.clear()


def test_a_full_buffer_is_delivered_before_its_time(listener):
    telemetry = Telemetry()
    telemetry.subscribe("toy", subscription(listener.server_port, timeout_ms=30_000, types=["function"]))
    for _ in range(3):
        telemetry.emit("function", "x" * 100_000)
    listener.await_event("function")
    assert len(listener.events) == 3
    telemetry.clear()


def test_a_delivery_that_is_refused_is_tried_again():
    telemetry = Telemetry()
    with Listener(refusals=2) as listener:
        telemetry.subscribe("toy", subscription(listener.server_port))
        listener.await_event("platform.telemetrySubscription")
        assert listener.refusals == 0
        telemetry.clear()
        listener.shutdown()
