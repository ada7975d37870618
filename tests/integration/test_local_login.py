"""The ways in which clients log in, old and new, and what each of them is told."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conftest import Proxy, serve
from tests.servers.server import APP_PASSWORD
from tests.wire import Wire
from tests.wire_packets import PLAIN, Flag, Login, Refused, Role

pytestmark = [pytest.mark.server, pytest.mark.timeout(60)]

LOCAL_PASSWORD = "local-secret"

KINDS = {
    "caching_sha2_password": Login("app", LOCAL_PASSWORD),
    "mysql_native_password": Login("app", LOCAL_PASSWORD, plugin=b"mysql_native_password"),
    "no plugin": Login("app", LOCAL_PASSWORD, flags=PLAIN & ~(Flag.PLUGIN_AUTH | Flag.PLUGIN_AUTH_LENENC)),
    "no length-encoded answer": Login("app", LOCAL_PASSWORD, flags=PLAIN & ~Flag.PLUGIN_AUTH_LENENC),
    "plugin that the client lacks": Login("app", LOCAL_PASSWORD, plugin=b"dummy_fallback_auth", first_answer=b""),
    "own default without an answer": Login("app", LOCAL_PASSWORD, plugin=b"caching_sha2_password", first_answer=b""),
    "plugin that nobody knows": Login("app", LOCAL_PASSWORD, plugin=b"future_auth", first_answer=b"x" * 40),
    "attributes": Login("app", LOCAL_PASSWORD, attributes={"program_name": "test", "long": "x" * 1000}),
    "schema": Login("app", LOCAL_PASSWORD, "app"),
}

SWITCHED = {"plugin that the client lacks", "own default without an answer", "plugin that nobody knows"}
"""They are asked to use another plugin."""


@pytest.fixture(scope="module", params=[True, False], ids=["password set", "any password"])
def asks(request: pytest.FixtureRequest) -> bool:
    """Whether clients have to give a password."""
    return request.param


@pytest.fixture(scope="module")
def proxy(asks: bool, server, tmp_path_factory) -> Iterator[Proxy]:
    settings = {"WARMWIRE_LOCAL_PASSWORD": LOCAL_PASSWORD} if asks else {}
    started = serve(server, tmp_path_factory.mktemp("login"), **settings)
    yield started
    started.stop()


@pytest.fixture(params=["tcp", "unix"])
def wire(request: pytest.FixtureRequest, proxy) -> Iterator[Wire]:
    with Wire(("127.0.0.1", proxy.port) if request.param == "tcp" else proxy.socket) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_is_let_in(wire: Wire, kind: str):
    packets = wire.login(KINDS[kind])
    assert [packet.seq for packet in packets] in ([2], [2, 3], [2, 4], [2, 4, 5])
    assert packets[-1].role is Role.OK
    assert_same_session(wire, KINDS[kind])


@pytest.mark.parametrize("kind", SWITCHED)
def test_a_client_with_another_plugin_is_asked_to_switch(wire: Wire, asks: bool, kind: str):
    packets = wire.login(KINDS[kind])
    switches = [packet for packet in packets if packet.payload[0] == 0xFE]
    assert len(switches) == (asks or kind != "own default without an answer")
    for switch in switches:
        plugin, _, nonce = switch.payload[1:].partition(b"\0")
        assert plugin in (b"mysql_native_password", b"caching_sha2_password")
        assert len(nonce) == 21
        assert nonce.index(0) == 20
        assert nonce[:20] != wire.greeting.nonce


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_can_log_in_anew(wire: Wire, kind: str):
    """COM_CHANGE_USER, by each plugin."""
    wire.login(replace(KINDS[kind], database="app"))
    packets = wire.change_user(replace(KINDS[kind], database="app2"))
    assert packets[-1].role is Role.OK
    assert wire.rows("SELECT DATABASE()") == [(b"app2",)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password(wire: Wire, asks: bool, kind: str):
    """Refused and the connection closed, if a password was set; else it does not matter, but the user's name does."""
    login = replace(KINDS[kind], password="wrong")
    if not asks:
        assert wire.login(login)[-1].role is Role.OK
        return
    with pytest.raises(Refused) as caught:
        wire.login(login)
    assert (caught.value.errno, caught.value.sqlstate) == (1045, "28000")
    assert wire.at_end()


@pytest.mark.parametrize("user", ["", "root", "App", "app_empty"])
def test_a_wrong_user(wire: Wire, user: str):
    with pytest.raises(Refused) as caught:
        wire.login(Login(user, LOCAL_PASSWORD))
    assert (caught.value.errno, caught.value.sqlstate) == (1045, "28000")
    assert wire.at_end()


def test_an_unknown_schema_is_refused_in_the_words_of_the_server(server, wire: Wire):
    with pytest.raises(Refused) as caught:
        wire.login(Login("app", LOCAL_PASSWORD, "nosuch"))
    with Wire((server.host, server.port)) as direct, pytest.raises(Refused) as expected:
        direct.login(Login("app", APP_PASSWORD, "nosuch"))
    assert (caught.value.errno, caught.value.sqlstate) == (expected.value.errno, expected.value.sqlstate)
    assert wire.at_end()


def assert_same_session(wire: Wire, login: Login) -> None:
    expected = None if login.database is None else login.database.encode()
    assert wire.rows("SELECT DATABASE(), CURRENT_USER()") == [(expected, b"app@%")]
