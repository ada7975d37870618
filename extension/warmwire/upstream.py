"""One connection to the database: reset, validate, kill, close.

Everything here is awaited and packet by packet; while a client uses the upstream, the relay drives ``wire`` and
``exchange`` itself. Every await is bounded by the caller's deadline. An exception from any of these methods means that
the connection is not known to be between exchanges any more: discard it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from warmwire.channel import PacketChannel
from warmwire.clock import Clock, Instant
from warmwire.config import Config
from warmwire.errors import ProtocolError, ServerRefused
from warmwire.protocol.auth import Proof
from warmwire.protocol.codec import read_string
from warmwire.protocol.constants import Capability, Command, Status
from warmwire.protocol.exchange import Exchange
from warmwire.protocol.handshake import (
    Greeting,
    Login,
    read_error,
    write_change_user,
)
from warmwire.protocol.rsa import SEED_SIZE
from warmwire.protocol.tracking import Visibility, read_ok
from warmwire.session import Baseline, Charset, init_db, query, set_multi_statements, settings

PACKET_LIMIT = 1 << 20
"""Longest packet accepted from the database outside the relay, in bytes."""
UNKNOWN_COLLATION = (1115, 1273)  # ER_UNKNOWN_CHARACTER_SET, ER_UNKNOWN_COLLATION
ATTRIBUTES = {b"_client_name": b"warmwire", b"program_name": b"warmwire"}


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
    """A logged-in connection. Made by :class:`warmwire.connector.Connector`.

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
        self.channel.write(write_change_user(login, ATTRIBUTES))
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
