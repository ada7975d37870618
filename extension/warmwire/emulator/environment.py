"""One execution environment: Init, Invoke, freeze and thaw, Shutdown, in Lambda's order and with its deadlines.

Theory of operation. A thread walks through a phase: it starts processes, releases events, and waits on the `Rendezvous`
for what the processes then call. Whatever goes wrong there, a process that ends or a deadline that passes, ends the
phase with an exception; the environment is then *reset*: all processes go through a shutdown, and the next invocation
begins with an Init of its own, which counts against the function's timeout.
"""

import json
import math
import threading
import time
import types
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from warmwire.emulator.api import Api, error_body
from warmwire.emulator.journal import TIMED_OUT, Journal
from warmwire.emulator.layers import extension_files
from warmwire.emulator.processes import ProcessGroup
from warmwire.emulator.rendezvous import MAX_EXTENSIONS, DeadlinePassed, Failure, Invoke, Rendezvous, Response
from warmwire.emulator.results import InitReport, Invocation, LogLine, ShutdownReport
from warmwire.emulator.shutdown import stop
from warmwire.emulator.telemetry import Telemetry
from warmwire.emulator.variables import Function, for_extension, for_runtime

INIT_TIMEOUT = 10.0
"""Seconds for Init before the first invocation (Lambda quota)."""


class NotIdle(Exception):
    """What was asked for takes an environment in which nothing runs."""


class PendingInvocation:
    """An invocation under way."""

    def __init__(self) -> None:
        self.first_response: Future[Response] = Future()
        self.end: Future[Invocation] = Future()

    def response(self, timeout: float | None = None) -> Response:
        """Wait for the caller's answer; extensions may still be working when it comes.

        Raises:
            TimeoutError: After ``timeout`` seconds.
        """
        return self.first_response.result(timeout)

    def result(self, timeout: float | None = None) -> Invocation:
        """Wait until the invocation is over for everybody.

        Raises:
            TimeoutError: After ``timeout`` seconds.
        """
        return self.end.result(timeout)


class Environment:
    """An execution environment for ``function`` with the unpacked ``layer`` attached.

    A context manager: leaving it shuts down what still runs. One thread at a time may use it. ``telemetry=False``
    answers subscriptions with 202, as AWS's emulator does. ``on_log`` is called with each log line as it comes.
    """

    def __init__(
        self,
        function: Function,
        layer: Path | None = None,
        *,
        telemetry: bool = True,
        initialization_type: str = "on-demand",
        init_timeout: float = INIT_TIMEOUT,
        on_log: Callable[[LogLine], None] | None = None,
    ) -> None:
        self.function = function
        self.layer = layer
        self._initialization_type = initialization_type
        self._init_timeout = init_timeout
        self._telemetry = Telemetry(supported=telemetry)
        self._journal = Journal(function, self._telemetry, on_log)
        self._api = Api(function, self._telemetry)
        self._rendezvous = self._api.rendezvous
        self._processes: dict[str, ProcessGroup] = {}
        self._log_stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{function.version}]{uuid.uuid4().hex}"
        self._first_init: InitReport | None = None
        self._initialized = False
        self._busy = False
        self._frozen_at: float | None = None
        self._frozen_s = 0.0

    def __enter__(self) -> "Environment":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def log(self) -> list[LogLine]:
        """All lines of the log group so far."""
        return self._journal.lines

    @property
    def processes(self) -> types.MappingProxyType[str, int]:
        """The ids of the processes (and of their groups), by ``runtime`` and ``extension NAME``."""
        return types.MappingProxyType({name: process.pid for name, process in self._processes.copy().items()})

    @property
    def address(self) -> str:
        """``host:port`` of the APIs."""
        return self._api.address

    def close(self) -> None:
        """Shut down what still runs, and the API."""
        if self._processes:
            self._stop("spindown")
        self._api.shutdown()
        self._api.server_close()

    def init(self) -> InitReport:
        """Start the extensions and the runtime, and wait until all of them are ready for the first invocation.

        A failed Init is not an exception: the first invocation tries again, as in Lambda.

        Raises:
            NotIdle: It has been initialised already.
        """
        if self._busy or self._first_init is not None:
            raise NotIdle("the environment has been initialised already")
        return self._init_ahead()

    def invoke(self, event: Any) -> Invocation:
        """Invoke the function with ``event`` (anything JSON can say, or bytes) and wait until everything is over.

        Init comes first if need be, and a thaw. Whatever happens to the function is in the result.

        Raises:
            NotIdle: Another invocation is under way.
        """
        return self.begin(event).result()

    def begin(self, event: Any) -> PendingInvocation:
        """As `invoke`, but return at once.

        Raises:
            NotIdle: Another invocation is under way.
        """
        if self._busy:
            raise NotIdle("an invocation is under way")
        self._busy = True
        pending = PendingInvocation()
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        threading.Thread(target=self._run, args=(payload, pending), name="invocation", daemon=True).start()
        return pending

    def freeze(self) -> None:
        """Stop all processes where they are, and the delivery of telemetry.

        Raises:
            NotIdle: An invocation is under way, or some process does not wait for its next event.
        """
        waiting = self._rendezvous.runtime_ready() and self._rendezvous.extensions_ready()
        if self._busy or (self._processes and not waiting):
            raise NotIdle("a process is not waiting for its next event")
        if self._frozen_at is None:
            self._telemetry.pause()
            for process in self._processes.values():
                process.freeze()
            self._frozen_at = time.monotonic()

    def thaw(self) -> float:
        """Let everything go on; returns the seconds that it was frozen. An invocation does this by itself."""
        if self._frozen_at is None:
            return 0.0
        seconds = time.monotonic() - self._frozen_at
        self._frozen_at = None
        self._frozen_s += seconds
        for process in self._processes.values():
            process.thaw()
        self._telemetry.resume()
        return seconds

    def shutdown(self) -> ShutdownReport:
        """End the environment as Lambda does with one that has been idle: reason ``spindown``, two seconds.

        Raises:
            NotIdle: An invocation is under way.
        """
        if self._busy:
            raise NotIdle("an invocation is under way")
        return self._stop("spindown")

    # --- Init ----------------------------------------------------------------------------------------------------

    def _init_ahead(self) -> InitReport:
        self._first_init, _ = self._init("init", time.monotonic() + self._init_timeout)
        return self._first_init

    def _init(self, phase: str, deadline: float) -> tuple[InitReport, Response | None]:
        """Go through Init; on failure stop all processes, and say what a caller is to be told."""
        started = time.monotonic()
        files = extension_files(self.layer)
        rendezvous = self._rendezvous = self._api.rendezvous = Rendezvous(file.name for file in files)
        self._journal.init_started(self._initialization_type, phase)
        failure: Failure | None = None
        status = "success"
        try:
            self._start_everything(files, deadline)
        except Failure as error:
            status, failure = "error", error
        except DeadlinePassed:
            # AWS gives an Init that took too long no error type of its own.
            status, failure = "timeout", Failure("Runtime.Unknown", "Init did not end in time")
        duration = (time.monotonic() - started) * 1000
        report = InitReport(phase, status, duration, None if failure is None else failure.error_type)
        self._journal.init_ended(self._initialization_type, report, rendezvous.extensions())
        if failure is None:
            self._telemetry.close_subscriptions()
            self._initialized = True
            return report, None
        self._stop("timeout" if status == "timeout" else "failure")
        body = error_body(failure.error_type, str(failure))
        return report, rendezvous.init_error or Response(body, failure.error_type)

    def _start_everything(self, files: list[Path], deadline: float) -> None:
        rendezvous, function, layer = self._rendezvous, self.function, self.layer
        variables = for_runtime(function, self.address, layer, self._initialization_type, self._log_stream)
        if len(files) > MAX_EXTENSIONS:
            raise Failure("Extension.LaunchError", f"{len(files)} extensions, at most {MAX_EXTENSIONS} are allowed")
        for file in files:
            assert layer is not None
            try:
                self._launch(f"extension {file.name}", (file,), for_extension(function, variables, layer))
            except OSError as error:
                reason = "PermissionDenied" if isinstance(error, PermissionError) else "UnknownError"
                rendezvous.not_launched(file.name, reason)
                raise Failure("Extension.LaunchError", str(error)) from None
        rendezvous.await_that(rendezvous.all_registered, deadline)
        try:
            self._launch("runtime", function.command, variables)
        except OSError as error:
            raise Failure("Runtime.InvalidEntrypoint", str(error)) from None
        rendezvous.await_that(rendezvous.runtime_ready, deadline)
        rendezvous.close_registration()
        rendezvous.await_that(rendezvous.extensions_ready, deadline)

    def _launch(self, name: str, command: tuple[str | Path, ...], variables: dict[str, str]) -> None:
        rendezvous = self._rendezvous
        source = "function" if name == "runtime" else name
        extension = None if name == "runtime" else name.partition(" ")[2]
        self._processes[name] = ProcessGroup(
            name,
            command,
            variables,
            self.function.directory,
            on_line=lambda line: self._journal.write(source, line),
            on_exit=lambda status: rendezvous.exited(extension, status),
        )

    # --- Invoke --------------------------------------------------------------------------------------------------

    def _run(self, payload: bytes, pending: PendingInvocation) -> None:
        try:
            result = self._invoke(payload, pending)
        except BaseException as error:
            self._busy = False
            if not pending.first_response.done():
                pending.first_response.set_exception(error)
            pending.end.set_exception(error)
        else:
            self._busy = False
            pending.end.set_result(result)

    def _invoke(self, payload: bytes, pending: PendingInvocation) -> Invocation:
        first_line = len(self.log)
        self.thaw()
        frozen_s, self._frozen_s = self._frozen_s, 0.0
        init = None if self._first_init is not None else self._init_ahead()
        started = time.monotonic()
        deadline = started + self.function.timeout
        invoke = Invoke(
            request_id=str(uuid.uuid4()),
            payload=payload,
            deadline_ms=int((time.time() + self.function.timeout) * 1000),
            function_arn=self.function.arn,
            trace_id=f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
            dispatched_at=started,
            response=pending.first_response,
        )
        error_type: str | None = None
        shutdown: ShutdownReport | None = None
        try:
            if not self._initialized:
                init = self._init_within(invoke, deadline)
            self._hand_out(invoke, deadline)
            status = "success" if invoke.response.result().error_type is None else "error"
            ended = time.monotonic()
        except (Failure, DeadlinePassed) as reason:
            ended = time.monotonic()
            late = isinstance(reason, DeadlinePassed)
            status = "timeout" if late else "failure"
            error_type = None if isinstance(reason, DeadlinePassed) else reason.error_type
            shutdown = self._give_up(invoke, reason, ended)
        for process in self._processes.values():
            process.drain()
        duration = (ended - started) * 1000
        billed = math.ceil(duration + (init.duration_ms if init is not None and init.phase == "init" else 0.0))
        told = status if status in ("success", "timeout") else "error"
        self._journal.invocation_ended(invoke, told, error_type, duration, billed)
        done = invoke.runtime_done_at
        return Invocation(
            request_id=invoke.request_id,
            status=status,
            response=invoke.response.result(),
            response_ms=((invoke.responded_at or ended) - started) * 1000,
            runtime_done_ms=None if done is None else (done - started) * 1000,
            held_ms=0.0 if done is None else ((invoke.extensions_done_at or ended) - done) * 1000,
            duration_ms=duration,
            billed_ms=billed,
            frozen_s=frozen_s,
            init=init,
            shutdown=shutdown,
            log=tuple(self.log[first_line:]),
        )

    def _init_within(self, invoke: Invoke, deadline: float) -> InitReport:
        """Init at the cost of the invocation, because the one before it failed or was followed by a reset."""
        report, told = self._init("invoke", deadline)
        if report.error_type is not None:
            self._journal.invocation_started(invoke)
            if report.status == "timeout":
                raise DeadlinePassed
            assert told is not None
            self._rendezvous.answer(invoke, told)
            raise Failure(report.error_type, "Init failed")
        return report

    def _hand_out(self, invoke: Invoke, deadline: float) -> None:
        rendezvous = self._rendezvous
        self._journal.invocation_started(invoke)
        rendezvous.await_that(lambda: True, deadline)  # somebody may have ended since the last invocation
        rendezvous.dispatch(invoke)
        rendezvous.await_that(rendezvous.runtime_ready, deadline)
        done = invoke.runtime_done_at or time.monotonic()
        # A handler that raised counts as success here: the runtime itself has done its duty.
        self._journal.runtime_done(invoke, "success", None, (done - invoke.dispatched_at) * 1000)
        rendezvous.await_that(lambda: rendezvous.extensions_ready("INVOKE"), deadline)

    def _give_up(self, invoke: Invoke, reason: Failure | DeadlinePassed, now: float) -> ShutdownReport | None:
        """Tell the caller, if nobody has yet, and reset; returns how the processes ended, None if none were left."""
        late = isinstance(reason, DeadlinePassed)
        error_type = "Sandbox.Timedout" if isinstance(reason, DeadlinePassed) else reason.error_type
        if late:
            self._journal.timed_out(invoke)
        words = TIMED_OUT.format(self.function.timeout) if late else str(reason)
        body = error_body(error_type, f"RequestId: {invoke.request_id} Error: {words}")
        if invoke.runtime_done_at is None:
            status, told = ("timeout", None) if late else ("error", error_type)
            self._journal.runtime_done(invoke, status, told, (now - invoke.dispatched_at) * 1000)
        self._rendezvous.answer(invoke, Response(body, error_type))
        if not self._initialized:
            return None
        return self._stop("timeout" if late else "failure")

    # --- Shutdown ------------------------------------------------------------------------------------------------

    def _stop(self, reason: str) -> ShutdownReport:
        self.thaw()
        report = stop(self._processes, self._rendezvous, reason)
        self._telemetry.clear()
        self._processes.clear()
        self._initialized = False
        return report
