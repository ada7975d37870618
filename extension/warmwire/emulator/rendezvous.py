"""Where the API calls of the processes meet the phases of the environment.

One `Rendezvous` lives as long as one set of processes: a reset makes a new one. The threads of the HTTP server call the
upper half of its methods and block in the two ``next`` calls; the thread that drives the environment calls the lower
half and blocks in `await_that`. All state is under one condition variable. There is no I/O here.
"""

import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from warmwire.emulator.phases import (
    ExtensionCall,
    ExtensionState,
    NotAllowed,
    RuntimeCall,
    RuntimeState,
    extension_after,
    runtime_after,
)

MAX_EXTENSIONS = 10
"""Internal and external ones together (Lambda quota)."""


class Refusal(Exception):
    """An API call that is answered with an error: HTTP ``status``, AWS's ``error_type``, and words."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


class Ended(Exception):
    """The processes of this rendezvous are gone; whoever still waits for an event gets none."""


class Failure(Exception):
    """The environment cannot go on. ``error_type`` is AWS's word (``Extension.Crash``, ``Runtime.ExitError`` …)."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class DeadlinePassed(Exception):
    """What was awaited did not happen in time."""


@dataclasses.dataclass(frozen=True)
class Response:
    """What the caller of an invocation gets: the payload, and the error type if it is an error."""

    payload: bytes
    error_type: str | None = None


@dataclasses.dataclass
class Invoke:
    """One invocation as the processes see it.

    ``deadline_ms`` counts from the epoch; the instants are those of ``time.monotonic()``.
    """

    request_id: str
    payload: bytes
    deadline_ms: int
    function_arn: str
    trace_id: str
    dispatched_at: float = 0.0
    responded_at: float | None = None
    runtime_done_at: float | None = None
    extensions_done_at: float | None = None
    response: "Future[Response]" = dataclasses.field(default_factory=Future)


@dataclasses.dataclass(frozen=True)
class Shutdown:
    """The last event of an extension's life."""

    reason: str
    deadline_ms: int


@dataclasses.dataclass
class Extension:
    """One extension, external (a file of the layer) or internal (registered from inside the runtime)."""

    name: str
    external: bool
    identifier: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    state: ExtensionState = ExtensionState.STARTED
    events: tuple[str, ...] = ()
    pending: Invoke | Shutdown | None = None
    error_type: str | None = None


class Rendezvous:
    """Registrations, states and the events on their way, for one set of processes.

    ``names`` are the files in the layer's ``extensions`` folder: a caller with another name is an internal extension.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._changed = threading.Condition()
        self._by_name = {name: Extension(name, external=True) for name in names}
        self._runtime = RuntimeState.STARTED
        self._invoke: Invoke | None = None  # the runtime has it, or is about to get it
        self._unfinished: Invoke | None = None  # somebody, runtime or extension, still works on it
        self._registration_open = True
        self._first_error: str | None = None
        self._failure: Failure | None = None
        self._stopping = False
        self._ended = False
        self.init_error: Response | None = None

    # --- called for the extensions -------------------------------------------------------------------------------

    def register(self, name: str, events: list[str]) -> Extension:
        """Register an extension for ``INVOKE`` and/or ``SHUTDOWN`` or nothing.

        Raises:
            Refusal: 403 with ``Extension.InvalidEventType``, ``.InvalidExtensionState``, ``.RegistrationClosed`` or
                ``.TooManyExtensions``.
        """
        with self._changed:
            extension = self._by_name.get(name)
            external = extension is not None and extension.external
            for event in events:
                if event not in ("INVOKE", "SHUTDOWN"):
                    raise Refusal(403, "Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
                if event == "SHUTDOWN" and not external:
                    reason = "ShutdownEventNotSupportedForInternalExtension"
                    raise Refusal(403, "Extension.InvalidEventType", f"{event}: {reason}")
            if not external:
                if not self._registration_open:
                    raise Refusal(403, "Extension.RegistrationClosed", "Extension registration closed already")
                if extension is not None:
                    message = "Extension with this name already registered"
                    raise Refusal(403, "Extension.InvalidExtensionState", message)
                if len(self._by_name) >= MAX_EXTENSIONS:
                    message = f"Extension limit ({MAX_EXTENSIONS}) reached"
                    raise Refusal(403, "Extension.TooManyExtensions", message)
                extension = Extension(name, external=False)
            assert extension is not None
            self._move(extension, ExtensionCall.REGISTER)
            extension.events = tuple(dict.fromkeys(events))
            self._by_name[name] = extension
            self._changed.notify_all()
            return extension

    def extension_next(self, identifier: str) -> Invoke | Shutdown:
        """Block until there is an event for this extension.

        Raises:
            Refusal: 403, the extension is unknown or its state does not allow the call.
            Ended: The processes were stopped meanwhile.
        """
        with self._changed:
            extension = self.find(identifier)
            self._move(extension, ExtensionCall.NEXT)
            self._note_extensions_done()
            self._changed.notify_all()
            self._changed.wait_for(lambda: extension.pending is not None or self._ended)
            if extension.pending is None:
                raise Ended
            # Two waiting callers cannot be: the second was refused, because READY does not allow NEXT.
            event, extension.pending = extension.pending, None
            self._move(extension, ExtensionCall.DELIVERY)
            self._changed.notify_all()
            return event

    def extension_error(self, identifier: str, call: ExtensionCall, error_type: str) -> None:
        """Take an ``init/error`` or ``exit/error``. The process is expected to exit next; until it does, nothing fails.

        Raises:
            Refusal: 403, the extension is unknown or its state does not allow the call.
        """
        with self._changed:
            extension = self.find(identifier)
            self._move(extension, call)
            extension.error_type = extension.error_type or error_type
            kind = "Extension.InitError" if call is ExtensionCall.INIT_ERROR else "Extension.ExitError"
            self._first_error = self._first_error or kind
            self._changed.notify_all()

    def find(self, identifier: str) -> Extension:
        """The extension that ``register`` gave this identifier.

        Raises:
            Refusal: 403 ``Extension.UnknownExtensionIdentifier``.
        """
        with self._changed:
            for extension in self._by_name.values():
                if extension.identifier == identifier and extension.state is not ExtensionState.STARTED:
                    return extension
        raise Refusal(403, "Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")

    # --- called for the runtime ----------------------------------------------------------------------------------

    def runtime_next(self) -> Invoke:
        """Block until there is an invocation.

        Raises:
            Refusal: 403, the runtime's state does not allow the call.
            Ended: The processes were stopped meanwhile.
        """
        with self._changed:
            before = self._runtime
            self._move_runtime(RuntimeCall.NEXT)
            if before is RuntimeState.RESPONDED and self._invoke is not None:
                self._invoke.runtime_done_at = time.monotonic()
                self._invoke = None
                self._note_extensions_done()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._invoke is not None or self._ended)
            if self._invoke is None:
                raise Ended
            if self._runtime is RuntimeState.READY:
                self._move_runtime(RuntimeCall.DELIVERY)
            return self._invoke

    def respond(self, request_id: str, call: RuntimeCall, response: Response) -> None:
        """Hand the runtime's answer to the caller at once; extensions may go on working.

        Raises:
            Refusal: 400 ``InvalidRequestID``, or 403, the runtime's state does not allow the call.
        """
        with self._changed:
            if self._invoke is None or self._invoke.request_id != request_id:
                raise Refusal(400, "InvalidRequestID", "Invalid request ID")
            self._move_runtime(call)
            self.answer(self._invoke, response)
            self._changed.notify_all()

    def runtime_init_error(self, response: Response) -> None:
        """Keep what the runtime says about its failed start; it is expected to exit next.

        Raises:
            Refusal: 403, the runtime's state does not allow the call.
        """
        with self._changed:
            self._move_runtime(RuntimeCall.INIT_ERROR)
            self.init_error = response
            self._first_error = self._first_error or response.error_type
            self._changed.notify_all()

    # --- called for the environment ------------------------------------------------------------------------------

    def extensions(self) -> list[Extension]:
        """All known extensions, registered or not."""
        with self._changed:
            return list(self._by_name.values())

    def await_that(self, condition: Callable[[], bool], deadline: float) -> None:
        """Block until ``condition`` holds.

        Raises:
            Failure: A process ended that should not have; wins over the condition, as it does at AWS.
            DeadlinePassed: ``time.monotonic()`` reached ``deadline``.
        """
        with self._changed:
            while self._failure is not None or not condition():
                if self._failure is not None:
                    raise self._failure
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise DeadlinePassed
                self._changed.wait(remaining)

    def all_registered(self) -> bool:
        """Whether every external extension has registered."""
        return all(e.state is not ExtensionState.STARTED for e in self._by_name.values())

    def runtime_ready(self) -> bool:
        """Whether the runtime waits for an invocation."""
        return self._runtime is RuntimeState.READY and self._invoke is None

    def extensions_ready(self, event: str | None = None) -> bool:
        """Whether every extension, or every one subscribed to ``event``, waits for an event."""
        chosen = [e for e in self._by_name.values() if event is None or event in e.events]
        return all(e.state is ExtensionState.READY and e.pending is None for e in chosen)

    def close_registration(self) -> None:
        """Refuse internal extensions from now on."""
        with self._changed:
            self._registration_open = False

    def dispatch(self, invoke: Invoke) -> None:
        """Release the extensions that subscribed to INVOKE, then the runtime."""
        with self._changed:
            invoke.dispatched_at = time.monotonic()
            for extension in self._by_name.values():
                if "INVOKE" in extension.events:
                    extension.pending = invoke
            self._invoke = self._unfinished = invoke
            self._changed.notify_all()

    def answer(self, invoke: Invoke, response: Response) -> None:
        """Give the caller its answer, unless it has one."""
        with self._changed:
            if not invoke.response.done():
                invoke.responded_at = time.monotonic()
                invoke.response.set_result(response)

    def not_launched(self, name: str, reason: str) -> None:
        """Note that an extension's file could not be executed."""
        with self._changed:
            extension = self._by_name[name]
            self._move(extension, ExtensionCall.LAUNCH_ERROR)
            extension.error_type = reason

    def exited(self, name: str | None, status: str) -> None:
        """Note the end of an extension's process, or of the runtime's (``name`` is None). ``status``: in words."""
        with self._changed:
            if self._stopping or self._failure is not None:
                return
            if name is None:
                clean = status == "exit status 0"
                words = "Runtime exited without providing a reason" if clean else f"Runtime exited with error: {status}"
                self._failure = Failure(self._first_error or "Runtime.ExitError", words)
            else:
                self._failure = Failure(self._first_error or "Extension.Crash", status)
            self._changed.notify_all()

    def begin_stopping(self) -> None:
        """From now on an exit is expected."""
        with self._changed:
            self._stopping = True

    def shut_down(self, extension: Extension, event: Shutdown) -> None:
        """Make SHUTDOWN the answer to this extension's present or next call of ``next``."""
        with self._changed:
            extension.pending = event
            self._changed.notify_all()

    def end(self) -> None:
        """Send everyone away who still waits for an event."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # --- inner ---------------------------------------------------------------------------------------------------

    def _note_extensions_done(self) -> None:
        invoke = self._unfinished
        if invoke is not None and invoke.runtime_done_at is not None and self.extensions_ready("INVOKE"):
            invoke.extensions_done_at = time.monotonic()
            self._unfinished = None

    def _move(self, extension: Extension, call: ExtensionCall) -> None:
        try:
            extension.state = extension_after(extension.state, call)
        except NotAllowed as error:
            raise Refusal(403, "Extension.InvalidExtensionState", f"{error} {extension.identifier}") from None

    def _move_runtime(self, call: RuntimeCall) -> None:
        try:
            self._runtime = runtime_after(self._runtime, call)
        except NotAllowed as error:
            raise Refusal(403, "InvalidStateTransition", str(error)) from None
