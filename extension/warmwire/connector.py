"""Opens connections to the database: look up, connect, TLS, log in; and says in words what failed, and what helps.

What is done with an open one is in :mod:`warmwire.upstream`.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from warmwire.channel import PacketChannel
from warmwire.clock import Clock, Instant
from warmwire.config import Config
from warmwire.errors import DatabaseUnreachable, PacketTooLarge, ProtocolError, ServerRefused
from warmwire.protocol.auth import Proof
from warmwire.protocol.borrowed import pymysql_auth
from warmwire.protocol.capabilities import for_upstream
from warmwire.protocol.constants import Capability
from warmwire.protocol.handshake import (
    Greeting,
    Login,
    read_greeting,
    write_login,
    write_ssl_request,
)
from warmwire.protocol.rsa import SEED_SIZE
from warmwire.session import Baseline
from warmwire.upstream import ATTRIBUTES, PACKET_LIMIT, ServerFacts, Upstream, converse
from warmwire.wire import Address, Wire, start_tls

GREETED_FRESH = 2.0
"""Seconds for which a server's greeting is good for a login; servers give up after ten."""
NO_SUCH_THREAD = 1094  # ER_NO_SUCH_THREAD


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
            with contextlib.suppress(DatabaseUnreachable):  # told to the client that needs it
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
            channel.write(write_login(login, ATTRIBUTES))
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
        DatabaseUnreachable: the CA file cannot be used.
    """
    if config.db_tls_ca:
        try:
            context = ssl.create_default_context(cafile=config.db_tls_ca)
        except ssl.SSLError:
            raise DatabaseUnreachable(
                f"WARMWIRE_DB_TLS_CA={config.db_tls_ca} holds no certificate in PEM form, for the database {config.database}"
            ) from None
        except OSError as problem:
            raise DatabaseUnreachable(
                f"WARMWIRE_DB_TLS_CA={config.db_tls_ca} cannot be read: {_words_for(problem)}"
                f"; the database is {config.database}"
            ) from None
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # on since 3.13; refuses the certificates that MySQL makes itself
    context.check_hostname = config.db_tls == "verify-full"
    context.verify_mode = ssl.CERT_NONE if config.db_tls == "required" else ssl.CERT_REQUIRED
    return context


def _words_for(problem: OSError) -> str:
    """The system's own words; asyncio puts others over them."""
    if problem.errno and problem.errno > 0 and not isinstance(problem, socket.gaierror):
        return os.strerror(problem.errno)
    return problem.strerror or str(problem)


def _certificate_advice(problem: ssl.SSLCertVerificationError, config: Config) -> str:
    reason = (problem.verify_message or str(problem)).rstrip(".")
    if "mismatch" in reason.lower() or "doesn't match" in reason:
        advice = "connect by a name that the certificate carries (WARMWIRE_DB_HOST), or set WARMWIRE_DB_TLS=verify-ca"
    elif "expired" in reason:
        advice = "renew it"
    else:
        advice = "set WARMWIRE_DB_TLS_CA to the PEM file of the CA that signed it"
    return f"the certificate of the database {config.database} is not trusted: {reason}; {advice}"

