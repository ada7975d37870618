"""The Telemetry API: subscriptions, and delivery of platform events in batches by HTTP POST.

Delivery runs on a thread of its own per subscriber and is late by the buffering that the subscriber asked for, as in
Lambda. In a frozen environment nothing is delivered: what was buffered arrives after the thaw.
"""

import contextlib
import dataclasses
import datetime
import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

from warmwire.emulator.rendezvous import Refusal

SCHEMA_VERSIONS = ("2022-07-01", "2022-12-13", "2025-01-29")
EVENT_TYPES = ("platform", "function", "extension")
DESTINATION_HOSTS = ("sandbox.localdomain", "sandbox")
BUFFERING = {
    # name: (smallest, largest, default), from the Telemetry API reference
    "maxItems": (1_000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1_000),
}
DELIVERY_TIMEOUT = 2.0
DELIVERY_PAUSES = (0.05, 0.1, 0.2)
"""Seconds before each further attempt; then the batch is dropped."""


@dataclasses.dataclass(frozen=True)
class Subscription:
    """What an extension asked for. ``timeout`` is in seconds."""

    types: frozenset[str]
    port: int
    path: str
    max_items: int
    max_bytes: int
    timeout: float


def parse_subscription(body: bytes) -> Subscription:
    """Read the body of a subscription request.

    Raises:
        Refusal: 400 ``ValidationError``, with the reason.
    """
    try:
        request = json.loads(body)
        if not isinstance(request, dict):
            raise ValueError("the body must be an object")
        if request.get("schemaVersion") not in SCHEMA_VERSIONS:
            raise ValueError(f"schemaVersion must be one of {', '.join(SCHEMA_VERSIONS)}")
        types = request.get("types")
        if not isinstance(types, list) or not types or not all(kind in EVENT_TYPES for kind in types):
            raise ValueError(f"types must be a list of {', '.join(EVENT_TYPES)}")
        destination = request.get("destination")
        if not isinstance(destination, dict) or destination.get("protocol") != "HTTP":
            raise ValueError("destination.protocol must be HTTP")
        uri = urllib.parse.urlsplit(str(destination.get("URI")))
        if uri.scheme != "http" or uri.hostname not in DESTINATION_HOSTS:
            raise ValueError("destination.URI must be http://sandbox.localdomain:PORT/")
        buffering = request.get("buffering", {})
        if not isinstance(buffering, dict):
            raise ValueError("buffering must be an object")
        limits = {}
        for name, (smallest, largest, default) in BUFFERING.items():
            limits[name] = buffering.get(name, default)
            if type(limits[name]) is not int or not smallest <= limits[name] <= largest:
                raise ValueError(f"buffering.{name} must be an integer from {smallest} to {largest}")
        return Subscription(
            types=frozenset(types),
            port=uri.port or 80,
            path=uri.path or "/",
            max_items=limits["maxItems"],
            max_bytes=limits["maxBytes"],
            timeout=limits["timeoutMs"] / 1000,
        )
    except ValueError as error:
        raise Refusal(400, "ValidationError", str(error)) from None


class Subscriber:
    """The buffer of one extension and the thread that empties it."""

    def __init__(self, name: str, subscription: Subscription) -> None:
        self.name = name
        self._subscription = subscription
        self._changed = threading.Condition()
        self._buffer: list[dict[str, Any]] = []
        self._bytes = 0
        self._due: float | None = None
        self._busy = False
        self._paused = False
        self._closed = False
        threading.Thread(target=self._deliver, name=f"telemetry to {name}", daemon=True).start()

    def add(self, event: dict[str, Any]) -> None:
        """Buffer an event if its type was asked for."""
        if event["type"].partition(".")[0] not in self._subscription.types:
            return
        with self._changed:
            if self._due is None:
                self._due = time.monotonic() + self._subscription.timeout
            self._buffer.append(event)
            self._bytes += len(json.dumps(event))
            if len(self._buffer) >= self._subscription.max_items or self._bytes >= self._subscription.max_bytes:
                self._due = 0.0
            self._changed.notify_all()

    def pause(self) -> None:
        """Start no delivery from now on; wait for the one under way, but not for long."""
        with self._changed:
            self._paused = True
            self._changed.wait_for(lambda: not self._busy, DELIVERY_TIMEOUT)

    def resume(self) -> None:
        """Deliver again."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what is buffered and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (self._paused or self._due is None or self._due > time.monotonic()):
                    waits_for_due = not self._paused and self._due is not None
                    self._changed.wait(self._due - time.monotonic() if waits_for_due and self._due else None)
                if self._closed:
                    return
                batch, self._buffer, self._bytes, self._due = self._buffer, [], 0, None
                self._busy = True
            try:
                self._post(json.dumps(batch).encode())
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _post(self, body: bytes) -> None:
        for pause in (*DELIVERY_PAUSES, None):
            connection = http.client.HTTPConnection("127.0.0.1", self._subscription.port, timeout=DELIVERY_TIMEOUT)
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("POST", self._subscription.path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                if response.status < 400:
                    return
            if pause is None or self._closed:
                return
            time.sleep(pause)


class Telemetry:
    """All subscribers of one environment, and the events of the present set of processes."""

    def __init__(self, *, supported: bool = True) -> None:
        self.supported = supported
        self._lock = threading.Lock()
        self._subscribers: dict[str, Subscriber] = {}
        self._events: list[dict[str, Any]] = []
        self._open = True

    def subscribe(self, name: str, body: bytes) -> None:
        """Subscribe the extension ``name``; it also gets what happened since Init began. Again replaces.

        Raises:
            Refusal: 202 ``Telemetry.NotSupported`` (as AWS's emulator answers), 400 ``ValidationError``, 403
                ``Telemetry.SubscriptionClosed`` after Init.
        """
        if not self.supported:
            raise Refusal(202, "Telemetry.NotSupported", "Telemetry API is not supported")
        with self._lock:
            if not self._open:
                raise Refusal(403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed")
            subscription = parse_subscription(body)
            replaced = self._subscribers.pop(name, None)
            if replaced is not None:
                replaced.close()
            subscriber = self._subscribers[name] = Subscriber(name, subscription)
            for event in self._events:
                subscriber.add(event)
        types = sorted(subscription.types)
        self.emit("platform.telemetrySubscription", {"name": name, "state": "Subscribed", "types": types})

    def close_subscriptions(self) -> None:
        """Init is over: nobody can subscribe any more, and nothing need be kept for those who might."""
        with self._lock:
            self._open = False
            self._events.clear()

    def emit(self, kind: str, record: Any) -> None:
        """Send an event of type ``kind`` (``platform.start``, ``function`` …) to all who asked for such."""
        event = {"time": timestamp(), "type": kind, "record": record}
        with self._lock:
            if self._open:
                self._events.append(event)
            for subscriber in self._subscribers.values():
                subscriber.add(event)

    def clear(self) -> None:
        """Forget everybody: the processes are gone. The next Init opens the subscriptions again."""
        with self._lock:
            for subscriber in self._subscribers.values():
                subscriber.close()
            self._subscribers.clear()
            self._events.clear()
            self._open = True

    def pause(self) -> None:
        """The environment freezes."""
        for subscriber in self._everybody():
            subscriber.pause()

    def resume(self) -> None:
        """The environment thaws."""
        for subscriber in self._everybody():
            subscriber.resume()

    def _everybody(self) -> Iterator[Subscriber]:
        with self._lock:
            yield from list(self._subscribers.values())


def timestamp() -> str:
    """The present moment as telemetry and logs print it: UTC, milliseconds, ``Z``."""
    now = datetime.datetime.now(datetime.UTC)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
