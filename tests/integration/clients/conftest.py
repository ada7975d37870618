"""Where the drivers connect to: the server itself, or Warmwire in front of it by TCP or unix socket."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import Proxy, serve
from tests.integration.clients.endpoint import Endpoint, Sessions
from tests.integration.clients.mysql2 import Node
from tests.integration.clients.remote import Process
from tests.servers import FLAVORS, Server
from tests.servers.server import APP_PASSWORD


@pytest.fixture(scope="package", params=FLAVORS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that takes packets of more than 16 MiB."""
    with Server.start(request.param, ["--max-allowed-packet=64M", "--lock-wait-timeout=5"]) as started:
        yield started


@pytest.fixture(scope="package")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One Warmwire for the whole matrix."""
    started = serve(server, tmp_path_factory.mktemp("matrix"))
    yield started
    started.stop()


@pytest.fixture(scope="package", autouse=True)
def processes() -> Iterator[None]:
    """Ends the processes that some drivers need."""
    yield
    Process.stop()
    Node.stop()


@pytest.fixture
def direct(server: Server) -> Endpoint:
    """The server itself, over TCP."""
    return Endpoint(server.port, "app", APP_PASSWORD, "app", host=server.host)


@pytest.fixture
def through(proxy: Proxy) -> Endpoint:
    """Warmwire, over TCP."""
    return Endpoint(proxy.port, "app", APP_PASSWORD, "app")


@pytest.fixture(params=["tcp", "unix"])
def through_both(request: pytest.FixtureRequest, proxy: Proxy, through: Endpoint) -> Endpoint:
    """Warmwire, over TCP and over its unix socket."""
    return through if request.param == "tcp" else replace(through, socket=proxy.socket)


@pytest.fixture(scope="package")
def through_one_upstream(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Another Warmwire that never has more than one upstream."""
    started = serve(server, tmp_path_factory.mktemp("one"), WARMWIRE_POOL_SIZE=1, WARMWIRE_POOL_MAX=1)
    yield Endpoint(started.port, "app", APP_PASSWORD, "app")
    started.stop()


@pytest.fixture
def connect() -> Iterator[Sessions]:
    """Opens sessions that are closed at the end of the test."""
    sessions = Sessions()
    yield sessions
    sessions.close()
