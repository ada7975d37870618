"""AWS's Runtime Interface Emulator, with a layer at /opt: AWS's own Init, Invoke and Shutdown, run here.

The binary comes with aws-sam-cli. It takes extensions from /opt/extensions only, so it is run in a private mount namespace
in which the unpacked layer is bound over /opt; that takes root, or a kernel that lets anyone make a user namespace.

What is not as in Lambda: Init waits for the first invocation; a response is held back until the extensions have finished
too; subscriptions to telemetry are answered with 202; nothing freezes; SHUTDOWN's reason is ``SandboxTerminated``.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.servers.guard import Guard
from tests.servers.local import free_port

_START_SECONDS = 20
_STOP_SECONDS = 10
_IN_NAMESPACE = 'mount --bind "$1" /opt && shift && exec "$@"'


class RieError(Exception):
    """The emulator could not be started, or did not end; the text says why."""


class Rie:
    """The emulator with one function and one layer. A context manager: leaving it ends what still runs.

    ``layer`` and ``function`` are folders, ``handler`` is ``file.function`` of a Python function, run by awslambdaric with
    this interpreter. ``variables`` are what function and extension see, on top of a minimum; LOG_LEVEL would be taken by
    the emulator itself.
    """

    def __init__(
        self,
        layer: Path,
        function: Path,
        handler: str,
        variables: Mapping[str, str] | None = None,
        *,
        timeout: int = 10,
        name: str = "function",
    ) -> None:
        self._layer = layer
        self._function = function
        self._handler = handler
        self._port = free_port()
        self._variables = {
            "PATH": os.pathsep.join([str(Path(os.path.realpath(sys.executable)).parent), "/usr/local/bin:/usr/bin:/bin"]),
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(function),
            **(variables or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def __enter__(self) -> Self:
        descriptor, path = tempfile.mkstemp(prefix="rie-", suffix=".log")
        self._log = Path(path)
        try:
            self._process = subprocess.Popen(
                [*_namespace(), str(self._layer), *self._command()],
                env=self._variables,
                cwd=self._function,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self._guard = Guard.of(self._process.pid)
        self._await_port()
        return self

    def __exit__(self, *exception: object) -> None:
        self._kill()
        if self._log is not None:
            self._log.unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """What the emulator, the function and the extensions have printed so far."""
        return "" if self._log is None else self._log.read_text(errors="replace")

    def invoke(self, event: Any, timeout: float = 30.0) -> tuple[int, Any]:
        """Invoke the function: the HTTP status and the body, decoded if it is JSON. The first one waits for Init.

        A handler that raised and a timeout have status 200 (the body tells), a crash has 502.

        Raises:
            OSError, http.client.HTTPException: The emulator ended meanwhile, or ``timeout`` seconds passed.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
            response = connection.getresponse()
            body = response.read()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, body.decode(errors="replace")

    def terminate(self) -> int:
        """SIGTERM, which becomes the extensions' SHUTDOWN; returns the emulator's exit code, 0 if all is well.

        Raises:
            RieError: It did not end within ten seconds.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            raise RieError(f"RIE did not end within {_STOP_SECONDS} s of SIGTERM:\n{self.log}") from None
        self._guard.dismiss()
        return code

    def processes(self) -> list[int]:
        """The ids of the living processes of function and extensions (each is in the emulator's session)."""
        assert self._process is not None
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self._process.pid != int(entry.name) and state != "Z":
                    found.append(int(entry.name))
        return found

    def _command(self) -> list[str]:
        address = f"127.0.0.1:{free_port()}"
        options = ["--log-level", "warn", "--runtime-api-address", address]
        options += ["--runtime-interface-emulator-address", f"127.0.0.1:{self._port}"]
        return [str(_binary()), *options, sys.executable, "-m", "awslambdaric", self._handler]

    def _await_port(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            try:
                connection.connect()
                return
            except OSError:
                if self._process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                log = self.log
                self.__exit__()
                raise RieError(f"RIE did not start (exit code {self._process.returncode}):\n{log}") from None
            finally:
                connection.close()

    def _kill(self) -> None:
        if self._process is None:
            return
        left = self.processes()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._guard.dismiss()


def _binary() -> Path:
    machine = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
    found = importlib.util.find_spec("samcli")
    if found is None or found.origin is None:
        raise RieError("aws-sam-cli is not installed, and RIE comes with it: run ./setup.sh dev")
    return Path(found.origin).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"


def _namespace() -> list[str]:
    # Without root a user namespace of one's own gives the right to mount in it, where the kernel lets one make it.
    own = [] if os.getuid() == 0 else ["--map-root-user"]
    return ["unshare", *own, "--mount", "--propagation", "private", "sh", "-c", _IN_NAMESPACE, "sh"]
