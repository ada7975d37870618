import os

import pytest

from tests.component.emulator.workshop import PLAIN, said, until
from warmwire.emulator.environment import NotIdle

TELLS = """
extension = Extension("INVOKE", "SHUTDOWN")
while (event := extension.next())["eventType"] != "SHUTDOWN":
    note("invoked")
note("shutdown", event["shutdownReason"], event["deadlineMs"] > time.time() * 1000)
"""
MOODY = """
note("runtime", os.getpid())
runtime = Runtime()
while True:
    mood = runtime.next()
    if mood == "exit":
        os._exit(3)
    if mood == "leave":
        os._exit(0)
    if mood == "hang":
        time.sleep(60)
    runtime.respond(mood)
"""


def test_the_caller_has_the_response_while_an_extension_still_works(workshop, tmp_path):
    go = tmp_path / "go"
    workshop.extension(
        f"""
        extension = Extension("INVOKE", "SHUTDOWN")
        while extension.next()["eventType"] != "SHUTDOWN":
            while not os.path.exists({str(go)!r}):
                time.sleep(0.01)
        """
    )
    environment = workshop.environment(timeout=10.0)
    pending = environment.begin({"a": 1})
    assert pending.response(5.0).payload == b'{"a": 1}'
    assert not pending.end.done()
    with pytest.raises(NotIdle):
        environment.begin({})
    with pytest.raises(NotIdle):
        environment.freeze()
    go.touch()
    invocation = pending.result(5.0)
    assert invocation.succeeded
    assert invocation.response_ms <= invocation.runtime_done_ms < invocation.duration_ms <= invocation.billed_ms
    assert 0 < invocation.held_ms <= invocation.duration_ms - invocation.runtime_done_ms


def test_the_invocation_lasts_until_the_runtime_asks_for_the_next_one(workshop, tmp_path):
    go = tmp_path / "go"
    environment = workshop.environment(
        f"""
        runtime = Runtime()
        while True:
            runtime.respond(runtime.next())
            while not os.path.exists({str(go)!r}):
                time.sleep(0.01)
        """
    )
    pending = environment.begin({})
    pending.response(5.0)
    assert not pending.end.done()
    go.touch()
    assert pending.result(5.0).succeeded


def test_a_handler_that_raises_is_an_error_and_the_environment_lives_on(workshop):
    workshop.extension(TELLS)
    environment = workshop.environment(
        handler="""
        import os
        def handler(event, context):
            if event:
                raise ValueError(event)
            return os.getpid()
        """
    )
    pid = environment.invoke("").json()
    invocation = environment.invoke("no")
    assert invocation.status == "error" and invocation.shutdown is None
    assert (invocation.json()["errorType"], invocation.json()["errorMessage"]) == ("ValueError", "no")
    assert environment.invoke("").json() == pid


@pytest.mark.parametrize(
    ("mood", "timeout", "status", "error_type", "words", "reason"),
    [
        ("exit", 30.0, "failure", "Runtime.ExitError", "Runtime exited with error: exit status 3", "failure"),
        ("leave", 30.0, "failure", "Runtime.ExitError", "Runtime exited without providing a reason", "failure"),
        ("hang", 2.5, "timeout", "Sandbox.Timedout", "Task timed out after 2.50 seconds", "timeout"),
    ],
)
def test_a_broken_invocation_resets_the_environment(workshop, mood, timeout, status, error_type, words, reason):
    workshop.extension(TELLS)
    environment = workshop.environment(MOODY, timeout=timeout)
    environment.init()
    before = dict(environment.processes)
    invocation = environment.invoke(mood)
    assert invocation.status == status
    assert invocation.response.error_type == invocation.json()["errorType"] == error_type
    assert invocation.json()["errorMessage"] == f"RequestId: {invocation.request_id} Error: {words}"
    assert invocation.runtime_done_ms is None
    assert (invocation.shutdown.reason, invocation.shutdown.clean) == (reason, True)
    assert f"shutdown {reason} True" in said(invocation.log, "extension toy")
    assert environment.processes == {}
    again = environment.invoke("fine")
    assert again.succeeded and again.json() == "fine" and again.init.phase == "invoke"
    assert not set(before.values()) & set(environment.processes.values())


def test_an_extension_that_crashes_fails_the_invocation_and_gets_no_shutdown(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        note("event", extension.next()["eventType"])
        sys.exit(1)
        """,
        "crashes",
    )
    workshop.extension(TELLS, "tells")
    environment = workshop.environment(MOODY)
    invocation = environment.invoke("hang")
    assert invocation.status == "failure"
    assert invocation.json() == {
        "errorType": "Extension.Crash",
        "errorMessage": f"RequestId: {invocation.request_id} Error: exit status 1",
    }
    assert said(invocation.log, "extension crashes") == ["event INVOKE"]
    assert "shutdown failure True" in said(invocation.log, "extension tells")


def test_an_exit_error_is_the_reason_that_the_caller_is_told(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        extension.next()
        extension.error("exit", "Extension.Lost")
        sys.exit(1)
        """
    )
    environment = workshop.environment(MOODY)
    assert environment.invoke("hang").response.error_type == "Extension.ExitError"


def test_an_extension_that_leaves_between_invocations_fails_the_next_one_only(workshop, tmp_path):
    left = tmp_path / "left"
    workshop.extension(
        f"""
        if not os.path.exists({str(left)!r}):
            def leave():
                time.sleep(0.3)
                open({str(left)!r}, "w").close()
                os._exit(0)
            threading.Thread(target=leave, daemon=True).start()
        """
        + PLAIN.replace("\n", "\n        ")
    )
    environment = workshop.environment()
    environment.init()
    until(left.exists)
    until(lambda: not os.path.exists(f"/proc/{environment.processes['extension toy']}"))
    assert environment.invoke({}).response.error_type == "Extension.Crash"
    assert environment.invoke({}).succeeded


def test_an_extension_that_overruns_the_deadline_costs_the_environment_but_not_the_response(workshop):
    workshop.extension(
        """
        extension = Extension("INVOKE", "SHUTDOWN")
        extension.next()
        time.sleep(1.3)
        note("then", extension.next()["shutdownReason"])
        """
    )
    environment = workshop.environment(timeout=1.0)
    invocation = environment.invoke({"a": 1})
    assert invocation.json() == {"a": 1} and invocation.response.error_type is None
    assert invocation.status == "timeout" and invocation.shutdown.clean
    assert invocation.held_ms > 0 and invocation.runtime_done_ms is not None
    assert "then timeout" in said(invocation.log, "extension toy")


def test_an_extension_without_invoke_does_not_hold_the_invocation(workshop):
    workshop.extension('extension = Extension("SHUTDOWN")\nnote(extension.next()["eventType"])')
    environment = workshop.environment()
    assert environment.invoke({}).succeeded
    assert environment.shutdown().clean
    assert said(environment.log, "extension toy") == ["SHUTDOWN"]


def test_the_log_of_an_invocation_has_what_was_printed_during_it(workshop):
    environment = workshop.environment(
        """
        runtime = Runtime()
        while True:
            word = runtime.next()
            note(word)
            print(word, "to stderr", file=sys.stderr)
            runtime.respond(word)
        """
    )
    for word in ("one", "two", "three"):
        lines = said(environment.invoke(word).log)
        assert lines[-4:-2] == [word, f"{word} to stderr"]
        assert lines[-1].startswith("REPORT RequestId: ")
