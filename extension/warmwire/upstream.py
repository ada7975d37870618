"""One connection to the database: connect, TLS, log in, reset, validate, close.

Everything here is awaited and packet by packet; while a client uses the upstream, the relay drives ``wire`` and
``exchange`` itself. Every await is bounded by the caller's deadline. An exception from any of these methods means that
the connection is not known to be between exchanges any more: discard it.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from warmwire.channel import PacketChannel
from warmwire.clock import Clock, Instant
from warmwire.config import Config
from warmwire.errors import DatabaseUnreachable, PacketTooLarge, ProtocolError, ServerRefused
from warmwire.protocol.auth import Proof
from warmwire.protocol.borrowed import pymysql_auth
from warmwire.protocol.capabilities import for_upstream
from warmwire.protocol.codec import read_string
from warmwire.protocol.constants import Capability, Command, Status
from warmwire.protocol.exchange import Exchange
from warmwire.protocol.handshake import (
    Greeting,
    Login,
    read_error,
    read_greeting,
    write_change_user,
    write_login,
    write_ssl_request,
)
from warmwire.protocol.rsa import SEED_SIZE
from warmwire.protocol.tracking import Visibility, read_ok
from warmwire.session import Baseline, Charset, init_db, query, set_multi_statements, settings
from warmwire.wire import Address, Wire, start_tls

PACKET_LIMIT = 1 << 20
"""Longest packet accepted from the database outside the relay, in bytes."""
GREETED_FRESH = 2.0
"""Seconds for which a server's greeting is good for a login; servers give up after ten."""
UNKNOWN_COLLATION = (1115, 1273)  # ER_UNKNOWN_CHARACTER_SET, ER_UNKNOWN_COLLATION
NO_SUCH_THREAD = 1094  # ER_NO_SUCH_THREAD
_ATTRIBUTES = {b"_client_name": b"warmwire", b"program_name": b"warmwire"}


@dataclass(slots=True)
class ServerFacts:
    """What is known of the database server, from its greeting and the first login."""

    version: bytes
    capabilities: int
    collation: int
    init_connect: bytes | None = None
    """SQL that the server runs at a login but not at a reset; empty for none, None while unknown."""
    unknown_collations: set[int] = field(default_factory=set)

    @property
    def is_mariadb(self) -> bool:
        """MariaDB's resets and failed COM_CHANGE_USERs differ from MySQL's."""
        return b"MariaDB" in self.version

    @property
    def can_pipeline(self) -> bool:
        """Whether commands may be sent behind a reset without waiting. Aurora 2.x answers once and hangs."""
        return self.is_mariadb or not self.version.startswith(b"5.")


class Upstream:
    """A logged-in connection. Made by :class:`Connector`.

    Attributes:
        wire, exchange: for the relay.
        key: the pool key it was opened with.
        baseline: the session state it is in, if that is one; None when a client changed it.
        thread_id: the server's id of the connection.
        facts: what is known of the server.
        last_used: when it was last known to be alive.
    """

    def __init__(
        self,
        channel: PacketChannel,
        key: int,
        login: Login,
        greeting: Greeting,
        facts: ServerFacts,
        config: Config,
        clock: Clock,
    ) -> None:
        self.channel = channel
        self.wire = channel.wire
        self.key = key
        self.login = login
        self.thread_id = greeting.thread_id
        self.facts = facts
        self.exchange = Exchange(bool(login.capabilities & Capability.DEPRECATE_EOF))
        self.baseline: Baseline | None = None
        self.last_used: Instant = clock.now()
        self._nonce = greeting.nonce
        self._home_collation: int | None = login.collation  # where MariaDB's resets go back to; None if unsure
        self._config = config
        self._clock = clock

    def __repr__(self) -> str:
        return f"upstream {self.thread_id}"

    def watch(self, on_lost: Callable[["Upstream", str], None]) -> None:
        """While idle: report the first sign that the connection is of no more use, and why."""
        self.wire.listen(
            lambda _: on_lost(self, "the server spoke unasked"),
            lambda problem: on_lost(self, f"connection lost: {problem or 'closed by the server'}"),
        )

    def is_quiet(self) -> bool:
        """Whether nothing has arrived on the idle connection; says nothing about a silent network."""
        return self.wire.is_quiet()

    async def ping(self) -> None:
        """Prove that the server is there, and learn the session's present status flags.

        Raises:
            OSError, ProtocolError: it is not.
        """
        try:
            await self._accepted(bytes((Command.PING,)))
        except ServerRefused as problem:
            raise ProtocolError(f"the server refused a ping: {problem}") from problem

    async def rollback(self, *, unlock: bool) -> None:
        """End an open transaction and, if asked to, give up locked tables, which outlive a ROLLBACK.

        Raises:
            OSError, ProtocolError, ServerRefused: it cannot be done; discard the upstream.
        """
        await self._accepted(query("ROLLBACK"))
        if unlock:
            await self._accepted(query("UNLOCK TABLES"))

    async def kill_other(self, thread_id: int) -> None:
        """End another connection of our account. Raises as :meth:`rollback`."""
        await self._accepted(query(f"KILL {thread_id}"))

    async def begin_session(self, baseline: Baseline) -> None:
        """Bring the fresh login, made with this baseline, to it. Raises as :meth:`rollback`."""
        if self.facts.init_connect is None:
            self.facts.init_connect = await self._read_init_connect()
        await self._accepted(settings(baseline, self._config.idle_timeout, Charset.KEEP))
        self._arrived(baseline)

    async def reset_to(self, baseline: Baseline) -> None:
        """Bring the session to a baseline, whatever a client left: transaction, locks, tables, variables, statements.

        Raises:
            ServerRefused: the database cannot be selected; the session is clean all the same, but at no baseline.
            OSError, ProtocolError: discard the upstream.
        """
        try:
            if baseline.database is None:  # no reset can unselect a database
                await self._reset_by_change_user(baseline)
                self._arrived(baseline)
                return
            if self._is_out_of_reach(baseline.collation):
                await self._reset_by_change_user(baseline._replace(database=None))
                selected = (await self._run(init_db(baseline.database)))[0]
            else:
                selected = await self._reset(baseline, baseline.database)
        except ServerRefused as problem:
            raise ProtocolError(f"the server refused the reset: {problem}") from problem
        self._check(selected)
        self._arrived(baseline)

    async def _reset(self, baseline: Baseline, database: bytes) -> bytes:
        """Reset and set everything again; gives the answer to selecting the database."""
        self.baseline = None
        self.channel.attach()
        reset, setting, option, selected = await self._run(
            bytes((Command.RESET_CONNECTION,)),
            settings(baseline, self._config.idle_timeout, self._charset(baseline)),
            set_multi_statements(baseline.multi_statements),
            init_db(database),
        )
        await self._settle(reset, setting, baseline)
        self._check_option(option)
        if self.facts.init_connect:
            await self._run_init_connect(baseline)
        return selected

    async def reset_for_client(self, baseline: Baseline) -> bytes:
        """Carry out a client's own COM_RESET_CONNECTION: the session becomes what the client would find directly.

        MySQL resets the character sets to its global settings and keeps IGNORE_SPACE, MariaDB goes back to the login
        packet's collation and forgets IGNORE_SPACE. The current database and the multi-statement option stay.

        Returns:
            The payload of the server's OK. Raises as :meth:`rollback`.
        """
        if self._is_out_of_reach(baseline.collation):  # a refused COM_CHANGE_USER has led elsewhere
            database = await self._read_value("SELECT DATABASE()")
            return await self.change_user_for_client(baseline._replace(database=database or None))
        self.baseline = None
        self.channel.attach()
        charset = Charset.KEEP
        if self.facts.is_mariadb and self._home_collation != baseline.collation:
            charset = self._charset(baseline)
        kept = self._after_login(baseline)
        reset, setting = await self._run(
            bytes((Command.RESET_CONNECTION,)), settings(kept, self._config.idle_timeout, charset)
        )
        await self._settle(reset, setting, kept)
        return reset

    async def change_user_for_client(self, baseline: Baseline) -> bytes:
        """Carry out a client's own COM_CHANGE_USER. The multi-statement option stays, and MariaDB forgets IGNORE_SPACE.

        Returns:
            The payload of the server's OK.

        Raises:
            ServerRefused: the server refused. MySQL then closes the connection, MariaDB goes on with a reset session.
            OSError, ProtocolError: discard the upstream.
        """
        ok = await self._change_user(baseline)
        self._check((await self._run(settings(self._after_login(baseline), self._config.idle_timeout, Charset.KEEP)))[0])
        return ok

    async def _reset_by_change_user(self, baseline: Baseline) -> None:
        await self._change_user(baseline)
        setting, option = await self._run(
            settings(baseline, self._config.idle_timeout, Charset.KEEP), set_multi_statements(baseline.multi_statements)
        )
        self._check(setting)
        self._check_option(option)
        if self.facts.init_connect:
            await self._run_init_connect(baseline)

    async def _change_user(self, baseline: Baseline) -> bytes:
        """COM_CHANGE_USER to our own account: a reset that also sets the collation and the database, or unselects it."""
        self.baseline = None
        self.channel.attach()
        proof = self._proof()
        plugin, response = proof.first(self.login.plugin or b"", self._nonce)
        login = self.login._replace(
            collation=baseline.collation, database=baseline.database, response=response, plugin=plugin
        )
        self.channel.sequence = 0
        self._home_collation = None
        self.channel.write(write_change_user(login, _ATTRIBUTES))
        ok = await converse(self.channel, proof)
        self._home_collation = baseline.collation
        return ok

    def _after_login(self, baseline: Baseline) -> Baseline:
        """What of a baseline holds after a client's own reset: MariaDB lets IGNORE_SPACE go."""
        return baseline._replace(ignore_space=baseline.ignore_space and not self.facts.is_mariadb)

    def quit(self) -> None:
        """Say COM_QUIT and close. Only between exchanges; ``wire.closed`` tells when it is done."""
        self.wire.write(b"\x01\x00\x00\x00\x01")
        self.wire.close()

    def _arrived(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self.last_used = self._clock.now()

    def _is_out_of_reach(self, collation: int) -> bool:
        """Whether a collation takes a COM_CHANGE_USER: MariaDB sets character sets by the ids of their default collations
        only, and its resets go back to the collation of the last login packet."""
        is_known = collation not in self.facts.unknown_collations
        return self.facts.is_mariadb and self._home_collation != collation and is_known

    def _charset(self, baseline: Baseline) -> Charset:
        if baseline.collation in self.facts.unknown_collations:
            return Charset.GLOBAL
        return Charset.CONFIRM if self.facts.is_mariadb else Charset.BY_ID

    async def _settle(self, reset: bytes, setting: bytes, baseline: Baseline) -> None:
        """Check the answers to a reset and its settings; an unknown collation is learnt and given the fallback."""
        self._check(reset)
        if setting[:1] == b"\xff" and read_error(setting).errno in UNKNOWN_COLLATION:
            self.facts.unknown_collations.add(baseline.collation)
            setting = (await self._run(settings(baseline, self._config.idle_timeout, Charset.GLOBAL)))[0]
        self._check(setting)

    async def _run(self, *commands: bytes) -> list[bytes]:
        if self.facts.can_pipeline:
            return await self.channel.request(*commands)
        return [(await self.channel.request(command))[0] for command in commands]

    async def _accepted(self, command: bytes) -> None:
        self.channel.attach()
        self._check((await self.channel.request(command))[0])
        self.last_used = self._clock.now()

    def _check(self, answer: bytes) -> None:
        """Raise the error in an answer, or take the status flags from its OK.

        Anything else is the answer to another question. A client may have brought that about on purpose, to have what
        it left behind pass for reset, so nothing is taken on trust here.
        """
        if answer[:1] == b"\xff":
            raise read_error(answer)
        if answer[:1] != b"\x00":
            raise ProtocolError("the server answered something else than it was asked")
        status = read_ok(answer, Visibility.EVERYTHING).status
        if status & Status.MORE_RESULTS_EXISTS:
            raise ProtocolError("the server has more to say than it was asked")
        self.exchange.status = status

    def _check_option(self, answer: bytes) -> None:
        """The same for COM_SET_OPTION, which servers answer with an EOF."""
        if answer[:1] != b"\xfe":
            self._check(answer)

    async def _read_init_connect(self) -> bytes:
        """What this account runs at a login; empty for accounts that the server exempts from it."""
        text = await self._read_value("SELECT @@init_connect")
        if not text:
            return b""
        exempt = await self._read_value(
            "SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type IN"
            " ('SUPER','CONNECTION_ADMIN','CONNECTION ADMIN')"
            " AND grantee=CONCAT('''',REPLACE(CURRENT_USER(),'@','''@'''),'''')"
        )
        return b"" if exempt not in (b"0", b"") else text

    async def _read_value(self, sql: str) -> bytes:
        """The first column of the first row; empty if it is NULL or there is no row."""
        rows = await self._collect(query(sql))
        if not rows or rows[0][:1] == b"\xfb":
            return b""
        return read_string(rows[0], 0)[0]

    async def _collect(self, command: bytes) -> list[bytes]:
        """Run a command with any number of results and give the payload of its first row, if it has any.

        Raises:
            ServerRefused: it ended with an error.
        """
        self.channel.attach()
        tracker = Exchange(self.exchange.deprecate_eof)
        tracker.begin(command[0])
        self.channel.wire.write(len(command).to_bytes(3, "little") + b"\0" + command)
        rows: list[bytes] = []
        while not tracker.done:
            payload = await self.channel.read()
            if tracker.in_rows and payload[:1] != b"\xfe" and not rows:  # the others are of no use, and may be many
                rows.append(payload)
            tracker.feed(len(payload).to_bytes(3, "little") + b"\1" + payload)
        if tracker.error is not None:
            raise read_error(tracker.error)
        self.exchange.status = tracker.status
        return rows

    async def _run_init_connect(self, baseline: Baseline) -> None:
        self._check_option((await self.channel.request(set_multi_statements(True)))[0])
        await self._collect(bytes((Command.QUERY,)) + (self.facts.init_connect or b""))
        self._check_option((await self.channel.request(set_multi_statements(baseline.multi_statements)))[0])

    def _proof(self) -> Proof:
        return Proof(self._config.db_password.encode(), self.wire.is_secure, os.urandom(SEED_SIZE))


class Greeted(NamedTuple):
    """A connection on which the server has greeted us and waits for our login."""

    channel: PacketChannel
    greeting: Greeting
    since: Instant


class Connector:
    """Opens upstreams. Names are resolved anew every time, because after a failover they point elsewhere.

    The first client has to be greeted like the server greets, and only its answer tells how to log in. So there the
    connection is opened in two steps, :meth:`greet` and :meth:`open`.

    Args:
        config: where to and as whom.
        clock: for the upstreams' ages.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._tls: ssl.SSLContext | None = None
        self._greeted: Greeted | None = None
        self._greeting = asyncio.Lock()
        self.facts: ServerFacts | None = None
        """What the last greeting told; None before the first."""

    @property
    def greeted_thread_id(self) -> int:
        """Connection id of the connection that waits for its login; 0 if there is none."""
        return self._greeted.greeting.thread_id if self._greeted else 0

    async def prepare(self) -> None:
        """Do ahead what the first login would have to wait for: load its modules, read the CA certificates."""
        pymysql_auth()
        if self._config.db_tls != "disabled":
            with contextlib.suppress(OSError):  # told to the client that needs it
                await self._tls_rules()

    async def greet(self, timeout: float) -> bool:
        """Learn the facts if they are not known, by connecting as far as the server's greeting.

        Returns:
            Whether a connection now waits for its login: call :meth:`open` within GREETED_FRESH seconds.

        Raises:
            as :meth:`open`.
        """
        async with self._explained(timeout) as on_step, self._greeting:
            if self.facts is not None:
                return False
            self._greeted = await self._connect_and_greet(on_step)
            return True

    async def open(self, key: int, baseline: Baseline, timeout: float) -> Upstream:
        """Connect and log in. On cancellation nothing is left open.

        Args:
            key: the pool key.
            baseline: the session state to begin with.
            timeout: seconds for all of it.

        Raises:
            ServerRefused: the server answered with an error, for instance 1045 or 1049.
            DatabaseUnreachable: everything else; the text says what failed and what to do.
        """
        async with self._explained(timeout) as on_step:
            greeted, self._greeted = self._greeted, None
            if greeted is not None:
                wire = greeted.channel.wire
                if greeted.since.age(self._clock.now()) > GREETED_FRESH or not wire.is_quiet():
                    wire.abort()
                    greeted = None
            return await self._log_in(greeted or await self._connect_and_greet(on_step), key, baseline, on_step)

    async def kill(self, upstream: Upstream, timeout: float) -> None:
        """KILL an upstream's connection from a second one, which ends its statement and its transaction.

        The second connection goes to the very address of the first, whose socket is still open: so the id means the same
        connection there, and can hit nobody else's, even if the host name has moved to another server.

        Raises:
            ClientError: it could not be done.
        """
        if upstream.wire.closed.done():
            return
        async with self._explained(timeout) as on_step:
            greeted = await self._connect_and_greet(on_step, upstream.wire.peer)
            baseline = Baseline(None, upstream.login.collation, False, False)
            killer = await self._log_in(greeted, 0, baseline, on_step)
            try:
                await killer.kill_other(upstream.thread_id)
            except ServerRefused as refused:
                if refused.errno != NO_SUCH_THREAD:
                    raise
            finally:
                killer.quit()

    @contextlib.asynccontextmanager
    async def _explained(self, timeout: float) -> AsyncIterator[Callable[[str], None]]:
        """Bound a step and turn its failures into words. Gives a function to call with what is being done."""
        where = self._config.database
        started = self._clock.now()
        step = "looking up its address"

        def on_step(name: str) -> None:
            nonlocal step
            step = name

        try:
            async with asyncio.timeout(timeout):
                yield on_step
        except TimeoutError:
            waited = started.age(self._clock.now())
            raise DatabaseUnreachable(
                f"timed out after {waited:.1f} s while {step}; the database is {where}: check the security groups, "
                "subnets and whether it runs"
            ) from None
        except ssl.SSLCertVerificationError as problem:
            raise DatabaseUnreachable(_certificate_advice(problem, self._config)) from problem
        except ssl.SSLError as problem:
            raise DatabaseUnreachable(
                f"TLS with the database {where} failed: {problem.reason or problem}; WARMWIRE_DB_TLS says how it is used"
            ) from problem
        except OSError as problem:
            reason = _words_for(problem)
            raise DatabaseUnreachable(
                f"{reason} while {step}; the database is {where}: check WARMWIRE_DB_HOST, WARMWIRE_DB_PORT and that it runs"
            ) from problem
        except (ProtocolError, PacketTooLarge) as problem:
            raise DatabaseUnreachable(f"{problem}; the database is {where}") from problem

    async def _connect_and_greet(self, on_step: Callable[[str], None], peer: Address | None = None) -> Greeted:
        loop = asyncio.get_running_loop()
        config = self._config
        addresses = [peer] if peer else await _resolve(loop, config.db_host, config.db_port)
        wire = Wire(loop, await _connect(loop, addresses, on_step))
        try:
            on_step("waiting for its greeting")
            channel = PacketChannel(wire, PACKET_LIMIT)
            greeting = read_greeting(await channel.read())
        except BaseException:
            wire.abort()
            raise
        known = self.facts
        if known is None or (known.version, known.capabilities) != (greeting.version, greeting.capabilities):
            self.facts = ServerFacts(greeting.version, greeting.capabilities, greeting.collation)
        return Greeted(channel, greeting, self._clock.now())

    async def _log_in(
        self, greeted: Greeted, key: int, baseline: Baseline, on_step: Callable[[str], None]
    ) -> Upstream:
        config = self._config
        channel, greeting, _ = greeted
        wire = channel.wire
        try:
            if key & ~greeting.capabilities:
                raise ProtocolError("the database cannot do any more what it could when the client connected: connect again")
            tls = config.db_tls != "disabled"
            capabilities = for_upstream(
                key,
                greeting.capabilities,
                multi_statements=baseline.multi_statements,
                tls=tls,
                database=baseline.database is not None,
            )
            login = Login(capabilities, baseline.collation, config.db_user.encode(), b"", baseline.database, None)
            if tls:
                on_step("setting up TLS")
                wire = await self._upgrade(channel, login)
                sequence = channel.sequence
                channel = PacketChannel(wire, PACKET_LIMIT)
                channel.sequence = sequence
            on_step("logging in")
            proof = Proof(config.db_password.encode(), wire.is_secure, os.urandom(SEED_SIZE))
            plugin, response = proof.first(greeting.plugin, greeting.nonce)
            login = login._replace(plugin=plugin, response=response)
            channel.write(write_login(login, _ATTRIBUTES))
            await converse(channel, proof)
            facts = self.facts or ServerFacts(greeting.version, greeting.capabilities, greeting.collation)
            upstream = Upstream(channel, key, login, greeting, facts, config, self._clock)
            await upstream.begin_session(baseline)
            return upstream
        except BaseException:
            wire.abort()
            raise

    async def _tls_rules(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.get_running_loop().run_in_executor(None, _tls_context, self._config)
        return self._tls

    async def _upgrade(self, channel: PacketChannel, login: Login) -> Wire:
        loop = asyncio.get_running_loop()
        if not login.capabilities & Capability.SSL:
            raise DatabaseUnreachable(
                f"the database {self._config.database} does not offer TLS; WARMWIRE_DB_TLS={self._config.db_tls} asks for it"
            )
        tls = await self._tls_rules()
        channel.write(write_ssl_request(login))
        if channel.take_rest():
            raise ProtocolError("the database sent bytes in the clear where TLS begins")
        return Wire(loop, await start_tls(loop, channel.wire.detach(), tls, self._config.db_host))


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(f"{host!r} is no host name") from None
    return [(family, address) for family, _, _, _, address in found]


async def _connect(
    loop: asyncio.AbstractEventLoop, addresses: list[Address], on_step: Callable[[str], None]
) -> socket.socket:
    """A socket to the first of the addresses that takes it."""
    problem = OSError("the host has no address")
    for family, address in addresses:
        on_step(f"connecting to {address[0]}")
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _keep_honest(sock)
            await loop.sock_connect(sock, address)
            return sock
        except OSError as failed:
            sock.close()
            problem = failed
        except BaseException:
            sock.close()
            raise
    raise problem


async def converse(channel: PacketChannel, proof: Proof) -> bytes:
    """The authentication conversation after a login packet or COM_CHANGE_USER; gives the payload of the final OK.

    Raises:
        ServerRefused: it ended with an ERR packet.
        ProtocolError, OSError: it did not end as it should.
    """
    for _ in range(16):
        payload = await channel.read()
        if payload[:1] == b"\x00":
            return payload
        if payload[:1] == b"\xff":
            raise read_error(payload)
        answer = proof.answer(payload)
        if answer is not None:
            channel.write(answer)
    raise ProtocolError("the database's authentication does not come to an end")


def _keep_honest(sock: socket.socket) -> None:
    """Make a dead network show: keepalive on the idle connection, a bound on unacknowledged bytes on the busy one."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000)):
        if hasattr(socket, name):  # Linux; elsewhere development only
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _tls_context(config: Config) -> ssl.SSLContext:
    """The rules of verification. Takes 20 ms with a system's CA bundle, so it is made once, off the loop.

    Raises:
        OSError: the CA file cannot be read.
    """
    if config.db_tls_ca:
        try:
            context = ssl.create_default_context(cafile=config.db_tls_ca)
        except OSError as problem:
            raise OSError(f"WARMWIRE_DB_TLS_CA={config.db_tls_ca} cannot be used: {problem.strerror or problem}") from None
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.db_tls == "verify-full"
    context.verify_mode = ssl.CERT_NONE if config.db_tls == "required" else ssl.CERT_REQUIRED
    return context


def _words_for(problem: OSError) -> str:
    """The system's own words; asyncio puts others over them."""
    if problem.errno and problem.errno > 0 and not isinstance(problem, socket.gaierror):
        return os.strerror(problem.errno)
    return problem.strerror or str(problem)


def _certificate_advice(problem: ssl.SSLCertVerificationError, config: Config) -> str:
    reason = problem.verify_message or str(problem)
    if "mismatch" in reason.lower() or "doesn't match" in reason:
        advice = "connect by a name that the certificate carries (WARMWIRE_DB_HOST), or set WARMWIRE_DB_TLS=verify-ca"
    elif "expired" in reason:
        advice = "renew it"
    else:
        advice = "set WARMWIRE_DB_TLS_CA to the PEM file of the CA that signed it"
    return f"the certificate of the database {config.database} is not trusted: {reason}; {advice}"

