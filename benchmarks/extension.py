"""The built layer, unpacked and run as Lambda runs it, but for the function."""

import contextlib
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lambda_service import LambdaService
from benchmarks.processes import Process
from benchmarks.routes import Route
from tests.servers import Server
from tests.servers.local import free_port
from tests.servers.server import APP_PASSWORD


@dataclass(frozen=True)
class Layer:
    """An unpacked layer, and the interpreter that runs it."""

    root: Path
    python: Path
    """The interpreter itself: a virtual environment's, or a version manager's shim, would take its time first."""

    @classmethod
    def unpack(cls, archive: Path, directory: Path, python: Path) -> "Layer":
        """Into a folder that is not there yet.

        Raises:
            RuntimeError: the launcher would not find this interpreter.
        """
        if not re.fullmatch(r"python3(\.\d+)?", python.name) or not python.exists():
            raise RuntimeError(f"{python} is no interpreter by the name of python3 or python3.x")
        with zipfile.ZipFile(archive) as layer:
            layer.extractall(directory / "opt")
        (directory / "opt/extensions/warmwire").chmod(0o755)
        (directory / "path").mkdir()
        (directory / "path" / python.name).symlink_to(python)
        return cls(directory / "opt", python)

    def variables(self, **settings: object) -> dict[str, str]:
        """An environment as bare as an extension's, in which the launcher finds that interpreter and no other."""
        path = {"PATH": str(self.root.parent / "path"), "LANG": "C.UTF-8"}
        return path | {name: str(value) for name, value in settings.items()}


@dataclass(frozen=True)
class Extension:
    """The running extension."""

    process: Process
    service: LambdaService
    route: Route
    """To its port."""

    def end(self) -> float:
        """SHUTDOWN; gives the seconds until the process was gone."""
        sent = self.service.shut_down()
        return self.process.wait() - sent


@contextlib.contextmanager
def start_extension(layer: Layer, server: Server, directory: Path, **settings: object) -> Iterator[Extension]:
    """Start it; what it still runs at the end is ended."""
    port = free_port()
    with LambdaService() as service:
        variables = layer.variables(
            AWS_LAMBDA_RUNTIME_API=service.address,
            AWS_LAMBDA_INITIALIZATION_TYPE="on-demand",
            WARMWIRE_DB_HOST=server.host,
            WARMWIRE_DB_PORT=server.port,
            WARMWIRE_DB_USER="app",
            WARMWIRE_DB_PASSWORD=APP_PASSWORD,
            WARMWIRE_DB_NAME="app",
            WARMWIRE_DB_TLS_CA=server.ca_path,
            WARMWIRE_PORT=port,
            WARMWIRE_SOCKET=os.path.join(directory, f"{port}.sock"),
            **settings,
        )
        process = Process([str(layer.root / "extensions/warmwire")], directory, variables)
        try:
            yield Extension(process, service, Route("extension", ("127.0.0.1", port), None, process))
        finally:
            process.stop()
