"""Shutdown: how the processes of an environment are ended, in Lambda's order and with its deadlines.

The runtime goes first: SIGTERM, and SIGKILL when its share of the time is over. Only then do the extensions hear of it,
by an event and never by a signal; at the deadline what is left gets SIGKILL. An extension that did not subscribe to
SHUTDOWN gets SIGKILL at once, and so does a runtime without extensions.
"""

import time
from collections.abc import Mapping

from warmwire.emulator.processes import ProcessGroup
from warmwire.emulator.rendezvous import Rendezvous, Shutdown
from warmwire.emulator.results import ProcessEnd, ShutdownReport

BUDGET = 2.0
BUDGET_INTERNAL_ONLY = 0.5
"""Seconds for everybody; the second if all extensions live inside the runtime."""
RUNTIME_SHARE = 0.3
"""The runtime's part of the budget."""
POLL_INTERVAL = 0.002


def stop(processes: Mapping[str, ProcessGroup], rendezvous: Rendezvous, reason: str) -> ShutdownReport:
    """End ``processes`` (by ``runtime`` and ``extension NAME``) for ``reason``; returns when all of them are gone."""
    rendezvous.begin_stopping()
    started = time.monotonic()
    extensions = rendezvous.extensions()
    budget = BUDGET if any(e.external for e in extensions) else BUDGET_INTERNAL_ONLY if extensions else 0.0
    deadline = started + budget
    event = Shutdown(reason, int((time.time() + budget) * 1000))
    ends = []
    runtime = processes.get("runtime")
    if runtime is not None:
        if budget:
            runtime.terminate()
            runtime.wait(RUNTIME_SHARE * budget)
        ends.append(end_of(runtime, started))
    told = []
    for extension in extensions:
        process = processes.get(f"extension {extension.name}")
        if process is None:
            continue
        if "SHUTDOWN" in extension.events and not process.wait(0):
            rendezvous.shut_down(extension, event)
            told.append(process)
        else:
            ends.append(end_of(process, started))
    while told and time.monotonic() < deadline:
        for process in [process for process in told if process.wait(POLL_INTERVAL)]:
            told.remove(process)
            ends.append(end_of(process, started))
    ends += [end_of(process, started) for process in told]
    rendezvous.end()
    return ShutdownReport(reason, (time.monotonic() - started) * 1000, tuple(ends))


def end_of(process: ProcessGroup, started: float) -> ProcessEnd:
    """Make sure that a process has ended, and say how."""
    process.kill()
    return ProcessEnd(process.name, process.status or "", (time.monotonic() - started) * 1000, process.killed)
