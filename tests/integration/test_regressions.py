"""Differences that other drivers' own test suites have found, each as small as it gets."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Proxy, serve
from tests.servers.server import APP_PASSWORD
from tests.wire import Wire
from tests.wire_packets import Command, Login, Packet, Refused

pytestmark = [pytest.mark.server, pytest.mark.timeout(60)]

COLLATIONS = (45, 224, 224, 45, 46, 33, 192, 83, 8, 48, 224, 255, 224, 255, 255, 250, 45, 250)
"""utf8mb4_general_ci, utf8mb4_unicode_ci, utf8mb4_bin, utf8mb3_*, latin1_*; 255 is MySQL's utf8mb4_0900_ai_ci, which MariaDB
does not know, and 250 is nobody's."""
CHARACTER_SETS = "SELECT @@character_set_client, @@character_set_results, @@collation_connection, 'Grüße'".encode()


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory) -> Iterator[Proxy]:
    """Warmwire with one upstream, so that each client gets what the one before has left."""
    settings = {"WARMWIRE_POOL_SIZE": 1, "WARMWIRE_POOL_MAX": 1, "WARMWIRE_CHECKOUT_TIMEOUT": 20}
    started = serve(server, tmp_path_factory.mktemp("regressions"), **settings)
    yield started
    started.stop()


def login(collation: int, database: str | None = "app") -> Login:
    return Login("app", APP_PASSWORD, database, collation=collation)


def character_sets(wire: Wire) -> list[Packet]:
    """What the session's are, and with which numbers the columns are labelled."""
    return wire.command(Command.QUERY, CHARACTER_SETS)


@pytest.mark.parametrize("database", ["app", None])
def test_every_client_has_the_collation_of_its_login(server, proxy, database):
    """Also one that is not its character set's default: MariaDB cannot be given that by its id."""
    for collation in COLLATIONS:
        found = []
        for port in (server.port, proxy.port):
            with Wire(("127.0.0.1", port)) as wire:
                wire.login(login(collation, database))
                found.append(character_sets(wire))
                wire.quit()
        assert found[0] == found[1], f"collation {collation}"


def test_a_reset_goes_back_to_the_collation_of_the_login(server, proxy):
    for collation in (45, 224, 46, 33, 192, 224):
        found = []
        for port in (server.port, proxy.port):
            with Wire(("127.0.0.1", port)) as wire:
                wire.login(login(collation))
                wire.command(Command.QUERY, b"SET NAMES latin1")
                wire.command(Command.RESET_CONNECTION)
                found.append(character_sets(wire))
                wire.quit()
        assert found[0] == found[1], f"collation {collation}"


def test_a_refused_change_of_user_leads_no_collation_astray(server, proxy):
    """The server keeps what it was asked for, for its next reset, although it refused."""
    for asked in (192, 46):
        found = []
        for port in (server.port, proxy.port):
            with Wire(("127.0.0.1", port)) as wire:
                wire.login(login(224))
                wire.command(Command.INIT_DB, b"app2")
                with pytest.raises(Refused):
                    wire.change_user(login(asked, "nowhere"))
                wire.close()
            with Wire(("127.0.0.1", port)) as wire:
                wire.login(login(224))
                found.append(character_sets(wire))
                wire.quit()
        assert found[0] == found[1], f"after asking for collation {asked}"


def test_a_client_can_kill_by_the_id_it_was_greeted_with(server, warmwire):
    """Drivers cancel a statement with KILL QUERY and that id, from a second connection."""
    proxy = warmwire(server, WARMWIRE_POOL_SIZE=4, WARMWIRE_POOL_MAX=4)
    crowd = [Wire(("127.0.0.1", proxy.port)) for _ in range(4)]
    for wire in crowd:
        wire.login(login(45))
    for wire in crowd:
        wire.command(Command.PING)
    for wire in crowd:
        wire.quit()
    time.sleep(0.3)  # until they are reset; a client that comes earlier may well get another one
    with Wire(("127.0.0.1", proxy.port)) as wire, Wire(("127.0.0.1", proxy.port)) as killer:
        killer.login(login(45))
        wire.login(login(45))
        for each in (killer, wire):
            answer = each.command(Command.QUERY, b"SELECT CONNECTION_ID()")
            assert answer[-2].payload[1:] == str(each.greeting.connection_id).encode()
        kill = threading.Timer(0.3, lambda: killer.command(Command.QUERY, b"KILL QUERY %d" % wire.greeting.connection_id))
        kill.start()
        answer = wire.command(Command.QUERY, b"SELECT SLEEP(20) FROM (SELECT 1 UNION SELECT 2) two")
        kill.join()
        assert answer[-1].payload[0] == 0xFF, "it was not interrupted"
