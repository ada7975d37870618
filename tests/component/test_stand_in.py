"""The stand-in for a database, with a stock driver and, where a driver is too kind, with bytes."""

import contextlib
import socket
import threading
import time

import pymysql
import pytest

from warmwire.emulator import stand_in

SESSION_TRACK = 1 << 23
SESSION_STATE_CHANGED = 0x4000
COM_QUERY = 0x03
COM_RESET_CONNECTION = 0x1F
COM_SET_OPTION = 0x1B
BOUND = 10  # seconds that anything here may take


@pytest.fixture
def server():
    with stand_in.running("app", "secret") as running:
        yield running


@pytest.fixture
def connect(server):
    with contextlib.ExitStack() as opened:

        def connect(**options):
            standard = {
                "host": "127.0.0.1",
                "port": server.port,
                "user": "app",
                "password": "secret",
                "database": "demo",
                "ssl_disabled": True,
                "read_timeout": BOUND,
            }
            connection = pymysql.connect(**standard | options)
            opened.callback(lambda: connection.close() if connection.open else None)
            return connection

        yield connect


def query(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def status(connection, name):
    [(_, value)] = query(connection, f"SHOW GLOBAL STATUS LIKE '{name}'")
    return int(value)


def eventually(question):
    deadline = time.monotonic() + BOUND
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def admin(connect):
    connection = connect(autocommit=True)
    query(connection, "CREATE TABLE notes (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(20))")
    return connection


def test_changes_are_seen_by_others_only_after_commit(admin, connect):
    client = connect()
    with client.cursor() as cursor:
        assert cursor.execute("INSERT INTO notes (text) VALUES ('a'), ('b')") == 2
        assert cursor.lastrowid == 2
    assert query(client, "SELECT COUNT(*) FROM notes") == ((2,),)
    assert query(admin, "SELECT COUNT(*) FROM notes") == ((0,),)
    client.commit()
    assert query(admin, "SELECT text FROM notes ORDER BY id") == (("a",), ("b",))


def test_rollback_and_a_closed_connection_leave_nothing(admin, connect):
    for end in ("rollback", "close"):
        client = connect()
        query(client, "INSERT INTO notes (text) VALUES ('lost')")
        getattr(client, end)()
        eventually(lambda: query(admin, "SELECT * FROM information_schema.innodb_trx") == ())
    assert query(admin, "SELECT COUNT(*) FROM notes") == ((0,),)


def test_open_transactions_are_listed(admin, connect):
    client = connect(autocommit=True)
    query(client, "START TRANSACTION")
    query(client, "UPDATE notes SET text = 'x'")
    assert query(admin, "SELECT * FROM information_schema.innodb_trx") == ((client.thread_id(), 1),)
    query(client, "SET autocommit = 1")
    assert query(admin, "SELECT * FROM information_schema.innodb_trx") == ()


def test_two_open_transactions_do_not_wait_for_each_other(admin, connect):
    first, second = connect(), connect()
    for client in (first, second):
        query(client, "INSERT INTO notes (text) VALUES ('mine')")
    second.commit()
    first.commit()
    assert query(admin, "SELECT COUNT(*) FROM notes") == ((2,),)


def test_the_driver_is_told_the_state_of_the_transaction(admin, connect):
    client = connect()
    assert not client.get_autocommit()
    query(client, "INSERT INTO notes (text) VALUES ('a')")
    assert client.server_status & 1
    client.commit()
    assert not client.server_status & 1


def test_connection_ids_count_from_one_and_are_what_the_greeting_says(connect):
    clients = [connect(), connect()]
    assert [client.thread_id() for client in clients] == [1, 2]
    assert [query(client, "SELECT CONNECTION_ID()") for client in clients] == [((1,),), ((2,),)]


@pytest.mark.parametrize("wrong", [{"password": "guess"}, {"user": "somebody"}, {"password": ""}])
def test_a_refused_login_is_told_so_and_ends_the_connection(server, connect, admin, wrong):
    with pytest.raises(pymysql.err.OperationalError, match="1045"):
        connect(**wrong)
    eventually(lambda: status(admin, "Aborted_connects") == 1)
    eventually(lambda: status(admin, "Threads_connected") == 1)


def test_reset_ends_the_transaction_and_forgets_variables(admin, connect):
    client = connect()
    query(client, "SET SESSION wait_timeout = 77")
    query(client, "INSERT INTO notes (text) VALUES ('lost')")
    client._execute_command(COM_RESET_CONNECTION, b"")
    client._read_ok_packet()
    assert query(client, "SELECT @@wait_timeout, @@autocommit") == ((28800, 1),)
    assert query(client, "SELECT COUNT(*) FROM notes") == ((0,),)


def test_several_settings_in_one_statement_and_collations_by_number(connect):
    client = connect()
    query(client, "SET @@SESSION.character_set_client=45,@@SESSION.collation_connection=46,@@SESSION.wait_timeout=9")
    assert query(client, "SELECT @@character_set_client, @@collation_connection, @@wait_timeout") == (
        ("utf8mb4", "utf8mb4_bin", 9),
    )


def test_multi_statements_can_be_switched_though_they_change_nothing(connect):
    client = connect()
    client._execute_command(COM_SET_OPTION, b"\0\0")
    assert client._read_packet().is_eof_packet()


@pytest.mark.parametrize(
    ("sql", "errno"),
    [
        ("LOCK TABLES notes READ", 1235),
        ("SELECT 1; SELECT 2", 1064),
        ("SELEC 1", 1064),
        ("SELECT * FROM absent", 1105),
        ("GRANT ALL ON *.* TO x", 1235),
    ],
)
def test_what_it_does_not_know_is_an_error_and_the_connection_goes_on(admin, sql, errno):
    with pytest.raises(pymysql.err.MySQLError) as refused:
        query(admin, sql)
    assert refused.value.args[0] == errno
    assert query(admin, "SELECT 1") == ((1,),)


def test_the_transactions_state_is_tracked_for_who_asks(admin, connect):
    client = connect(client_flag=SESSION_TRACK)

    def tracked(sql):
        client._execute_command(COM_QUERY, sql)
        packet = client._read_packet().get_all_data()
        flagged = int.from_bytes(packet[3:5], "little") & SESSION_STATE_CHANGED
        return packet[7:] if flagged else None

    assert tracked("BEGIN") is None
    assert tracked("SET session_track_transaction_info = 'STATE'") == b"\0\x0b\x05\x09\x08T_______"
    assert tracked("UPDATE notes SET text = 'x'") == b"\0\x0b\x05\x09\x08T___W___"
    assert tracked("UPDATE notes SET text = 'y'") is None
    assert tracked("COMMIT") == b"\0\x0b\x05\x09\x08________"


def test_a_polite_end_is_told_from_an_abrupt_one(admin, connect):
    before = status(admin, "Connections")
    connect().close()
    eventually(lambda: status(admin, "Threads_connected") == 1)
    assert (status(admin, "Connections"), status(admin, "Aborted_clients")) == (before + 1, 0)
    connect()._force_close()
    eventually(lambda: status(admin, "Threads_connected") == 1)
    assert (status(admin, "Connections"), status(admin, "Aborted_clients")) == (before + 2, 1)


def test_killed_connection_ends(admin, connect):
    victim = connect()
    query(admin, f"KILL {victim.thread_id()}")
    with pytest.raises(pymysql.err.OperationalError, match="2013"):
        query(victim, "SELECT 1")


def test_a_packet_may_arrive_byte_by_byte(server, connect):
    client = connect()
    with socket.create_connection(("127.0.0.1", server.port), BOUND) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # As a login, an empty user name without a password: the answer is a refusal, not silence.
        greeting = slow.recv(4096)
        assert greeting[4] == 10
        login = (0x8A20D).to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + b"\x2d" + bytes(23)
        login += b"\0" + b"\0" + b"d\0" + b"mysql_native_password\0"
        for byte in len(login).to_bytes(3, "little") + b"\1" + login:
            slow.send(bytes((byte,)))
            time.sleep(0.001)
        assert slow.recv(4096)[4:7] == b"\xff" + (1045).to_bytes(2, "little")
    assert query(client, "SELECT 1") == ((1,),)


def test_it_stops_with_clients_still_connected():
    with stand_in.running("app", "secret") as server:
        client = socket.create_connection(("127.0.0.1", server.port), BOUND)
        assert client.recv(4096)
    with client:
        assert client.recv(1) == b""
    assert "stand-in" not in [thread.name for thread in threading.enumerate()]
