"""Layers and functions of a few lines each, and environments for them."""

import os
import sys
import textwrap
import time
from pathlib import Path

from warmwire.emulator.environment import Environment
from warmwire.emulator.variables import Function

HERE = Path(__file__).parent
PRELUDE = f"""\
#!{os.path.realpath(sys.executable)} -I
import os, signal, socket, sys, threading, time
sys.path.insert(0, {str(HERE)!r})
from toy import *
"""
ECHO = "Runtime().serve()"
PLAIN = """
extension = Extension("INVOKE", "SHUTDOWN")
while extension.next()["eventType"] != "SHUTDOWN":
    pass
note("shut down")
"""


class Workshop:
    """Makes them in ``folder`` and remembers the environments, for the fixture to close."""

    def __init__(self, folder: Path) -> None:
        self.layer = folder / "layer"
        self.function = folder / "function"
        self.function.mkdir()
        self.environments: list[Environment] = []

    def program(self, path: Path, body: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PRELUDE + textwrap.dedent(body))
        path.chmod(0o755)
        return path

    def extension(self, body: str = PLAIN, name: str = "toy") -> Path:
        return self.program(self.layer / "extensions" / name, body)

    def environment(
        self, runtime: str = ECHO, *, handler: str = "", init_timeout: float = 10.0, telemetry: bool = True, **function
    ):
        if handler:
            (self.function / "app.py").write_text(textwrap.dedent(handler))
            how = {"handler": "app.handler"}
        else:
            self.program(self.function / "bootstrap", runtime)
            how = {"bootstrap": ("./bootstrap",)}
        layer = self.layer if self.layer.exists() else None
        function = Function(directory=self.function, **how, **function)
        environment = Environment(function, layer, init_timeout=init_timeout, telemetry=telemetry)
        self.environments.append(environment)
        return environment


def said(lines, source=None):
    """What was printed, in order; by one source if given."""
    return [line.text for line in lines if source is None or line.source == source]


def until(condition, timeout=10.0):
    """Wait for a condition, but not for ever."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
