"""The answers of the three APIs, asked from outside of any process of the environment."""

import json
import os
import signal
import threading
import uuid

import pytest

from tests.component.emulator.toy import Extension, call
from tests.component.emulator.workshop import said, until

REGISTER = "/2020-01-01/extension/register"
NEXT = "/2020-01-01/extension/event/next"


@pytest.fixture
def during_init(workshop):
    """The address of an environment whose Init waits for the extension ``toy``, which has not registered."""
    workshop.extension("time.sleep(60)")
    environment = workshop.environment(init_timeout=20.0)
    init = threading.Thread(target=environment.init)
    init.start()
    until(lambda: "extension toy" in environment.processes)
    yield environment.address
    os.kill(environment.processes["extension toy"], signal.SIGKILL)
    init.join()


def answer(reply):
    status, _, body = reply
    return status, body["errorType"]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, {"events": []}, (403, "Extension.InvalidExtensionName")),
        ({"Lambda-Extension-Name": "toy"}, b"{", (403, "InvalidRequestFormat")),
        ({"Lambda-Extension-Name": "toy"}, b"[]", (403, "InvalidRequestFormat")),
        ({"Lambda-Extension-Name": "toy"}, {"events": [1]}, (403, "InvalidRequestFormat")),
        ({"Lambda-Extension-Name": "toy"}, {"events": [], "configurationKeys": ["a"]}, (403, "InvalidRequestFormat")),
        ({"Lambda-Extension-Name": "toy"}, {"events": ["BOGUS"]}, (403, "Extension.InvalidEventType")),
        ({"Lambda-Extension-Name": "inner"}, {"events": ["SHUTDOWN"]}, (403, "Extension.InvalidEventType")),
    ],
)
def test_a_wrong_registration_is_refused(during_init, headers, body, expected):
    assert answer(call("POST", REGISTER, body, headers, during_init)) == expected


def test_a_registration_tells_about_the_function_and_cannot_be_repeated(during_init):
    extension = Extension("INVOKE", name="toy", api=during_init)
    assert extension.registration == {"functionName": "function", "functionVersion": "$LATEST", "handler": ""}
    again = call("POST", REGISTER, {"events": []}, {"Lambda-Extension-Name": "toy"}, during_init)
    assert answer(again) == (403, "Extension.InvalidExtensionState")


def test_the_account_is_told_to_who_asks_for_it(during_init):
    extension = Extension(name="toy", api=during_init, headers={"Lambda-Extension-Accept-Feature": "other, accountId"})
    assert extension.registration["accountId"] == "123456789012"


@pytest.mark.parametrize(
    ("identifier", "error"),
    [
        (None, "Extension.MissingExtensionIdentifier"),
        ("no-uuid", "Extension.InvalidExtensionIdentifier"),
        (str(uuid.uuid4()), "Extension.UnknownExtensionIdentifier"),
    ],
)
def test_next_and_subscriptions_need_the_identifier_of_an_extension(during_init, identifier, error):
    headers = {} if identifier is None else {"Lambda-Extension-Identifier": identifier}
    assert answer(call("GET", NEXT, None, headers, during_init)) == (403, error)
    assert answer(call("PUT", "/2022-07-01/telemetry", {}, headers, during_init)) == (403, error)


def test_errors_must_name_their_type_and_are_final(during_init):
    extension = Extension("INVOKE", name="toy", api=during_init)
    assert answer(extension.call("/init/error", {}, extension.own)) == (403, "Extension.MissingHeader")
    assert extension.error("init", "Extension.One") == 202
    assert extension.error("init", "Extension.Two") == 202
    assert extension.error("exit", "Extension.Three") == 403
    assert answer(extension.call("/event/next", None, extension.own, "GET")) == (403, "Extension.InvalidExtensionState")


def test_the_runtime_cannot_respond_before_it_was_asked(during_init):
    reply = call("POST", f"/2018-06-01/runtime/invocation/{uuid.uuid4()}/response", {}, {}, during_init)
    assert answer(reply) == (400, "InvalidRequestID")


def test_an_unknown_path_is_not_found(during_init):
    assert call("GET", "/2018-06-01/runtime/nowhere", None, {}, during_init)[0] == 404


def test_after_init_no_internal_extension_can_register(workshop):
    environment = workshop.environment()
    environment.init()
    reply = call("POST", REGISTER, {"events": []}, {"Lambda-Extension-Name": "late"}, environment.address)
    assert answer(reply) == (403, "Extension.RegistrationClosed")


def test_an_internal_extension_gets_its_invocations(workshop):
    environment = workshop.environment(
        """
        def listen():
            inner = Extension("INVOKE", name="inner")
            while True:
                note("inner got", inner.next()["eventType"])
        threading.Thread(target=listen, daemon=True).start()
        time.sleep(0.2)
        Runtime().serve()
        """
    )
    invocation = environment.invoke({})
    assert invocation.succeeded
    assert "inner got INVOKE" in said(environment.log, "function")


def test_a_second_next_is_refused_and_the_first_one_survives(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        def again():
            time.sleep(0.2)
            status, _, body = extension.call("/event/next", None, extension.own, "GET")
            note("second", status, body["errorType"], body["errorMessage"])
        threading.Thread(target=again).start()
        while (event := extension.next())["eventType"] != "SHUTDOWN":
            note("first got", event["eventType"])
        """
    )
    environment = workshop.environment("time.sleep(0.4)\nRuntime().serve()")
    assert environment.invoke({}).succeeded
    lines = said(environment.log, "extension toy")
    assert any(
        line.startswith("second 403 Extension.InvalidExtensionState State transition from Ready to Ready failed")
        for line in lines
    )
    assert "first got INVOKE" in lines


def test_an_abandoned_next_loses_the_invocation_and_the_shutdown(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        impatient = http.client.HTTPConnection(API, timeout=0.1)
        impatient.request("GET", "/2020-01-01/extension/event/next", headers=extension.own)
        try:
            impatient.getresponse()
        except TimeoutError:
            impatient.close()
        for _ in range(2):
            status, _, body = extension.call("/event/next", None, extension.own, "GET")
            note("again", status, body["errorType"])
        time.sleep(60)
        """
    )
    environment = workshop.environment(timeout=0.4)
    environment.init()
    until(lambda: said(environment.log, "extension toy") == ["again 403 Extension.InvalidExtensionState"] * 2)
    invocation = environment.invoke({})
    assert invocation.status == "timeout"
    toy = invocation.shutdown.processes[-1]
    assert (toy.name, toy.killed) == ("extension toy", True)


def test_a_response_over_six_megabytes_is_refused_and_the_caller_told(workshop):
    environment = workshop.environment(
        """
        runtime = Runtime()
        runtime.next()
        status, _, body = runtime.respond(b"x" * (6 * 1024 * 1024 + 101))
        note(status, body["errorType"])
        runtime.serve()
        """
    )
    invocation = environment.invoke({})
    assert invocation.response.error_type == "Function.ResponseSizeTooLarge"
    assert "413 RequestEntityTooLarge" in said(environment.log, "function")


def test_a_chunked_response_arrives_whole(workshop):
    environment = workshop.environment(
        """
        runtime = Runtime()
        runtime.next()
        connection = http.client.HTTPConnection(API)
        path = f"/2018-06-01/runtime/invocation/{runtime.request_id}/response"
        connection.request("POST", path, iter([b'"one ', b'two"']), encode_chunked=True)
        note(connection.getresponse().status)
        runtime.serve()
        """
    )
    assert environment.invoke({}).json() == "one two"


def test_the_event_tells_extension_and_runtime_the_same(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        while (event := extension.next())["eventType"] != "SHUTDOWN":
            note(json.dumps(event))
        """
    )
    environment = workshop.environment(
        """
        runtime = Runtime()
        runtime.next()
        names = ("Aws-Request-Id", "Deadline-Ms", "Invoked-Function-Arn", "Trace-Id")
        runtime.respond([runtime.headers[f"Lambda-Runtime-{name}"] for name in names])
        runtime.serve()
        """
    )
    invocation = environment.invoke({})
    event = json.loads(said(environment.log, "extension toy")[0])
    assert event["tracing"]["type"] == "X-Amzn-Trace-Id"
    seen = [event["requestId"], str(event["deadlineMs"]), event["invokedFunctionArn"], event["tracing"]["value"]]
    assert invocation.json() == seen and seen[0] == invocation.request_id
