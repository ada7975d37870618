"""Attacks on the port of a running Warmwire, one by one. Random ones are in tests/fuzz."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fuzz.corpus import login as login_packet
from tests.fuzz.vitals import Vitals, wait_until
from tests.servers.server import APP_PASSWORD
from tests.wire import Wire
from tests.wire_packets import PLAIN, Closed, Command, Flag, Login, Refused, Role, frame, scramble

pytestmark = pytest.mark.server

NATIVE, CACHING = b"mysql_native_password", b"caching_sha2_password"
LOCAL_PASSWORD = "the local one"
MB = 1 << 20
MAX_CLIENTS = 512
"""As Warmwire has it; its process may have about as many sockets open, whatever its clients do."""


def good_client(proxy, sql: str = "SELECT 'good'", password: str = APP_PASSWORD) -> list[tuple[bytes | None, ...]]:
    """What a client gets that does everything right."""
    with Wire((proxy.host, proxy.port), timeout=15) as wire:
        wire.login(Login("app", password, "app"))
        rows = wire.rows(sql)
        wire.quit()
    return rows


def logged_in(proxy, flags: Flag = PLAIN) -> Wire:
    wire = Wire((proxy.host, proxy.port), timeout=15)
    wire.login(Login("app", APP_PASSWORD, "app", flags))
    return wire


def crowd(proxy, size: int) -> list[socket.socket]:
    return [socket.create_connection((proxy.host, proxy.port), timeout=15) for _ in range(size)]


@pytest.fixture
def proxy(server, warmwire):
    """Warmwire with two upstreams, warmed up."""
    started = warmwire(server, WARMWIRE_POOL_SIZE=1, WARMWIRE_POOL_MAX=2)
    good_client(started)
    return started


@pytest.fixture
def locked(server, warmwire):
    """Warmwire with a password of its own."""
    return warmwire(server, WARMWIRE_LOCAL_PASSWORD=LOCAL_PASSWORD, WARMWIRE_POOL_MAX=2)


@pytest.fixture
def witness(server) -> Iterator[Callable[[], int]]:
    """How many rows strangers have put into app.witness."""
    server.query("CREATE TABLE app.witness (n INT)")
    yield lambda: server.query("SELECT COUNT(*) FROM app.witness")[0][0]
    server.query("DROP TABLE app.witness")


BETRAYAL = frame(b"\x03INSERT INTO app.witness VALUES (1)")


# --- many at once ---------------------------------------------------------------------------------------------------------


def test_500_half_open_connections_and_slow_ones_do_not_stop_a_good_client(proxy):
    vitals = Vitals(proxy)
    with_nothing = crowd(proxy, 400)
    slow = crowd(proxy, 100)
    whole = frame(login_packet(PLAIN), 1)
    for at in range(20):
        for sock in slow:
            sock.sendall(whole[at : at + 1])
        if at % 5 == 0:
            assert good_client(proxy) == [(b"good",)]
    vitals.check("with 500 half-open connections", more_files=510)
    for sock in with_nothing + slow:
        sock.close()
    vitals.check("after 500 half-open connections", more_files=4)


def test_a_flood_of_refused_logins_that_stay_open_uses_up_nothing(proxy):
    vitals = Vitals(proxy)
    stranger = frame(login_packet(PLAIN, user=b"somebody"), 1)
    flood = []
    for number in range(900):
        flood += crowd(proxy, 1)
        flood[-1].sendall(stranger)
        if number % 100 == 0:
            assert vitals.files <= vitals.files_before + MAX_CLIENTS + 8
    assert good_client(proxy) == [(b"good",)]
    vitals.check("during the flood", more_files=MAX_CLIENTS + 8)
    for sock in flood:
        sock.close()
    vitals.check("after the flood", more_files=4)


def test_thousands_that_come_and_go_leave_nothing_behind(proxy):
    vitals = Vitals(proxy)
    reset = struct.pack("ii", 1, 0)
    for number in range(2000):
        (sock,) = crowd(proxy, 1)
        if number % 3 == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        elif number % 3 == 2:
            sock.sendall(frame(login_packet(PLAIN), 1)[:20])
        sock.close()
    assert good_client(proxy) == [(b"good",)]
    vitals.check("after 2000 connections", more_files=4)


@pytest.mark.parametrize("moment", ["login", "command", "response", "reset", "change user", "upload", "early"])
def test_clients_that_leave_in_the_middle_give_their_upstream_back(server, proxy, moment):
    vitals = Vitals(proxy)
    for number in range(30):
        wire = Wire((proxy.host, proxy.port), timeout=15)
        if moment in ("login", "early"):
            # Another collation each time, so that an upstream has to be reset while the client leaves.
            packet = bytearray(login_packet(PLAIN))
            packet[8] = (33, 45)[number % 2]
            wire.send_raw(frame(bytes(packet), 1) + (frame(b"\x03SELECT 1") if moment == "early" else b""))
        else:
            wire.login(Login("app", APP_PASSWORD, "app", PLAIN | Flag.LOCAL_FILES))
        if moment == "command":
            wire.send_raw(frame(b"\x03SELECT 'never finished'")[:-5])
        elif moment == "response":
            wire.send(b"\x03SELECT REPEAT('x', 300000)")
        elif moment == "reset":
            wire.send(b"\x1f")
        elif moment == "change user":
            wire.send(b"\x11app\0\x14" + bytes(20) + b"app\0\x2d\0" + NATIVE + b"\0")
            assert wire.read_logical()[0].payload[:1] == b"\xfe"
            wire.send(b"\x01" * 20, 3)
        elif moment == "upload":
            wire.send(b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE app.nothing")
            wire.read_logical()
            wire.send(b"1\n2\n", 2)
        wire.close()
    assert good_client(proxy) == [(b"good",)]
    vitals.check(f"after 30 clients that left at their {moment}", more_files=6)
    assert wait_until(lambda: len(server.connection_ids()) <= 2)


# --- nobody comes in ------------------------------------------------------------------------------------------------------


def _proof(wire: Wire, password: str, plugin: bytes = CACHING) -> bytes:
    return scramble(plugin, password.encode(), wire.greeting.nonce)


def _packet(wire: Wire, answer: bytes, plugin: bytes = CACHING, flags: Flag = PLAIN, user: bytes = b"app") -> bytes:
    return frame(login_packet(flags, plugin, answer, user), 1)


OLD = Flag.PROTOCOL_41 | Flag.SECURE_CONNECTION
STRANGERS: dict[str, Callable[[Wire], list[bytes]]] = {
    "no login": lambda wire: [BETRAYAL],
    "no login, twice": lambda wire: [BETRAYAL * 2],
    "an empty packet": lambda wire: [frame(b""), BETRAYAL],
    "the wrong password": lambda wire: [_packet(wire, _proof(wire, "wrong")), frame(_proof(wire, "wrong"), 3)],
    "the database's password": lambda wire: [_packet(wire, _proof(wire, APP_PASSWORD))],
    "no password": lambda wire: [_packet(wire, b"")],
    "no password, a NUL": lambda wire: [_packet(wire, b"\0")],
    "no password, natively": lambda wire: [_packet(wire, b"", NATIVE)],
    "the wrong password, an old client": lambda wire: [_packet(wire, _proof(wire, "wrong", NATIVE), NATIVE, OLD)],
    "no password, an old client": lambda wire: [_packet(wire, b"", NATIVE, OLD)],
    "no password, an ancient client": lambda wire: [_packet(wire, b"", NATIVE, Flag.PROTOCOL_41)],
    "half of the proof": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD)[:16])],
    "the proof and a byte more": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD) + b"\0")],
    "the proof for the other plugin": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD, NATIVE), CACHING)],
    "the proof for no nonce": lambda wire: [_packet(wire, scramble(CACHING, LOCAL_PASSWORD.encode(), bytes(20)))],
    "the password in clear": lambda wire: [_packet(wire, LOCAL_PASSWORD.encode(), b"mysql_clear_password")],
    "an unknown plugin": lambda wire: [_packet(wire, b"x" * 32, b"auth_socket")],
    "another user": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD), user=b"root")],
    "no user": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD), user=b"")],
    "a user with another in front": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD), user=b"app@x")],
    "a change of user": lambda wire: [frame(b"\x11app\0\0app\0\x2d\0" + NATIVE + b"\0", 1)],
    "the answer to a switch before the login": lambda wire: [frame(_proof(wire, LOCAL_PASSWORD), 1)],
    "a login that is cut off": lambda wire: [_packet(wire, _proof(wire, LOCAL_PASSWORD))[:40]],
    "a login of 4 GB": lambda wire: [b"\xff\xff\xff\x01" + bytes(100_000)],
}


@pytest.mark.parametrize("then", ["answers", "commands", "at once"])
def test_nobody_comes_in_without_the_password(locked, witness, then):
    """Whatever it says, whatever it says next, and whether or not it waits: it hears no OK, and nothing is carried out."""
    answers = (b"", b"\0", bytes(20), bytes(32), b"\x02", LOCAL_PASSWORD.encode() + b"\0")
    for stranger, says in STRANGERS.items():
        for answer in answers if then == "answers" else answers[:1]:
            with Wire((locked.host, locked.port), timeout=0.5 if "cut off" in stranger else 5) as wire:
                words = b"".join(says(wire))
                try:
                    if then == "at once":
                        wire.send_raw(words + frame(answer, 3) + BETRAYAL * 3)
                    else:
                        wire.send_raw(words + (BETRAYAL if then == "commands" else b""))
                    heard = wire.read_logical()[0].payload
                    if heard[:1] == b"\xfe":
                        wire.send_raw(frame(answer, 3) + BETRAYAL)
                        heard = wire.read_logical()[0].payload
                    assert heard[:1] == b"\xff", f"{stranger} with {answer!r} heard {heard!r}"
                    wire.send_raw(BETRAYAL)
                    assert wire.at_end(), stranger
                except Closed:
                    pass  # what it had not read when it closed came back as a reset
                except TimeoutError:
                    assert "cut off" in stranger  # the rest of its packet is waited for
        assert witness() == 0, stranger
    assert good_client(locked, password=LOCAL_PASSWORD) == [(b"good",)]


def test_a_login_that_was_overheard_cannot_be_repeated(locked):
    with Wire((locked.host, locked.port)) as first:
        overheard = _packet(first, _proof(first, LOCAL_PASSWORD))
        first.send_raw(overheard)
        assert [first.read_logical()[0].payload[:1] for _ in range(2)] == [b"\x01", b"\x00"]
        with Wire((locked.host, locked.port)) as second:
            assert second.greeting.nonce != first.greeting.nonce
            second.send_raw(overheard + frame(b"\x03SELECT 1"))
            assert second.read_logical()[0].payload[:1] == b"\xfe"
            assert second.read_logical()[0].payload[:3] == b"\xff\x15\x04"
            assert second.at_end()


def test_a_change_of_user_needs_the_password_again(locked, witness):
    for user in (b"app", b"root", b""):
        for answer in (b"", b"\0", bytes(20), bytes(32)):
            with Wire((locked.host, locked.port)) as wire:
                wire.login(Login("app", LOCAL_PASSWORD, "app"))
                wire.send(b"\x11" + user + b"\0" + bytes((len(answer),)) + answer + b"app\0\x2d\0" + NATIVE + b"\0")
                assert wire.read_logical()[0].payload[:1] == b"\xfe"
                wire.send_raw(frame(answer, 3) + BETRAYAL)
                assert wire.read_logical()[0].payload[:3] == b"\xff\x15\x04", (user, answer)
                assert wire.at_end()
    assert witness() == 0
    assert good_client(locked, password=LOCAL_PASSWORD) == [(b"good",)]


def test_without_a_local_password_the_user_name_is_still_needed(proxy, witness):
    for user in (b"", b"root", b"APP", b"app\xff", b"ap", b"appp"):
        with Wire((proxy.host, proxy.port)) as wire:
            wire.send_raw(frame(login_packet(PLAIN, user=user), 1) + BETRAYAL)
            heard = wire.read_logical()[0].payload
            assert heard[:3] == b"\xff\x15\x04"
            assert wire.at_end()
    assert witness() == 0


# --- sizes ----------------------------------------------------------------------------------------------------------------


def test_an_oversized_login_is_refused_by_its_header_and_the_connection_closed(proxy):
    vitals = Vitals(proxy)
    for length in (128 * 1024 + 1, 0xFFFFFE, 0xFFFFFF):
        with Wire((proxy.host, proxy.port)) as wire:
            wire.send_raw(length.to_bytes(3, "little") + b"\x01")
            with pytest.raises(Refused, match=r"1153 .08S01.*at most 131072"):
                raise Refused(wire.read_logical()[0].payload)
            assert wire.at_end()
    vitals.check()


def test_an_oversized_change_of_user_is_refused_and_the_connection_closed(proxy):
    with logged_in(proxy) as wire:
        wire.send_raw(b"\xff\xff\xff\x00\x11app")
        with pytest.raises(Refused, match=r"1153 .08S01"):
            raise Refused(wire.read_logical()[0].payload)
        assert wire.at_end()
    assert good_client(proxy) == [(b"good",)]


def test_a_client_that_never_reads_a_result_of_a_gigabyte_costs_little(server, warmwire):
    proxy = warmwire(server, WARMWIRE_POOL_MAX=4)
    good_client(proxy)
    vitals = Vitals(proxy, growth=10 * MB)
    greedy = []
    for _ in range(3):
        wire = logged_in(proxy)
        many = "information_schema.columns a, information_schema.columns b"
        wire.send(f"\x03SELECT REPEAT('x', 1000000) FROM (SELECT 1 FROM {many} LIMIT 1000) t".encode())
        assert wire.socket.recv(1) == b"\x01"  # it has begun
        greedy.append(wire)
    time.sleep(0.5)
    assert good_client(proxy) == [(b"good",)]
    vitals.check("with three results that are not read", more_files=10)
    for wire in greedy:
        wire.close()
    vitals.check("after they have gone", more_files=6)


def test_commands_by_the_hundred_thousand_whose_answers_are_not_read_cost_little(proxy):
    vitals = Vitals(proxy, growth=6 * MB)
    with logged_in(proxy) as wire:
        wire.socket.settimeout(1)
        pings = frame(b"\x0e") * 20_000
        with pytest.raises(TimeoutError):
            for _ in range(200):
                wire.socket.sendall(pings)
        vitals.check("with unread answers", more_files=4)
    assert good_client(proxy) == [(b"good",)]


@pytest.mark.parametrize("what", ["unfinished packets", "long data", "upload"])
def test_what_a_client_sends_without_end_passes_through_and_is_not_kept(server, warmwire, what):
    proxy = warmwire(server, WARMWIRE_POOL_MAX=2)
    good_client(proxy)
    vitals = Vitals(proxy, growth=6 * MB)
    with logged_in(proxy, PLAIN | Flag.LOCAL_FILES) as wire:
        wire.socket.settimeout(20)
        try:
            if what == "unfinished packets":
                for _ in range(2):
                    wire.socket.sendall(b"\xff\xff\xff\x00\x03" + b" " * 0xFFFFFD)
            elif what == "long data":
                statement = wire.command(Command.STMT_PREPARE, b"SELECT LENGTH(?)")[0].payload[1:5]
                for _ in range(600):
                    wire.socket.sendall(frame(b"\x18" + statement + b"\0\0" + b"x" * 60_000))
            else:
                wire.query("CREATE TEMPORARY TABLE sink (a TEXT)")
                wire.send(b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE sink LINES TERMINATED BY 'y'")
                wire.read_logical()
                for number in range(600):
                    wire.socket.sendall(frame(b"x" * 60_000, 2 + number))
        except OSError:  # the server has had enough of it, as it has directly
            pass
        vitals.check(f"while {what} came", more_files=4)
    assert good_client(proxy) == [(b"good",)]
    vitals.check(f"after {what}", more_files=4)


def test_a_million_session_changes_in_one_command_cost_little(proxy):
    vitals = Vitals(proxy, growth=8 * MB)
    with logged_in(proxy, PLAIN | Flag.MULTI_STATEMENTS) as wire:
        wire.send(b"\x03" + b"USE app;" * 150_000 + b"DO 1")
        answers = 0
        for packet in wire.response(Command.QUERY):
            answers += packet.role is Role.OK
        assert answers == 150_001
        vitals.check("after as many session changes", more_files=4)
        wire.quit()


# --- one's leftovers for another ------------------------------------------------------------------------------------------


def test_a_client_cannot_stay_an_answer_ahead_and_leave_its_session_to_the_next(server, warmwire):
    """MySQL answers a COM_STMT_CLOSE that is cut short; whoever takes that for the next command's answer is one ahead."""
    proxy = warmwire(server, WARMWIRE_POOL_MAX=1)
    with logged_in(proxy, PLAIN | Flag.MULTI_STATEMENTS) as attacker:
        try:
            attacker.send_raw(frame(b"\x19") + frame(b"\x03DO SLEEP(0.2)"))
            attacker.read_logical()
            # Four answers for the four commands of a reset, and then one for whoever comes next.
            attacker.send(b"\x03DO SLEEP(0.2); SET @stolen = 'mine'; DO 1; DO 1; DO SLEEP(1)")
            attacker.read_logical()
            attacker.send(b"\x01")
        except Closed:
            pass
    with logged_in(proxy, PLAIN | Flag.MULTI_STATEMENTS) as victim:  # of the same kind, so that no second reset is due
        assert victim.rows("SELECT @stolen, 'his own'") == [(None, b"his own")]
        victim.quit()


def test_commands_without_an_answer_get_none_or_end_the_connection(proxy):
    for command, whole in ((Command.STMT_CLOSE, 5), (Command.STMT_SEND_LONG_DATA, 7)):
        for length in range(1, 9):
            with logged_in(proxy) as wire:
                wire.send_raw(frame(bytes((command,)) + bytes(length - 1)))
                try:
                    answer = wire.command(Command.PING)[0].payload[:1]
                except Closed:
                    answer = b"\xff"
                assert answer == (b"\x00" if length >= whole else b"\xff"), (command, length)


def test_every_command_byte_is_answered_once_or_ends_the_connection(proxy):
    """Behind each command comes a query: if its answer is right, nobody's answers are mixed up."""
    wire = None
    for command in range(256):
        if command in (Command.QUIT, Command.CHANGE_USER):
            continue
        for argument in (b"", b"\0", b"\xff" * 9):
            wire = wire or logged_in(proxy, PLAIN | Flag.DEPRECATE_EOF)
            try:
                wire.command(command, argument)
                assert wire.rows(f"SELECT {command}") == [(b"%d" % command,)], (command, argument)
            except (Closed, Refused):
                wire.close()
                wire = None
    if wire is not None:
        wire.close()
    assert "left the protocol" not in proxy.log
    assert good_client(proxy) == [(b"good",)]
    Vitals(proxy).check()


PROCEDURES = {
    "with a cursor": "() BEGIN DECLARE c CURSOR FOR SELECT 1; OPEN c; SELECT 1 UNION SELECT 2; CLOSE c; END",
    "with an OUT parameter": "(OUT n INT) BEGIN SELECT 1; SET n = 5; END",
    "that fails": "() BEGIN SELECT 1; SIGNAL SQLSTATE '45000'; END",
    "that does nothing": "() BEGIN END",
}


@pytest.mark.parametrize("flags", [PLAIN, PLAIN | Flag.DEPRECATE_EOF], ids=["EOF", "no EOF"])
def test_the_end_of_a_procedures_results_is_found(server, proxy, flags):
    """Where it was missed, what came behind it would have been the answer to the next command."""
    for name, body in PROCEDURES.items():
        server.query("DROP PROCEDURE IF EXISTS app.hostile")
        server.query(f"CREATE PROCEDURE app.hostile{body}")
        for cursor in (0, 1):
            directly, through = (
                _call(address, flags, has_argument="OUT" in body, cursor=cursor)
                for address in ((server.host, server.port), (proxy.host, proxy.port))
            )
            assert directly == through, f"{name}, cursor type {cursor}"
    server.query("DROP PROCEDURE app.hostile")


def _call(address: tuple[str, int], flags: Flag, *, has_argument: bool, cursor: int) -> list[tuple[int, bytes]]:
    """All packets from a call to the answer to a ping behind it."""
    with Wire(address, timeout=15) as wire:
        wire.login(Login("app", APP_PASSWORD, "app", flags | Flag.PS_MULTI_RESULTS))
        call = b"CALL hostile(?)" if has_argument else b"CALL hostile()"
        statement = wire.command(Command.STMT_PREPARE, call)[0].payload[1:5]
        wire.send(b"\x17" + statement + bytes((cursor,)) + b"\1\0\0\0" + (b"\0\1\xfe\0\1z" if has_argument else b""))
        wire.send(b"\x0e")
        packets = wire.read_logical()
        while packets[-1].seq != 1 or len(packets) < 2:
            packets += wire.read_logical()
        wire.quit()
    return [(packet.seq, packet.payload) for packet in packets]


def test_one_client_that_hangs_holds_up_no_other(proxy):
    """It holds one upstream, and the others are free."""
    with logged_in(proxy) as wire:
        wire.send(b"\x03SELECT SLEEP(30)")
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.extend(good_client(proxy) for _ in range(3)))
        thread.start()
        thread.join(20)
        assert results == [[(b"good",)]] * 3
