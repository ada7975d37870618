"""Fixtures shared by the integration and end-to-end tests: real servers, and `warmwire serve` in front of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, ServerError
from tests.servers.guard import Guard
from tests.servers.local import free_port
from tests.servers.programs import REPOSITORY
from tests.servers.server import APP_PASSWORD

_START_SECONDS = 20
_STOP_SECONDS = 5
_SERVERS = {"server", "mariadb", "mysql"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use a server carry the marker `server`, whether they say so or not."""
    for item in items:
        if _SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


def _session_server(flavor: str) -> Iterator[Server]:
    try:
        started = Server.start(flavor)
    except ServerError as error:
        # A failure and not a skip: what was not tested must not look as if it had been.
        pytest.fail(str(error), pytrace=False)
    try:
        yield started
    finally:
        started.__exit__(None, None, None)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server for the whole run. A test that stops, kills or configures one starts its own."""
    yield from _session_server("mariadb")


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    """A MySQL server for the whole run. A test that stops, kills or configures one starts its own."""
    yield from _session_server("mysql")


@pytest.fixture(scope="session", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> Server:
    """Both servers, one after the other."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


class Proxy:
    """`warmwire serve` in a process of its own."""

    host = "127.0.0.1"

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.port = int(environment["WARMWIRE_PORT"])
        self.socket = environment["WARMWIRE_SOCKET"]
        self._log = directory / f"warmwire-{self.port}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "warmwire", "serve"], env=environment, cwd=directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._guard = Guard.of(self.process.pid)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=5).close()
                return
            except OSError:
                if self.process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                self.kill()
                pytest.fail(f"warmwire serve did not listen (exit code {self.process.returncode}):\n{self.log}")

    @property
    def log(self) -> str:
        """What it wrote so far, on stdout and stderr."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM; it must end with 0 within 5 seconds. Done twice it does nothing."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"warmwire serve did not end within {_STOP_SECONDS} s of SIGTERM:\n{self.log}")
        self._guard.dismiss()
        assert code == 0, f"warmwire serve ended with {code}:\n{self.log}"

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(_STOP_SECONDS)
        self._guard.dismiss()


def serve(server: Server, directory: Path, **settings: Any) -> Proxy:
    """`warmwire serve` in front of that server as `app`; its log and socket are in `directory`. The caller stops it.

    Further settings are given by their full names and replace the ones set here; None takes one away.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WARMWIRE_", "AWS_"))}
    port = free_port()
    chosen: dict[str, Any] = {
        "PYTHONPATH": str(REPOSITORY / "extension"),
        "WARMWIRE_DB_HOST": server.host,
        "WARMWIRE_DB_PORT": server.port,
        "WARMWIRE_DB_USER": "app",
        "WARMWIRE_DB_PASSWORD": APP_PASSWORD,
        "WARMWIRE_DB_TLS_CA": server.ca_path or None,
        "WARMWIRE_DB_TLS": None if server.ca_path else "required",
        "WARMWIRE_PORT": port,
        # Not in the directory itself if its length exceeds what a socket's address can hold.
        "WARMWIRE_SOCKET": _socket_path(directory, port),
        **settings,
    }
    return Proxy(environment | {name: str(value) for name, value in chosen.items() if value is not None}, directory)


@pytest.fixture
def warmwire(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """`warmwire(server, WARMWIRE_POOL_MAX=2, …)`: a Proxy (see `serve`), stopped at the end of the test."""
    started: list[Proxy] = []

    def start(server: Server, **settings: Any) -> Proxy:
        started.append(serve(server, tmp_path, **settings))
        return started[-1]

    yield start
    for proxy in started:
        proxy.stop()


def _socket_path(directory: Path, port: int) -> str:
    path = str(directory / f"{port}.sock")
    return path if len(path) < 100 else f"/tmp/warmwire-test-{port}.sock"
