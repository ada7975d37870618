"""Opening upstreams: what a database, or whatever listens in its place, may do at each step; and what they are told."""

import asyncio
import contextlib
import socket
import threading

import pytest

from tests.fakes.authority import Authority
from tests.fakes.clock import ManualClock
from tests.fakes.mysqld import COLUMN, EOF, FLAGS, OK, Mysqld, Session, error
from tests.fakes.proxy import until
from tests.splits import packet, packets
from tests.wire_packets import Command, Flag, scramble
from warmwire.config import Config
from warmwire.connector import GREETED_FRESH, Connector
from warmwire.errors import DatabaseUnreachable, ProtocolError, ServerRefused
from warmwire.session import Baseline

PLAIN = Baseline(b"app", 45, False, False)
KEY = 0x20000
QUERY = bytes((Command.QUERY,))


def connector_to(port, clock=None, **settings):
    chosen = {
        "db_host": "127.0.0.1", "db_port": port, "db_user": "app", "db_password": "secret", "db_tls": "disabled", **settings,
    }  # fmt: skip
    return Connector(Config(**chosen), clock or ManualClock())


@contextlib.asynccontextmanager
async def opened(mysqld, baseline=PLAIN, **settings):
    """An upstream to a fake server that serves meanwhile."""
    async with mysqld.serving():
        upstream = await connector_to(mysqld.port, **settings).open(KEY, baseline, 5.0)
        try:
            yield upstream
        finally:
            upstream.wire.abort()


async def failure(port, timeout=5.0, **settings):
    """What opening ends with."""
    with pytest.raises(DatabaseUnreachable) as raised:
        await connector_to(port, **settings).open(KEY, PLAIN, timeout)
    assert f"{settings.get('db_host', '127.0.0.1')}:{port}" in str(raised.value)
    return str(raised.value)


def greets(payload):
    """A greeting of these bytes, sent as one packet."""

    async def greet(session: Session) -> bytes:
        return packet(payload, 0)

    return greet


class TestOpening:
    async def test_a_login_says_who_we_are_and_brings_the_session_to_its_baseline(self):
        async with opened(mysqld := Mysqld()) as upstream:
            (session,) = mysqld.sessions
            assert session.database == b"app"
            assert session.commands == [
                QUERY + b"SELECT @@init_connect",
                QUERY + b"SET @@SESSION.wait_timeout=600,@@SESSION.session_track_transaction_info='STATE'",
            ]
            assert (upstream.baseline, upstream.key, upstream.thread_id) == (PLAIN, KEY, 1)
            assert upstream.facts.version == b"8.0.99" and not upstream.facts.is_mariadb
            assert repr(upstream) == "upstream 1"
            upstream.quit()
            await until(lambda: session.has_quit)

    async def test_a_host_name_that_is_unknown(self):
        text = await failure(3306, db_host="database.invalid")
        assert "while looking up its address; the database is database.invalid:3306: check WARMWIRE_DB_HOST" in text

    @pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", ".", "bad name"])
    async def test_a_host_name_that_is_none(self, name):
        assert f"the database is {name}:3306" in await failure(3306, db_host=name)

    async def test_a_port_where_nobody_listens(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        text = await failure(port)
        assert text.lower().startswith("connection refused while connecting to 127.0.0.1; the database is 127.0.0.1:")

    async def test_a_server_that_never_greets(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            text = await failure(listening.getsockname()[1], timeout=0.1)
        assert "while waiting for its greeting" in text and text.startswith("timed out after")
        assert "check the security groups" in text

    async def test_a_server_that_never_answers_the_login(self):
        async def silent(session: Session, _: bytes) -> None:
            return None

        mysqld = Mysqld()
        mysqld.handlers[QUERY] = silent
        async with mysqld.serving():
            assert "while logging in" in await failure(mysqld.port, timeout=0.1)

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            (b"SSH-2.0-OpenSSH_9.2p1", "does not greet like a MySQL server"),
            (b"\x0a8.0.99", "a string has no NUL at its end"),
            (b"\x0a8.0.99\0abcd", "greeting is cut off"),
            (b"", "does not greet like a MySQL server"),
        ],
    )
    async def test_something_that_is_no_mysql_server(self, payload, text):
        mysqld = Mysqld()
        mysqld.greeting = greets(payload)
        async with mysqld.serving():
            assert text in await failure(mysqld.port)

    async def test_something_that_speaks_http(self):
        async def greet(session: Session) -> bytes:
            return b"HTTP/1.1 400 Bad Request\r\n\r\n"

        mysqld = Mysqld()
        mysqld.greeting = greet
        async with mysqld.serving():
            assert "a packet of 5526600 bytes came where at most 1048576 are accepted" in await failure(mysqld.port)

    async def test_a_server_that_hangs_up(self):
        async def hang_up(session: Session) -> None:
            return None

        mysqld = Mysqld()
        mysqld.greeting = hang_up
        async with mysqld.serving():
            assert "while waiting for its greeting" in await failure(mysqld.port)

    async def test_a_server_that_is_full_is_quoted(self):
        mysqld = Mysqld()
        mysqld.greeting = greets(b"\xff\x10\x04Too many connections")
        async with mysqld.serving():
            with pytest.raises(ServerRefused, match="Too many connections") as raised:
                await connector_to(mysqld.port).open(KEY, PLAIN, 5.0)
            assert raised.value.errno == 1040

    async def test_a_server_that_refuses_the_login_is_quoted(self):
        mysqld = Mysqld()
        mysqld.refuse_login = error(1045, "Access denied for user 'app'@'localhost'", "28000")
        async with mysqld.serving():
            with pytest.raises(ServerRefused, match="Access denied") as raised:
                await connector_to(mysqld.port).open(KEY, PLAIN, 5.0)
            assert (raised.value.errno, raised.value.sqlstate) == (1045, "28000")

    async def test_an_empty_packet_as_an_answer_is_no_answer(self):
        mysqld = Mysqld()
        mysqld.query("SET", b"")
        async with mysqld.serving():
            assert "something else than it was asked" in await failure(mysqld.port)

    async def test_a_cancelled_opening_leaves_no_connection(self):
        async def silent(session: Session, _: bytes) -> None:
            return None

        mysqld = Mysqld()
        mysqld.handlers[QUERY] = silent
        async with mysqld.serving():
            opening = asyncio.create_task(connector_to(mysqld.port).open(KEY, PLAIN, 5.0))
            await until(lambda: mysqld.sessions and mysqld.sessions[0].commands)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await until(lambda: mysqld.sessions[0].ended.is_set())


class TestGreeting:
    async def test_the_first_connection_waits_for_its_login_and_is_used_for_it(self):
        mysqld = Mysqld()
        async with mysqld.serving():
            connector = connector_to(mysqld.port)
            assert await connector.greet(5.0) is True
            assert connector.facts is not None and connector.greeted_thread_id == 1
            assert await connector.greet(5.0) is False
            upstream = await connector.open(KEY, PLAIN, 5.0)
            assert (upstream.thread_id, connector.greeted_thread_id, len(mysqld.sessions)) == (1, 0, 1)
            upstream.wire.abort()

    async def test_a_greeting_that_is_too_old_is_not_used(self):
        mysqld, clock = Mysqld(), ManualClock()
        async with mysqld.serving():
            connector = connector_to(mysqld.port, clock)
            await connector.greet(5.0)
            clock.freeze(GREETED_FRESH + 1)
            upstream = await connector.open(KEY, PLAIN, 5.0)
            assert upstream.thread_id == 2
            await until(lambda: mysqld.sessions[0].ended.is_set())
            upstream.wire.abort()

    async def test_a_greeting_from_a_server_that_has_hung_up_is_not_used(self):
        mysqld = Mysqld()
        async with mysqld.serving():
            connector = connector_to(mysqld.port)
            await connector.greet(5.0)
            mysqld.sessions[0].abort()
            await until(lambda: mysqld.sessions[0].ended.is_set())
            upstream = await connector.open(KEY, PLAIN, 5.0)
            assert upstream.thread_id == 2
            upstream.wire.abort()

    async def test_clients_that_come_at_once_do_not_wait_for_a_dead_database_one_after_the_other(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            connector = connector_to(listening.getsockname()[1])
            async with asyncio.timeout(2.5):  # one after the other they would take 5 s
                outcomes = await asyncio.gather(*(connector.greet(0.5) for _ in range(10)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DatabaseUnreachable] * 10

    async def test_clients_that_come_at_once_are_greeted_by_one_connection(self):
        mysqld = Mysqld()
        async with mysqld.serving():
            connector = connector_to(mysqld.port)
            outcomes = await asyncio.gather(*(connector.greet(5.0) for _ in range(10)))
            assert sorted(outcomes) == [False] * 9 + [True]
            assert len(mysqld.sessions) == 1
            (await connector.open(KEY, PLAIN, 5.0)).wire.abort()


class TestAuthentication:
    """Conversations that a server may hold after the login packet; b"?" stands for a packet of ours."""

    @staticmethod
    async def log_in(answers):
        """The packets of ours that came, the login first."""
        heard = []

        async def converse(session: Session) -> None:
            session.send(mysqld.greeting_packet)
            heard.append(await session.read_packet())
            sequence = 2
            for answer in answers:
                if answer is None:
                    heard.append(await session.read_packet())
                    sequence += 1
                else:
                    session.send(packet(answer, sequence))
                    sequence += 1
            if answers[-1] == OK:
                while (payload := await session.read_packet()) != b"\x01":
                    session.send(mysqld._own(session, payload))

        mysqld = Mysqld()
        mysqld.greeting = converse
        async with mysqld.serving():
            upstream = await connector_to(mysqld.port).open(KEY, PLAIN, 5.0)
            upstream.quit()
            await upstream.wire.closed
        return heard

    NONCE = b"abcdefghijklmnopqrst"

    async def test_the_plugin_of_the_greeting_is_answered_in_the_login_packet(self):
        (login,) = await self.log_in([OK])
        assert scramble(b"mysql_native_password", b"secret", self.NONCE) in login

    @pytest.mark.parametrize("plugin", [b"mysql_native_password", b"caching_sha2_password"])
    async def test_the_server_may_switch_to_the_accounts_plugin(self, plugin):
        nonce = b"0123456789ABCDEFGHIJ"
        fast = [b"\x01\x03"] if plugin == b"caching_sha2_password" else []
        _, answer = await self.log_in([b"\xfe" + plugin + b"\0" + nonce + b"\0", None, *fast, OK])
        assert answer == scramble(plugin, b"secret", nonce)

    @pytest.mark.parametrize(
        ("answers", "text"),
        [
            ([b"\xfesha256_password\0" + b"n" * 20 + b"\0"], "plugin 'sha256_password', which Warmwire does not have"),
            ([b"\x07what"], "an unexpected packet came during the login"),
            ([b"\xfe"], "a string has no NUL at its end"),
            ([b"\xfemysql_native_password\0" + b"n" * 20 + b"\0", None] * 20, "authentication does not come to an end"),
        ],
    )
    async def test_conversations_that_lead_nowhere(self, answers, text):
        with pytest.raises(DatabaseUnreachable, match=text):
            await self.log_in(answers)


class TestReset:
    async def test_everything_is_reset_and_set_again(self):
        async with opened(mysqld := Mysqld()) as upstream:
            before = len(mysqld.sessions[0].commands)
            await upstream.reset_to(PLAIN._replace(database=b"app2", multi_statements=True))
            commands = mysqld.sessions[0].commands[before:]
            assert [command[0] for command in commands] == [0x1F, 0x03, 0x1B, 0x02]
            assert commands[2:] == [b"\x1b\x00\x00", b"\x02app2"]
            assert upstream.baseline == PLAIN._replace(database=b"app2", multi_statements=True)

    async def test_aurora_2_gets_one_command_at_a_time(self):
        waiting = []

        async def reset(session: Session, _: bytes) -> None:
            await asyncio.sleep(0.02)
            waiting.append(len(session.reader._buffer))
            session.send(packet(OK, 1))

        for version, patient in ((b"5.7.12", True), (b"8.0.99", False), (b"5.5.5-10.11.6-MariaDB", False)):
            mysqld = Mysqld(version)
            mysqld.handlers[b"\x1f"] = reset
            async with opened(mysqld) as upstream:
                waiting.clear()
                await upstream.reset_to(PLAIN)
                assert (waiting == [0]) is patient

    async def test_without_a_database_only_a_change_of_user_will_do(self):
        async with opened(mysqld := Mysqld()) as upstream:
            before = len(mysqld.sessions[0].commands)
            await upstream.reset_to(PLAIN._replace(database=None))
            assert mysqld.sessions[0].commands[before][:5] == b"\x11app\0"
            assert mysqld.sessions[0].database is None
            assert upstream.baseline == PLAIN._replace(database=None)

    async def test_a_collation_that_the_server_does_not_know_is_learnt(self):
        mysqld = Mysqld()
        baseline = PLAIN._replace(collation=255)
        mysqld.query("SET @@SESSION.character_set_client=255", error(1273, "Unknown collation: '255'"))
        async with opened(mysqld, baseline) as upstream:
            await upstream.reset_to(baseline)
            assert upstream.baseline == baseline
            before = len(mysqld.sessions[0].commands)
            await upstream.reset_to(baseline)
            assert b"=255" not in b"".join(mysqld.sessions[0].commands[before:])

    async def test_a_database_that_is_gone_leaves_a_clean_session_at_no_baseline(self):
        mysqld = Mysqld()
        mysqld.on(b"\x02gone", error(1049, "Unknown database 'gone'", "42000"))
        async with opened(mysqld) as upstream:
            with pytest.raises(ServerRefused, match="Unknown database 'gone'"):
                await upstream.reset_to(PLAIN._replace(database=b"gone"))
            assert upstream.baseline is None
            await upstream.reset_to(PLAIN)
            assert upstream.baseline == PLAIN

    @pytest.mark.parametrize("front", [b"\x1f", QUERY + b"SET", b"\x1b"])
    async def test_a_refusal_of_anything_else_makes_the_upstream_useless(self, front):
        async with opened(mysqld := Mysqld()) as upstream:
            mysqld.on(front, error(1047, "Unknown command", "08S01"))
            with pytest.raises(ProtocolError, match="the server refused the reset: Unknown command"):
                await upstream.reset_to(PLAIN)
            assert upstream.baseline is None

    async def test_init_connect_is_run_again_after_a_reset_and_whatever_it_answers_is_read(self):
        mysqld = Mysqld()
        mysqld.query("SELECT @@init_connect", b"\x01", COLUMN, EOF, b"\x12SET @a=1; SELECT 2", EOF)
        mysqld.query("SELECT COUNT(*)", b"\x01", COLUMN, EOF, b"\x010", EOF)

        async def two_results(session: Session, _: bytes) -> None:
            more = b"\x00\x00\x00\x0a\x00\x00\x00"
            session.send(packets(more, b"\x01", COLUMN, EOF, b"\x012", EOF))

        mysqld.handlers[QUERY + b"SET @a=1; SELECT 2"] = two_results
        async with opened(mysqld) as upstream:
            assert upstream.facts.init_connect == b"SET @a=1; SELECT 2"
            await upstream.reset_to(PLAIN)
            assert QUERY + b"SET @a=1; SELECT 2" in mysqld.sessions[0].commands
            assert mysqld.sessions[0].commands[-1] == b"\x1b\x01\x00"  # no multi-statements for this client

    async def test_init_connect_is_not_run_for_accounts_that_the_server_exempts(self):
        mysqld = Mysqld()
        mysqld.query("SELECT @@init_connect", b"\x01", COLUMN, EOF, b"\x08SET @a=1", EOF)
        mysqld.query("SELECT COUNT(*)", b"\x01", COLUMN, EOF, b"\x011", EOF)
        async with opened(mysqld) as upstream:
            assert upstream.facts.init_connect == b""

    async def test_a_ping_that_is_answered_with_an_error_is_no_sign_of_life(self):
        async with opened(mysqld := Mysqld()) as upstream:
            await upstream.ping()
            mysqld.on(b"\x0e", error(1927, "Connection was killed"))
            with pytest.raises(ProtocolError, match="the server refused a ping: Connection was killed"):
                await upstream.ping()


class TestKill:
    async def test_a_second_connection_kills_the_first_by_its_id(self):
        mysqld = Mysqld()
        async with mysqld.serving():
            connector = connector_to(mysqld.port)
            upstream = await connector.open(KEY, PLAIN, 5.0)
            await connector.kill(upstream, 5.0)
            assert QUERY + b"KILL 1" in mysqld.sessions[1].commands
            await until(lambda: mysqld.sessions[1].has_quit)
            upstream.wire.abort()

    async def test_one_that_has_ended_meanwhile_is_as_good_as_killed(self):
        mysqld = Mysqld()
        mysqld.query("KILL", error(1094, "Unknown thread id: 1"))
        async with mysqld.serving():
            connector = connector_to(mysqld.port)
            upstream = await connector.open(KEY, PLAIN, 5.0)
            await connector.kill(upstream, 5.0)
            upstream.wire.abort()
            await connector.kill(upstream, 5.0)
            assert len(mysqld.sessions) == 2

    async def test_a_refusal_is_the_servers(self):
        mysqld = Mysqld()
        mysqld.query("KILL", error(1095, "You are not owner of thread 1"))
        async with mysqld.serving():
            connector = connector_to(mysqld.port)
            upstream = await connector.open(KEY, PLAIN, 5.0)
            with pytest.raises(ServerRefused, match="not owner"):
                await connector.kill(upstream, 5.0)
            upstream.wire.abort()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


class TlsMysqld:
    """A blocking server on a thread, for one connection, that puts on TLS when it is asked to."""

    def __init__(self, context):
        self._context = context
        self._plain = Mysqld(flags=FLAGS | Flag.SSL)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(10)
        self.port = self._listening.getsockname()[1]
        self.version = None
        self.logins = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listening.close()
        self._thread.join(10)

    def _serve(self):
        with contextlib.suppress(OSError):
            sock, _ = self._listening.accept()
            with sock:
                sock.settimeout(10)
                sock.sendall(self._plain.greeting_packet)
                assert len(self._read(sock)) == 32
                with self._context.wrap_socket(sock, server_side=True) as secure:
                    self.version = secure.version()
                    self.logins.append(self._read(secure))
                    secure.sendall(packet(OK, 3))
                    while (payload := self._read(secure)) != b"\x01":
                        secure.sendall(self._plain._own(Session(1, None, None), payload))

    def _read(self, sock):
        data = b""
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:3], "little"):
            more = sock.recv(4 - len(data) if len(data) < 4 else 4 + int.from_bytes(data[:3], "little") - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data[4:]


async def open_tls(server, authority, **settings):
    chosen = {"db_tls": "verify-full", "db_tls_ca": str(authority.ca_path), **settings}
    return await connector_to(server.port, **chosen).open(KEY, PLAIN, 5.0)


class TestTls:
    async def test_a_certificate_for_the_host_from_a_trusted_authority(self, authority):
        with TlsMysqld(authority.server_context("127.0.0.1")) as server:
            upstream = await open_tls(server, authority)
            assert upstream.wire.is_secure and server.version in ("TLSv1.2", "TLSv1.3")
            assert server.logins[0].startswith(int(upstream.login.capabilities).to_bytes(4, "little"))
            upstream.quit()
            await upstream.wire.closed

    async def test_a_certificate_for_another_host_and_what_to_do(self, authority):
        with TlsMysqld(authority.server_context("db.example")) as server, pytest.raises(DatabaseUnreachable) as raised:
            await open_tls(server, authority)
        text = str(raised.value)
        assert f"the certificate of the database 127.0.0.1:{server.port} is not trusted" in text
        assert "connect by a name that the certificate carries (WARMWIRE_DB_HOST), or set WARMWIRE_DB_TLS=verify-ca" in text
        assert server.logins == []

    async def test_another_host_will_do_for_verify_ca(self, authority):
        with TlsMysqld(authority.server_context("db.example")) as server:
            upstream = await open_tls(server, authority, db_tls="verify-ca")
            upstream.quit()
            await upstream.wire.closed

    @pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
    async def test_an_unknown_authority_and_what_to_do(self, authority, tmp_path, mode):
        advice = pytest.raises(DatabaseUnreachable, match="set WARMWIRE_DB_TLS_CA to the PEM file of the CA that signed it")
        with TlsMysqld(Authority(tmp_path).server_context("127.0.0.1")) as server, advice:
            await open_tls(server, authority, db_tls=mode)
        assert server.logins == []

    async def test_an_expired_certificate(self, authority):
        advice = pytest.raises(DatabaseUnreachable, match="expired; renew it")
        with TlsMysqld(authority.server_context("127.0.0.1", expired=True)) as server, advice:
            await open_tls(server, authority)

    async def test_any_certificate_will_do_where_encryption_alone_is_required(self, authority, tmp_path):
        with TlsMysqld(Authority(tmp_path).server_context("db.example", expired=True)) as server:
            upstream = await open_tls(server, authority, db_tls="required")
            assert upstream.wire.is_secure
            upstream.quit()
            await upstream.wire.closed

    @pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "required"])
    async def test_a_server_without_tls_is_never_logged_in_to(self, authority, mode):
        logins = []

        async def greet(session: Session) -> None:
            session.send(mysqld.greeting_packet)
            logins.append(await session.read_packet())

        mysqld = Mysqld()
        mysqld.greeting = greet
        async with mysqld.serving():
            text = await failure(mysqld.port, db_tls=mode, db_tls_ca=str(authority.ca_path))
        assert f"does not offer TLS; WARMWIRE_DB_TLS={mode} asks for it" in text
        assert logins == []

    async def test_bytes_in_the_clear_where_tls_begins_are_refused(self, authority):
        async def inject(session: Session) -> None:
            session.send(mysqld.greeting_packet + packet(OK, 2))
            await session.read_packet()

        mysqld = Mysqld(flags=FLAGS | Flag.SSL)
        mysqld.greeting = inject
        async with mysqld.serving():
            text = await failure(mysqld.port, db_tls="verify-full", db_tls_ca=str(authority.ca_path))
        assert "bytes in the clear where TLS begins" in text

    @pytest.mark.parametrize("content", [None, "this is no PEM file"])
    async def test_a_ca_file_that_cannot_be_used_is_named(self, tmp_path, content):
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        mysqld = Mysqld(flags=FLAGS | Flag.SSL)
        async with mysqld.serving():
            text = await failure(mysqld.port, db_tls="verify-ca", db_tls_ca=str(path))
        assert f"WARMWIRE_DB_TLS_CA={path}" in text
        assert "cannot be read" in text or "holds no certificate" in text
        assert "WARMWIRE_DB_HOST" not in text

    async def test_a_server_that_cannot_do_tls_after_all(self, authority):
        async def no_tls(session: Session) -> bytes | None:
            session.send(mysqld.greeting_packet)
            await session.read_packet()
            return b"I thought I could\r\n"

        mysqld = Mysqld(flags=FLAGS | Flag.SSL)
        mysqld.greeting = no_tls
        async with mysqld.serving():
            text = await failure(mysqld.port, db_tls="verify-full", db_tls_ca=str(authority.ca_path))
        assert "TLS with the database" in text
