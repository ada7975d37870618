"""``warmwire emulate``: invoke a function a number of times in the emulator, and show what each time took."""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from warmwire.config import Config
from warmwire.emulator.environment import Environment
from warmwire.emulator.layers import unpacked
from warmwire.emulator.results import Invocation, LogLine, ShutdownReport
from warmwire.emulator.variables import Function

PASSED_ON = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_CA_BUNDLE",
)
"""Variables that the function gets from this process: its role, so to speak. It gets Warmwire's settings as well, which
``warmwire check`` and ``serve`` read from the same place. All others take ``--env``."""
DESCRIPTION = """\
A local Lambda: runs a function and the extensions of a layer through Init, the invocations, freeze and thaw between
them, and Shutdown. Of this shell's variables they get Warmwire's settings and the AWS credentials only; all others take
--env. Log lines go to stderr, the table and the figures to stdout: "response" is the time to the caller's answer, "held"
how long the extensions kept the environment awake after it. The exit code is 0 if every invocation succeeded, 1 if not,
2 if nothing could be started."""
SETTINGS = frozenset(field.metadata["name"] for field in dataclasses.fields(Config))
COLUMNS = ("request", "status", "init ms", "response ms", "held ms", "billed ms", "frozen s", "response")
ROW = "{:<9} {:<8} {:>8} {:>11} {:>8} {:>9} {:>8}  {}"
LONGEST_RESPONSE = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--layer", type=Path, metavar="DIR|ZIP", help="the layer, unpacked or not; without it there are no extensions")
    add("--function", type=Path, required=True, metavar="DIR", help="the folder with the function's code")
    runtime = parser.add_mutually_exclusive_group()
    runtime.add_argument("--handler", metavar="FILE.FN", help="a Python handler, run by awslambdaric")
    runtime.add_argument(
        "--bootstrap", metavar="'CMD ARGS'", help="a command that is the runtime (default: ./bootstrap in --function)"
    )
    add("--event", default="{}", metavar="FILE|-|JSON", help="the event: a file, - for stdin, or JSON itself ({})")
    add("-n", "--invocations", type=positive, default=1, metavar="N", help="how often to invoke (1)")
    add("--idle", type=seconds, default=0.0, metavar="SECONDS", help="freeze for so long between invocations (0)")
    add("--timeout", type=seconds, default=3.0, metavar="SECONDS", help="the function's timeout (3)")
    add("--memory", type=positive, default=128, metavar="MB", help="the memory size that the function is told (128)")
    add("--name", default="function", help="the function's name (function)")
    add("--env", action="append", default=[], type=variable, metavar="K=V", help="a variable for all of them; may be repeated")
    add("--no-telemetry", action="store_true", help="refuse telemetry with 202, as AWS's own emulator does")
    add("--json", action="store_true", help="print one JSON document instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Do what the options say. Returns the exit code: 0, 1 (an invocation failed), 2 (nothing could be started)."""
    try:
        function = function_from(arguments)
        event = read_event(arguments.event)
        with contextlib.ExitStack() as stack:
            layer = stack.enter_context(unpacked(arguments.layer)) if arguments.layer is not None else None
            environment = stack.enter_context(
                Environment(function, layer, telemetry=not arguments.no_telemetry, on_log=print_log)
            )
            return run_in(environment, event, arguments)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"warmwire emulate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run_in(environment: Environment, event: Any, arguments: argparse.Namespace) -> int:
    """Invoke, freeze, shut down and print."""
    show = not arguments.json
    invocations: list[Invocation] = []
    if show:
        print(ROW.format(*COLUMNS))
    for number in range(arguments.invocations):
        if number and arguments.idle:
            environment.freeze()
            time.sleep(arguments.idle)
        invocation = environment.invoke(event)
        invocations.append(invocation)
        if show:
            print(row(invocation), flush=True)
            if invocation.shutdown is not None:
                print("\n".join(shutdown_lines(invocation.shutdown)), flush=True)
    shutdown = environment.shutdown()
    if show:
        print("\n".join(shutdown_lines(shutdown)))
    else:
        print(json.dumps(document(invocations, shutdown), indent=2))
    return 0 if all(invocation.succeeded for invocation in invocations) else 1


def row(invocation: Invocation) -> str:
    """One invocation as a row of the table: with the error's own words, if it failed."""
    response = invocation.response.payload.decode(errors="replace")
    if not invocation.succeeded:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # whatever a runtime may have answered
            error = invocation.json()
            response = " ".join(f"{error['errorType']}: {error['errorMessage']}".split())
    elif len(response) > LONGEST_RESPONSE:
        response = response[: LONGEST_RESPONSE - 1] + "…"
    init = "" if invocation.init is None else f"{invocation.init.duration_ms:.0f}"
    return ROW.format(
        invocation.request_id[:8],
        invocation.status,
        init,
        f"{invocation.response_ms:.1f}",
        f"{invocation.held_ms:.1f}",
        invocation.billed_ms,
        f"{invocation.frozen_s:.1f}",
        response,
    )


def shutdown_lines(report: ShutdownReport) -> list[str]:
    """The shutdown in words, a line per process."""
    if not report.processes:
        return [f"SHUTDOWN {report.reason}: nothing was left to end"]
    lines = [f"SHUTDOWN {report.reason} took {report.duration_ms:.0f} ms"]
    for end in report.processes:
        how = "SIGKILL" if end.killed else end.status
        lines.append(f"  {end.name}: {how} after {end.duration_ms:.0f} ms")
    return lines


def document(invocations: list[Invocation], shutdown: ShutdownReport) -> dict[str, Any]:
    """Everything as JSON can say it."""
    return {
        "invocations": [invocation_document(invocation) for invocation in invocations],
        "shutdown": {**dataclasses.asdict(shutdown), "clean": shutdown.clean},
    }


def invocation_document(invocation: Invocation) -> dict[str, Any]:
    """One invocation: its fields, with the response decoded where it is JSON."""
    fields = dataclasses.asdict(invocation)
    try:
        payload = invocation.json()
    except ValueError:
        payload = invocation.response.payload.decode(errors="replace")
    return {**fields, "response": {"payload": payload, "error_type": invocation.response.error_type}}


def print_log(line: LogLine) -> None:
    """Show a log line as it comes. The Python runtime puts carriage returns between the lines of a traceback."""
    text = line.text.rstrip("\r").replace("\r", "\n  ")
    print(f"[{line.source}] {text}", file=sys.stderr, flush=True)


def function_from(arguments: argparse.Namespace) -> Function:
    """The function that the options describe.

    Raises:
        ValueError: There is no such folder, or nothing in it to run.
    """
    directory = arguments.function.resolve()
    if not directory.is_dir():
        raise ValueError(f"{arguments.function} is not a folder")
    bootstrap = tuple(shlex.split(arguments.bootstrap or ""))
    if not bootstrap and not arguments.handler:
        if not (directory / "bootstrap").is_file():
            raise ValueError(f"{arguments.function} has no bootstrap: name one, or a --handler")
        bootstrap = ("./bootstrap",)
    passed_on = {name: text for name, text in os.environ.items() if name in PASSED_ON or name in SETTINGS}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return Function(
        directory=directory,
        handler=arguments.handler or "function.handler",
        bootstrap=bootstrap,
        name=arguments.name,
        region=region or Function.region,
        memory_mb=arguments.memory,
        timeout=arguments.timeout,
        variables={**passed_on, **dict(arguments.env)},
    )


def read_event(argument: str) -> Any:
    """The event from a file, from stdin (``-``), or from the argument itself.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON.
    """
    if argument == "-":
        text = sys.stdin.read()
    elif argument.lstrip()[:1] in ("{", "[", '"'):
        text = argument
    else:
        text = Path(argument).read_text()
    try:
        return json.loads(text)
    except ValueError as problem:
        raise ValueError(f"--event {argument} is not JSON: {problem}") from None


def positive(text: str) -> int:
    """An argument that is a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def seconds(text: str) -> float:
    """An argument that is a number of seconds, zero included."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds")
    return number


def variable(text: str) -> tuple[str, str]:
    """An argument like ``NAME=value``."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value
