"""What to do when in a Lambda environment's life. Pure.

Source: AWS Lambda Developer Guide, "Lambda execution environment lifecycle", "Extensions API" and "Telemetry API".
"""

from typing import Any, NamedTuple

RESERVE = 0.1
"""Seconds before an invocation's deadline at which the extension stops holding the environment: whoever is late is killed."""
_REMEMBERED = 16


class Event(NamedTuple):
    """An answer to /event/next."""

    is_shutdown: bool
    request_id: str
    deadline: float
    """Wall-clock seconds since the epoch."""
    reason: str
    """Why the environment shuts down, in lower case; empty for an invocation."""


def read_event(document: dict[str, Any]) -> Event:
    """Take from an event what is needed; whatever is missing is empty, and an unknown event is an invocation."""
    deadline = document.get("deadlineMs")
    return Event(
        document.get("eventType") == "SHUTDOWN",
        str(document.get("requestId", "")),
        deadline / 1000 if isinstance(deadline, (int, float)) else 0.0,
        str(document.get("shutdownReason", "")).lower(),
    )


def events_to_register(*, managed_instance: bool) -> list[str]:
    """Managed instances run invocations concurrently and refuse INVOKE."""
    return ["SHUTDOWN"] if managed_instance else ["INVOKE", "SHUTDOWN"]


def opens_ahead(eager: str, initialization_type: str) -> bool:
    """Whether to open the first upstream during Init.

    ``auto`` does so only where an invocation follows at once: a connection from a snapshot, or from an environment
    provisioned hours ahead, would be dead before its first use.
    """
    return eager == "on" or (eager == "auto" and initialization_type == "on-demand")


def seconds_to_hold(deadline: float, now: float) -> float:
    """How long to wait for the end of an invocation, given its deadline and the present wall-clock time."""
    return max(0.0, deadline - now - RESERVE)


class Invocations:
    """Remembers which invocations have ended.

    The report of an end may come before the extension has seen the invocation begin, and reports of old ones may come
    after a thaw, so ends are kept by request id.
    """

    def __init__(self) -> None:
        self._ended: dict[str, None] = {}

    def note(self, telemetry: object) -> bool:
        """Take note of what one POST of the Telemetry API holds; whether it told of any end."""
        found = False
        for event in telemetry if isinstance(telemetry, list) else []:
            if isinstance(event, dict) and event.get("type") == "platform.runtimeDone":
                record = event.get("record")
                if isinstance(record, dict) and isinstance(record.get("requestId"), str):
                    self._ended[record["requestId"]] = None
                    found = True
        while len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return found

    def has_ended(self, request_id: str) -> bool:
        """Whether this invocation's runtime is done."""
        return request_id in self._ended
