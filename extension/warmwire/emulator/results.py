"""What an environment tells about itself: values only, safe to keep and to compare."""

import dataclasses
import json
from typing import Any

from warmwire.emulator.rendezvous import Response


@dataclasses.dataclass(frozen=True)
class LogLine:
    """One line of the log group. ``source`` is ``platform``, ``function`` or ``extension NAME``; ``time`` is UTC."""

    time: str
    source: str
    text: str


@dataclasses.dataclass(frozen=True)
class InitReport:
    """How Init went. ``phase`` is ``init``, or ``invoke`` if it had to be made up for inside an invocation.

    ``status`` is ``success``, ``error`` or ``timeout``.
    """

    phase: str
    status: str
    duration_ms: float
    error_type: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the environment is ready for invocations."""
        return self.status == "success"


@dataclasses.dataclass(frozen=True)
class ProcessEnd:
    """How one process ended during a shutdown. ``duration_ms`` counts from the shutdown's start.

    ``status`` is AWS's wording (``exit status 0``, ``signal: terminated``); ``killed``: it took SIGKILL.
    """

    name: str
    status: str
    duration_ms: float
    killed: bool


@dataclasses.dataclass(frozen=True)
class ShutdownReport:
    """How the processes of an environment went away, and why."""

    reason: str
    duration_ms: float
    processes: tuple[ProcessEnd, ...]

    @property
    def clean(self) -> bool:
        """Whether no extension had to be killed and all of them exited with 0."""
        return all(end.status == "exit status 0" for end in self.processes if end.name.startswith("extension "))


@dataclasses.dataclass(frozen=True)
class Invocation:
    """One invocation, complete: the response, the status and its figures in milliseconds.

    ``status``: ``success``, ``error`` (the handler raised), ``timeout``, or ``failure`` (a process ended, Init failed).
    ``response_ms``: from the dispatch to the caller's answer. ``runtime_done_ms``: to the runtime's next call of
    ``next``, None if it never came. ``held_ms``: from there until the last extension had called ``next``.
    ``duration_ms``: to the end of everything, and ``billed_ms`` that, with Init, rounded up. ``frozen_s``: seconds that
    the environment had been frozen before.
    """

    request_id: str
    status: str
    response: Response
    response_ms: float
    runtime_done_ms: float | None
    held_ms: float
    duration_ms: float
    billed_ms: int
    frozen_s: float
    init: InitReport | None
    shutdown: ShutdownReport | None
    log: tuple[LogLine, ...]

    @property
    def succeeded(self) -> bool:
        """Whether the function returned and the invocation ended as it should."""
        return self.status == "success"

    def json(self) -> Any:
        """The response's payload, decoded.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.response.payload)
