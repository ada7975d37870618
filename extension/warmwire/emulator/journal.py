"""What the platform itself says: its lines in the log group, and its telemetry events. One method for each occasion."""

import threading
from collections.abc import Callable
from typing import Any

from warmwire.emulator.rendezvous import Extension, Invoke
from warmwire.emulator.results import InitReport, LogLine
from warmwire.emulator.telemetry import Telemetry, timestamp
from warmwire.emulator.variables import Function

TIMED_OUT = "Task timed out after {:.2f} seconds"


class Journal:
    """The log group of one environment, kept in ``lines``; tells ``on_log`` and the telemetry subscribers as well."""

    def __init__(self, function: Function, telemetry: Telemetry, on_log: Callable[[LogLine], None] | None) -> None:
        self.lines: list[LogLine] = []
        self._function = function
        self._telemetry = telemetry
        self._on_log = on_log
        self._lock = threading.Lock()

    def write(self, source: str, text: str) -> None:
        """Take one line of ``platform``, ``function`` or ``extension NAME``."""
        line = LogLine(timestamp(), source, text)
        with self._lock:
            self.lines.append(line)
            if self._on_log is not None:
                self._on_log(line)
        kind = source.partition(" ")[0]
        if kind != "platform":
            self._telemetry.emit(kind, text)

    def init_started(self, initialization_type: str, phase: str) -> None:
        """Init begins."""
        function = self._function
        record = {
            "initializationType": initialization_type,
            "phase": phase,
            "functionName": function.name,
            "functionVersion": function.version,
            "functionArn": function.arn,
            "instanceMaxMemory": function.memory_mb,
        }
        self._telemetry.emit("platform.initStart", record)

    def init_ended(self, initialization_type: str, report: InitReport, extensions: list[Extension]) -> None:
        """Init has ended, one way or the other."""
        error = {} if report.error_type is None else {"errorType": report.error_type}
        record = {
            "initializationType": initialization_type,
            "phase": report.phase,
            "status": report.status,
            **error,
        }
        self._telemetry.emit("platform.initRuntimeDone", record)
        for extension in extensions:
            self._extension(extension)
        metrics = {"durationMs": round(report.duration_ms, 3)}
        self._telemetry.emit("platform.initReport", {**record, "metrics": metrics})
        if not report.succeeded:
            figures = f"Init Duration: {report.duration_ms:.2f} ms\tPhase: {report.phase}\tStatus: {report.status}"
            self.write("platform", f"INIT_REPORT {figures}\tError Type: {report.error_type}")

    def invocation_started(self, invoke: Invoke) -> None:
        """The invocation is about to be handed out."""
        self._telemetry.emit("platform.start", {"requestId": invoke.request_id, "version": self._function.version})
        self.write("platform", f"START RequestId: {invoke.request_id} Version: {self._function.version}")

    def runtime_done(self, invoke: Invoke, status: str, error_type: str | None, duration_ms: float) -> None:
        """The runtime has finished, or will not finish any more; extensions may still be working."""
        produced = len(invoke.response.result().payload) if invoke.response.done() else 0
        metrics = {"durationMs": round(duration_ms, 3), "producedBytes": produced}
        self._telemetry.emit("platform.runtimeDone", self._record(invoke, status, error_type, metrics))

    def timed_out(self, invoke: Invoke) -> None:
        """The function's timeout has passed."""
        self.write("platform", f"{timestamp()} {invoke.request_id} {TIMED_OUT.format(self._function.timeout)}")

    def invocation_ended(self, invoke: Invoke, status: str, error_type: str | None, duration_ms: float, billed_ms: int) -> None:
        """Everybody has finished. In Lambda the event arrives with the next thaw, since the freeze comes first."""
        memory = self._function.memory_mb
        metrics = {"durationMs": round(duration_ms, 3), "billedDurationMs": billed_ms, "memorySizeMB": memory}
        self._telemetry.emit("platform.report", self._record(invoke, status, error_type, metrics))
        self.write("platform", f"END RequestId: {invoke.request_id}")
        figures = f"Duration: {duration_ms:.2f} ms\tBilled Duration: {billed_ms} ms\tMemory Size: {memory} MB"
        self.write("platform", f"REPORT RequestId: {invoke.request_id}\t{figures}")

    def _extension(self, extension: Extension) -> None:
        state = extension.state.value
        record = {"name": extension.name, "state": state, "events": list(extension.events)}
        text = f"EXTENSION\tName: {extension.name}\tState: {state}\tEvents: [{', '.join(extension.events)}]"
        if extension.error_type is not None:
            record["errorType"] = extension.error_type
            text += f"\tError Type: {extension.error_type}"
        self._telemetry.emit("platform.extension", record)
        self.write("platform", text)

    @staticmethod
    def _record(invoke: Invoke, status: str, error_type: str | None, metrics: dict[str, Any]) -> dict[str, Any]:
        error = {} if error_type is None else {"errorType": error_type}
        return {"requestId": invoke.request_id, "status": status, **error, "metrics": metrics}
