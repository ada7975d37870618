"""The ways to the database that are compared: directly, through HAProxy, through MySQL Router, through Warmwire."""

import contextlib
import re
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from benchmarks.client import Link
from benchmarks.processes import Process, environment
from tests.servers import Server, program
from tests.servers.local import free_port
from tests.servers.server import APP_PASSWORD

DIRECT, HAPROXY, PASSTHROUGH, SHARING, WARMWIRE = (
    "direct", "HAProxy", "MySQL Router, passthrough", "MySQL Router, sharing", "Warmwire",
)  # fmt: skip
ACCOUNT = {"user": "app", "password": APP_PASSWORD, "database": "app"}


@dataclass(frozen=True)
class Route:
    """One way to the database.

    Attributes:
        name: in the tables.
        address: (host, port), or a unix socket's path.
        context: for TLS between the client and whatever is next; None without.
        process: what is in between, if anything is.
    """

    name: str
    address: tuple[str, int] | str
    context: ssl.SSLContext | None = None
    process: Process | None = None

    def connect(self) -> Link:
        """With the benchmarks' own client."""
        return Link(self.address, **ACCOUNT, context=self.context)

    def connect_driver(self) -> "pymysql.connections.Connection[Any]":
        """With PyMySQL."""
        where: dict[str, Any] = {"unix_socket": self.address}
        if not isinstance(self.address, str):
            where = {"host": self.address[0], "port": self.address[1]}
        secured = {"ssl_disabled": True} if self.context is None else {"ssl": self.context}
        return pymysql.connect(**where, **ACCOUNT, **secured)


@dataclass(frozen=True)
class Routes:
    """All of them. In `plain` nothing is encrypted; in `secure` everything that leaves the machine is.

    HAProxy and the passthrough carry the client's own TLS, so there the client encrypts. Router's sharing and Warmwire
    are given plain bytes and encrypt themselves.
    """

    plain: list[Route]
    secure: list[Route]
    unix: Route
    """Warmwire's unix socket, TLS to the database."""
    versions: dict[str, str]


@contextlib.contextmanager
def open_routes(server: Server, warmwire: Sequence[str], directory: Path) -> Iterator[Routes]:
    """Start the peers and Warmwire, by the command given, in front of a server.

    Raises:
        RuntimeError: something did not start, or is missing; the text says what to do.
    """
    context = ssl.create_default_context(cafile=server.ca_path)
    with contextlib.ExitStack() as stack:
        haproxy, balanced = _haproxy(stack, server, directory)
        router, ports = _router(stack, server, directory)
        plain, plain_port, _ = _warmwire(stack, server, warmwire, directory, WARMWIRE_DB_TLS="disabled")
        secure, secure_port, path = _warmwire(stack, server, warmwire, directory, WARMWIRE_DB_TLS_CA=server.ca_path)
        here = "127.0.0.1"
        yield Routes(
            plain=[
                Route(DIRECT, (here, server.port)),
                Route(HAPROXY, (here, balanced), None, haproxy),
                Route(PASSTHROUGH, (here, ports["passthrough"]), None, router),
                Route(SHARING, (here, ports["plain"]), None, router),
                Route(WARMWIRE, (here, plain_port), None, plain),
            ],
            secure=[
                Route(DIRECT, (here, server.port), context),
                Route(HAPROXY, (here, balanced), context, haproxy),
                Route(PASSTHROUGH, (here, ports["passthrough"]), context, router),
                Route(SHARING, (here, ports["secure"]), None, router),
                Route(WARMWIRE, (here, secure_port), None, secure),
            ],
            unix=Route("Warmwire, unix socket", path, None, secure),
            versions={name: _version(name, option) for name, option in (("haproxy", "-v"), ("mysqlrouter", "--version"))},
        )


def _warmwire(
    stack: contextlib.ExitStack, server: Server, command: Sequence[str], directory: Path, **settings: str
) -> tuple[Process, int, str]:
    port = free_port()
    path = str(directory / f"{port}.sock")
    variables = environment(WARMWIRE_DB_URL=server.url(), WARMWIRE_PORT=port, WARMWIRE_SOCKET=path, **settings)
    process = Process(command, directory, variables)
    stack.callback(process.stop)
    process.await_port(port)
    return process, port, path


def _haproxy(stack: contextlib.ExitStack, server: Server, directory: Path) -> tuple[Process, int]:
    port = free_port()
    settings = directory / "haproxy.cfg"
    settings.write_text(
        f"""global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
listen database
    bind 127.0.0.1:{port}
    server database {server.host}:{server.port}
"""
    )
    process = Process([_found("haproxy"), "-db", "-f", str(settings)], directory)
    stack.callback(process.stop)
    process.await_port(port)
    return process, port


def _router(stack: contextlib.ExitStack, server: Server, directory: Path) -> tuple[Process, dict[str, int]]:
    ports = {name: free_port() for name in ("passthrough", "plain", "secure")}
    sharing = "client_ssl_mode=DISABLED\nconnection_sharing=1\n"
    modes = {
        "passthrough": "client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n",
        "plain": f"{sharing}server_ssl_mode=DISABLED\n",
        "secure": f"{sharing}server_ssl_mode=REQUIRED\nserver_ssl_verify=VERIFY_CA\nserver_ssl_ca={server.ca_path}\n",
    }
    text = (
        f"[DEFAULT]\nlogging_folder=\nruntime_folder={directory}\ndata_folder={directory}\n"
        "[logger]\nlevel=WARNING\n[connection_pool]\nmax_idle_server_connections=16\n"
    )
    for name, mode in modes.items():
        text += (
            f"[routing:{name}]\nbind_address=127.0.0.1\nbind_port={ports[name]}\nrouting_strategy=first-available\n"
            f"destinations={server.host}:{server.port}\nprotocol=classic\n{mode}"
        )
    settings = directory / "router.conf"
    settings.write_text(text)
    process = Process([_found("mysqlrouter"), "-c", str(settings)], directory)
    stack.callback(process.stop)
    for port in ports.values():
        process.await_port(port)
    return process, ports


def _found(name: str) -> str:
    path = program(name)
    if path is None:
        raise RuntimeError(f"{name} is missing: run `python -m tests.servers.provision --peers`")
    return path


def _version(name: str, option: str) -> str:
    done = subprocess.run([_found(name), option], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "unknown"
