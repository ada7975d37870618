import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmwire.lambda_api.lifecycle import (
    RESERVE,
    Event,
    Invocations,
    events_to_register,
    opens_ahead,
    read_event,
    seconds_to_hold,
)


class TestEvents:
    def test_an_invocation(self):
        document = {
            "eventType": "INVOKE", "deadlineMs": 1_676_051_031_250, "requestId": "3da1f2dc-3222-475e-9205-e2e6c6318895",
            "invokedFunctionArn": "arn:aws:lambda:…", "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
        }  # fmt: skip
        assert read_event(document) == Event(False, "3da1f2dc-3222-475e-9205-e2e6c6318895", 1_676_051_031.25, "")

    @pytest.mark.parametrize("reason", ["SPINDOWN", "spindown", "TIMEOUT", "failure"])
    def test_a_shutdown(self, reason):
        document = {"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": 2000}
        assert read_event(document) == Event(True, "", 2.0, reason.lower())

    @pytest.mark.parametrize("deadline", [None, "soon", [], {}])
    def test_what_is_missing_or_strange_is_empty(self, deadline):
        assert read_event({"eventType": "PONDER", "deadlineMs": deadline}) == Event(False, "", 0.0, "")
        assert read_event({}) == Event(False, "", 0.0, "")

    def test_what_to_register_for(self):
        assert events_to_register(managed_instance=False) == ["INVOKE", "SHUTDOWN"]
        assert events_to_register(managed_instance=True) == ["SHUTDOWN"]


@pytest.mark.parametrize(
    ("eager", "initialization", "opens"),
    [
        ("auto", "on-demand", True),
        ("auto", "provisioned-concurrency", False),
        ("auto", "snap-start", False),
        ("auto", "lambda-managed-instances", False),
        ("auto", "", False),
        ("on", "snap-start", True),
        ("on", "", True),
        ("off", "on-demand", False),
    ],
)
def test_an_upstream_is_opened_ahead_only_where_an_invocation_follows_at_once(eager, initialization, opens):
    assert opens_ahead(eager, initialization) is opens


@pytest.mark.parametrize(("deadline", "seconds"), [(103.0, 3.0 - RESERVE), (100.05, 0.0), (100.0, 0.0), (0.0, 0.0)])
def test_the_environment_is_held_until_shortly_before_the_deadline(deadline, seconds):
    assert seconds_to_hold(deadline, 100.0) == pytest.approx(seconds)


def done(request_id):
    return {"time": "2026-01-01T00:00:00.000Z", "type": "platform.runtimeDone", "record": {"requestId": request_id}}


KEYS = st.sampled_from(["type", "record", "requestId"])


class TestInvocations:
    def test_an_end_is_known_from_its_report_on_and_before_anybody_asks(self):
        invocations = Invocations()
        assert not invocations.has_ended("a")
        assert invocations.note([{"type": "platform.start", "record": {"requestId": "a"}}, done("a")])
        assert invocations.has_ended("a")
        assert not invocations.has_ended("b")

    def test_the_end_of_another_does_not_count(self):
        invocations = Invocations()
        invocations.note([done("old")])
        assert not invocations.has_ended("new")

    @pytest.mark.parametrize(
        "telemetry",
        [
            None, 7, "platform.runtimeDone", {}, [], [7, None, [], "x"],
            [{"type": "platform.report", "record": {"requestId": "a"}}],
            [{"type": "platform.runtimeDone"}], [{"type": "platform.runtimeDone", "record": "a"}],
            [{"type": "platform.runtimeDone", "record": {}}], [{"type": "platform.runtimeDone", "record": {"requestId": 7}}],
            {"type": "platform.runtimeDone", "record": {"requestId": "a"}},
        ],
    )  # fmt: skip
    def test_what_is_no_report_tells_of_no_end(self, telemetry):
        invocations = Invocations()
        assert invocations.note(telemetry) is False
        assert not invocations.has_ended("a")

    def test_only_the_last_ones_are_remembered(self):
        invocations = Invocations()
        for number in range(1000):
            invocations.note([done(str(number))])
        assert invocations.has_ended("999") and invocations.has_ended("990")
        assert not invocations.has_ended("0")
        assert sum(invocations.has_ended(str(number)) for number in range(1000)) <= 32

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.sampled_from(["platform.runtimeDone", "a"]),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
            max_leaves=12,
        )
    )
    def test_any_document_is_taken(self, document):
        invocations = Invocations()
        assert invocations.note(document) in (True, False)
