"""One client: its login, its commands and their responses, its leaving.

Between login and leaving there is no task: the two wires call this object, and it passes their bytes on. A coroutine
runs only where something has to be awaited (the login, a check-out, a reset, the end of an invocation), and the client
is BUSY meanwhile: what it sends is kept, up to a bound, then it is not read any more.

Phases::

    LOGIN ─► READY ─► COMMAND ─► RESPONSE ─► READY …          RESPONSE ─► UPLOAD ─► RESPONSE   (LOAD DATA LOCAL)
               │  └─► SWALLOW ─► READY or BUSY ─► READY        (commands that are not relayed)
               └────► BUSY ─► READY                            (waiting for an upstream)       any ─► CLOSED
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from warmwire.channel import PacketChannel
from warmwire.clock import Clock
from warmwire.config import Config
from warmwire.errors import (
    ClientError,
    MalformedPacket,
    PacketTooLarge,
    ProtocolError,
    ServerRefused,
    TransactionRolledBack,
    UnsupportedCommand,
    UpstreamLost,
)
from warmwire.pool.pool import Pool, Spawn
from warmwire.protocol.capabilities import key_of
from warmwire.protocol.codec import write_packet, write_string
from warmwire.protocol.constants import Capability, Command, Status, Track
from warmwire.protocol.exchange import NO_RESPONSE
from warmwire.protocol.framing import CommandFramer, command_of, is_whole_command, payload_length
from warmwire.protocol.handshake import Greeting
from warmwire.protocol.statements import HEAD_SIZE, first_word
from warmwire.protocol.tracking import Change, Visibility, read_ok, write_ok
from warmwire.relay.login import LOGIN_LIMIT, greeting_for, log_in, log_in_again
from warmwire.relay.notes import Notes
from warmwire.relay.refusal import log_refusal, refusal
from warmwire.relay.transaction import Transaction
from warmwire.session import Baseline, baseline_of
from warmwire.upstream import ServerFacts, Upstream
from warmwire.wire import HIGH_WATER, Wire

logger = logging.getLogger("warmwire.client")

INBOX_LIMIT = 64 * 1024
"""Bytes kept of a client that sends its next command early."""
END_GRACE = 0.3
"""Seconds that a statement may still run when its invocation has ended."""
KILL_TIMEOUT = 0.5
"""Seconds that killing it may take; together less than app.SETTLE_TIMEOUT."""

_REFUSED = frozenset((Command.BINLOG_DUMP, Command.TABLE_DUMP, Command.BINLOG_DUMP_GTID))
_NOT_RELAYED = _REFUSED | {Command.QUIT, Command.CHANGE_USER, Command.RESET_CONNECTION}
_SHORTEST = {Command.STMT_CLOSE: 5, Command.STMT_SEND_LONG_DATA: 7}
"""Commands without a response, and their shortest payload. MySQL answers a shorter one all the same, with an error that
would pass for the answer to the next command: from there on, everybody would be given somebody else's answers."""
_PLAIN = frozenset(
    (Command.QUERY, Command.STMT_EXECUTE, Command.STMT_PREPARE, Command.STMT_FETCH, Command.PING, Command.INIT_DB)
)
"""Commands that are relayed and answered, with nothing to be looked at first."""
_IN_TRANSACTION = frozenset((Command.QUERY, Command.STMT_EXECUTE, Command.STMT_FETCH))
"""Commands that act within the client's transaction, and so must not run after it was rolled back behind its back."""


class Phase(Enum):
    """What the client is doing."""

    LOGIN = "logging in"
    READY = "between exchanges"
    COMMAND = "sending a command"
    RESPONSE = "receiving a response"
    UPLOAD = "uploading LOCAL INFILE data"
    SWALLOW = "sending a command that is not relayed"
    BUSY = "waiting for Warmwire"
    CLOSED = "gone"


class ClientConnection:
    """A client's connection, from accept to close.

    Args:
        wire: its socket.
        pool: where upstreams come from.
        config: account, passwords, timeouts.
        clock: for ages.
        spawn: runs what has to be awaited.
        on_closed: told when the client is gone and its socket closed.
    """

    def __init__(
        self,
        wire: Wire,
        pool: Pool,
        config: Config,
        clock: Clock,
        spawn: Spawn,
        on_closed: Callable[["ClientConnection"], None],
    ) -> None:
        self._wire = wire
        self._pool = pool
        self._config = config
        self._clock = clock
        self._spawn = spawn
        self._on_closed = on_closed
        self.phase = Phase.LOGIN
        self._inbox = b""  # bytes that came while they could not be taken
        self._framer = CommandFramer()
        self._swallowed: Callable[[], None] = lambda: None  # what to do at the end of a command that is not relayed
        self._upstream: Upstream | None = None
        self._responding = False  # bytes of the present response have gone out
        self._greeting: Greeting
        self._promised = 0  # connection id of the upstream it was greeted with, until it has one
        self._key = 0
        self._baseline = Baseline(None, 0, False, False)
        self._capabilities = 0
        self._visibility = Visibility.NOTHING
        self._notes = Notes()
        self._transaction = Transaction()
        self._rolled_back: TransactionRolledBack | None = None  # to be told at the next command
        self._ready = asyncio.Event()  # set whenever READY is reached

    async def run(self) -> None:
        """Greet the client and log it in; afterwards it is served by callbacks. Never raises."""
        channel = PacketChannel(self._wire, LOGIN_LIMIT)
        try:
            facts = await self._pool.facts(self._config.checkout_timeout)
        except ClientError as problem:
            log_refusal(problem)
            self._wire.write(write_packet(refusal(problem, greeted=False), 0))
            self._close()
            return
        except BaseException:
            self._close()
            raise
        if self.phase is Phase.CLOSED:  # dropped meanwhile
            return
        try:
            await self._log_in(channel, facts)
        except ClientError as problem:
            log_refusal(problem)
            channel.write(refusal(problem))
            self._close()
        except OSError as problem:
            logger.debug("a client left during its login: %s", problem)
            self._close()
        except ProtocolError as problem:
            channel.write(refusal(MalformedPacket(str(problem))))
            self._close()
        except BaseException:
            self._close()
            raise
        else:
            self._serve(channel.take_rest())

    async def _log_in(self, channel: PacketChannel, facts: ServerFacts) -> None:
        self._promised = self._pool.promise()
        self._greeting = greeting_for(facts, self._promised)
        accepted = await log_in(channel, self._greeting, facts, self._config)
        login = accepted.login
        self._capabilities = login.capabilities & self._greeting.capabilities
        self._visibility = Visibility.DEFAULTS if self._capabilities & Capability.SESSION_TRACK else Visibility.NOTHING
        self._key = key_of(login.capabilities, facts.capabilities)
        self._baseline = baseline_of(login._replace(capabilities=self._capabilities))
        upstream = await self._check_out()
        status = upstream.exchange.status
        self._pool.check_in_unused(upstream)
        changes: tuple[Change, ...] = ()
        if self._visibility is Visibility.DEFAULTS and self._baseline.database:
            changes = ((Track.SCHEMA, write_string(self._baseline.database)),)
        channel.write(*accepted.last_words, write_ok(status & Status.AUTOCOMMIT, changes))

    async def _check_out(self) -> Upstream:
        return await self._pool.check_out(self._key, self._baseline, self._config.checkout_timeout, self._promised)

    def _redeem(self) -> None:
        promised, self._promised = self._promised, 0
        self._pool.redeem(promised)

    # --- the client's bytes --------------------------------------------------------------------------------------

    def _serve(self, first: bytes) -> None:
        if self.phase is Phase.CLOSED:  # room was needed, or a shutdown came, while an upstream was awaited
            return
        self._become_ready()
        self._wire.listen(self._from_client, self._client_lost, self._client_drained)
        if first:
            self._from_client(first)

    def _from_client(self, data: bytes) -> None:
        upstream = self._upstream
        if (
            self.phase is Phase.READY
            and upstream is not None
            and not self._inbox
            and self._rolled_back is None
            and is_whole_command(data)
            and data[4] in _PLAIN
        ):  # nearly always: one command, all of it. The same as below in fewer steps, and the server begins before we book
            upstream.wire.write(data)
            upstream.exchange.begin(data[4])
            self._framer.sequence = data[3]
            self._notes.head = data[4 : 5 + HEAD_SIZE]
            self._responding = False
            self.phase = Phase.RESPONSE
            return
        if self._inbox:
            data = self._inbox + data
            self._inbox = b""
        rest = self._take(data)
        if rest:
            self._inbox = rest
            if len(rest) > INBOX_LIMIT and self.phase is not Phase.READY:
                self._wire.pause()

    def _take(self, data: bytes) -> bytes:
        """Take as much as can be taken now; return the rest."""
        at, end = 0, len(data)
        while at < end:
            phase = self.phase
            if phase is Phase.READY:
                command = command_of(data, at)
                if command is None or not self._begin(command, data, at):
                    break
            elif phase is Phase.COMMAND or phase is Phase.UPLOAD:
                at = self._pass_on(data, at)
            elif phase is Phase.SWALLOW:
                at, complete = self._framer.feed(data, at)
                if complete:
                    self._swallowed()
            else:
                break
        return data[at:] if at else data

    def _begin(self, command: int, data: bytes, at: int) -> bool:
        """Decide what becomes of a command whose first bytes are there. False: its bytes have to wait."""
        self._framer.sequence = data[at + 3]
        if command in _NOT_RELAYED:
            return self._begin_own(command, data, at)
        if command in _SHORTEST and payload_length(data, at) < _SHORTEST[command]:
            self._fail(MalformedPacket(f"command 0x{command:02x} with {payload_length(data, at)} bytes is cut off"))
            return True
        if self._rolled_back is not None and command in _IN_TRANSACTION:
            if len(data) - at < 4 + min(payload_length(data, at), 1 + HEAD_SIZE):  # not all of what is looked at is there yet
                return False
            problem, self._rolled_back = self._rolled_back, None
            if first_word(data[at + 5 : at + 5 + HEAD_SIZE]) != b"ROLLBACK" or command != Command.QUERY:
                self._swallow(lambda: self._refuse(problem))
                return True
        upstream = self._upstream
        if upstream is None:
            upstream = self._pool.try_check_out(self._key, self._baseline, self._promised)
            if upstream is None:
                self.phase = Phase.BUSY
                self._spawn(self._wait_for_upstream())
                return False
            self._link(upstream)
        self._notes.head = data[at + 4 : at + 4 + min(payload_length(data, at), 1 + HEAD_SIZE)] or bytes((command,))
        upstream.exchange.begin(command)
        self._responding = False
        self.phase = Phase.COMMAND
        return True

    def _pass_on(self, data: bytes, at: int) -> int:
        upstream = self._upstream
        if upstream is None:
            raise ProtocolError("a command is being sent to no upstream")
        end, complete = self._framer.feed(data, at)
        upstream.wire.write(data if at == 0 and end == len(data) else data[at:end])
        if upstream.wire.backlog > HIGH_WATER:
            self._wire.pause()
        if complete:
            if self.phase is Phase.UPLOAD:
                if self._framer.size == 0:
                    upstream.exchange.upload_ended()
                    self.phase = Phase.RESPONSE
            elif upstream.exchange.command in NO_RESPONSE:
                self._notes.after_silent()
                self._become_ready()
            else:
                self.phase = Phase.RESPONSE
        return end

    def _begin_own(self, command: int, data: bytes, at: int) -> bool:
        if command == Command.QUIT:
            self._leave("the client quit")
        elif command == Command.RESET_CONNECTION:
            self._swallow(lambda: self._busy(self._reset_connection()))
        elif command == Command.CHANGE_USER:
            length = payload_length(data, at)
            if length > LOGIN_LIMIT:
                self._fail(PacketTooLarge(f"COM_CHANGE_USER with {length} bytes; at most {LOGIN_LIMIT} are accepted"))
            elif len(data) - at < 4 + length:
                return False
            else:
                payload = data[at + 4 : at + 4 + length]
                self._swallow(lambda: self._busy(self._change_user(payload)))
        else:
            problem = UnsupportedCommand(f"command 0x{command:02x} streams the binary log and cannot go through Warmwire")
            self._swallow(lambda: self._refuse(problem))
        return True

    def _swallow(self, then: Callable[[], None]) -> None:
        self._swallowed = then
        self.phase = Phase.SWALLOW

    def _refuse(self, problem: ClientError) -> None:
        """Answer a command with an error; the connection goes on."""
        self._wire.write(write_packet(refusal(problem), self._framer.sequence + 1))
        self._become_ready()

    def _fail(self, problem: ClientError) -> None:
        """Tell the client what went wrong and close."""
        self._wire.write(write_packet(refusal(problem), self._framer.sequence + 1))
        self._leave(str(problem))

    def _become_ready(self) -> None:
        self.phase = Phase.READY
        self._ready.set()
        self._read_on()

    def _read_on(self) -> None:
        """Read the client again, unless the upstream has not even taken what the client sent before."""
        if self._upstream is None or self._upstream.wire.backlog <= HIGH_WATER:
            self._wire.resume()

    def _retake(self) -> None:
        """Go on with what came in the meantime."""
        if self._inbox:
            data, self._inbox = self._inbox, b""
            self._from_client(data)

    def _busy(self, work: Coroutine[Any, Any, None]) -> None:
        self.phase = Phase.BUSY
        self._ready.clear()
        self._spawn(self._do(work))

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Await what makes the client BUSY, and go on with it afterwards."""
        try:
            await work
        except ClientError as problem:
            self._fail(problem)
        except (OSError, ProtocolError) as problem:
            self._fail(UpstreamLost(f"{problem}; the database is {self._config.database}"))
        except BaseException:
            self._leave("interrupted")
            raise
        if self.phase is Phase.BUSY:
            self._become_ready()
            self._retake()

    # --- the upstream's bytes ------------------------------------------------------------------------------------

    def _link(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._redeem()
        upstream.exchange.visibility = self._visibility
        upstream.wire.listen(self._from_upstream, self._upstream_lost, self._upstream_drained)

    def _from_upstream(self, data: bytes) -> None:
        upstream = self._upstream
        if upstream is None:
            return
        exchange = upstream.exchange
        if exchange.done:  # unasked: for example that wait_timeout has ended the session. The client would read it so too
            self._wire.write(data)
            self._responding = True
            self._lose_upstream("the server spoke unasked")
            return
        try:
            shown = exchange.feed(data)
        except ProtocolError as problem:
            self._lose_upstream(f"the server left the protocol: {problem}")
            return
        if shown:
            self._responding = True
            self._wire.write(shown)
            if self._wire.backlog > HIGH_WATER:
                upstream.wire.pause()
        if exchange.done:
            self._exchange_ended(upstream)
        elif exchange.uploading and self.phase is Phase.RESPONSE:
            self.phase = Phase.UPLOAD
            self._read_on()
            self._retake()

    def _exchange_ended(self, upstream: Upstream) -> None:
        exchange = upstream.exchange
        if self.phase is not Phase.RESPONSE:  # answered before the command was sent whole: the server gave up on it
            self._leave("the server answered before the command had ended")
            return
        self._notes.after(exchange)
        if self._notes.has_set_trackers and self._transaction.is_tracked:
            self._transaction.is_tracked = False
            if self._visibility is not Visibility.NOTHING:
                self._visibility = exchange.visibility = Visibility.EVERYTHING
        if self._transaction.is_concerned(exchange):
            self._transaction.after(exchange, self._notes.only_reads, self._clock.now())
        self._become_ready()
        self._retake()

    def _client_drained(self) -> None:
        if self._upstream is not None:
            self._upstream.wire.resume()

    def _upstream_drained(self) -> None:
        if len(self._inbox) <= INBOX_LIMIT:
            self._wire.resume()

    async def _wait_for_upstream(self) -> None:
        """Bring an upstream for the command that is waiting in the inbox, or answer it with the reason why not."""
        self._ready.clear()
        try:
            await self._acquire()
        except ClientError as problem:
            refused = problem
            if self.phase is not Phase.CLOSED:
                self._swallow(lambda: self._refuse(refused))
                self._retake()
            return
        except BaseException:
            self._leave("interrupted")
            raise
        if self.phase is Phase.BUSY:
            self._become_ready()
            self._retake()

    async def _acquire(self) -> None:
        upstream = await self._check_out()
        if self.phase is Phase.CLOSED:
            self._pool.check_in_unused(upstream)
        else:
            self._link(upstream)

    async def _held(self) -> Upstream:
        """The client's upstream, checked out if need be, not listened to by the relay."""
        if self._upstream is None:
            await self._acquire()
        if self._upstream is None:
            raise ClientError("the client has gone")
        return self._upstream

    async def _reset_connection(self) -> None:
        upstream = await self._held()
        self._forget_session()
        ok = await upstream.reset_for_client(self._baseline)
        if self.phase is not Phase.CLOSED:
            self._link(upstream)
            self._wire.write(write_packet(read_ok(ok, self._visibility).shown, self._framer.sequence + 1))

    async def _change_user(self, payload: bytes) -> None:
        """COM_CHANGE_USER: prove the password to us, then let the server do with the session what it does directly."""
        upstream = await self._held()
        channel = PacketChannel(self._wire, LOGIN_LIMIT, self._inbox)
        self._inbox = b""
        channel.sequence = self._framer.sequence + 1
        try:
            login, last_words = await log_in_again(
                channel, payload, self._capabilities, self._greeting, upstream.facts, self._config
            )
            self._forget_session()
            baseline = self._baseline._replace(database=login.database, collation=login.collation & 0xFF)
            ok = await upstream.change_user_for_client(baseline)
            self._baseline = baseline
            channel.write(*last_words, read_ok(ok, self._visibility).shown)
        except ServerRefused as problem:
            if not upstream.facts.is_mariadb:  # MySQL closes the connection then
                raise
            channel.write(refusal(problem))
            await upstream.reset_for_client(self._baseline)
        finally:
            self._framer.sequence = channel.sequence - 1 & 0xFF
            if self.phase is not Phase.CLOSED:
                self._link(upstream)
                self._inbox = channel.take_rest()
                self._wire.listen(self._from_client, self._client_lost, self._client_drained)

    def _forget_session(self) -> None:
        self._rolled_back = None
        if self._visibility is Visibility.EVERYTHING:
            self._visibility = Visibility.DEFAULTS
        self._transaction = Transaction()
        self._notes.forget_session()

    async def end_invocation(self, request_id: str) -> None:
        """Leave nothing open that would stay open in a frozen environment; called when the invocation has ended.

        An open transaction is rolled back. If it had written, the client is told at its next command. A statement that
        still runs gets END_GRACE seconds; if it is in a transaction, it is then killed with its connection.
        """
        if self._upstream is None:
            return
        try:
            async with asyncio.timeout(END_GRACE):
                while self.phase is not Phase.READY and self.phase is not Phase.CLOSED:
                    self._ready.clear()
                    await self._ready.wait()
        except TimeoutError:
            if self._upstream is not None and self._may_be_in_transaction(self._upstream):
                reason = f"invocation {request_id} ended during a statement in a transaction"
                await self._pool.kill(self._upstream, KILL_TIMEOUT, reason)
                self._lose_upstream(reason)
            return
        transaction = self._transaction
        if self._upstream is not None and (transaction.is_open or transaction.is_unsure):
            self.phase = Phase.BUSY
            await self._do(self._roll_back(request_id, self._upstream))

    def _may_be_in_transaction(self, upstream: Upstream) -> bool:
        """Whether a statement that still runs may be in a transaction; without autocommit it may have begun one itself."""
        told = upstream.exchange.status & (Status.IN_TRANS | Status.AUTOCOMMIT) != Status.AUTOCOMMIT
        return told or self._transaction.is_open or self._transaction.is_unsure

    async def _roll_back(self, request_id: str, upstream: Upstream) -> None:
        transaction = self._transaction
        if transaction.is_unsure:
            await upstream.ping()
            transaction.note(upstream.exchange.status, None, self._clock.now())
        if transaction.is_open:
            await upstream.rollback(unlock=transaction.has_locked_tables)
            age = transaction.since.age(self._clock.now()) if transaction.since else 0.0
            if transaction.has_written:
                self._rolled_back = TransactionRolledBack(
                    f"the transaction was rolled back because invocation {request_id} ended without COMMIT, {age:.1f} s"
                    " after it began; nothing of it is stored: start it again"
                )
            logger.log(
                logging.WARNING if transaction.has_written else logging.DEBUG,
                "rolled back the transaction that invocation %s left open: statements %d, age %.1f s, %s",
                request_id,
                transaction.statements,
                age,
                "it had written" if transaction.has_written else "it had only read",
                extra={"requestId": request_id, "upstream": upstream.thread_id, "seconds": round(age, 3)},
            )
        self._transaction = Transaction()
        self._transaction.is_tracked = transaction.is_tracked
        if self.phase is not Phase.CLOSED:
            self._link(upstream)

    def shut_down(self) -> None:
        """Close the connection; its upstream stays with the pool if it is between exchanges."""
        self._leave("shutdown")

    def drop(self) -> None:
        """Close the connection at once; what was not sent yet is lost."""
        self._leave("dropped")
        self._wire.abort()

    def _client_lost(self, problem: OSError | None) -> None:
        self._leave(f"the client closed its connection ({problem or 'without COM_QUIT'})")

    def _upstream_lost(self, problem: OSError | None) -> None:
        self._lose_upstream(f"connection lost: {problem or 'closed by the server'}")

    def _lose_upstream(self, reason: str) -> None:
        """The upstream is of no more use: say so if a response is awaited, and close."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._pool.discard(upstream, reason)
        if self.phase in (Phase.COMMAND, Phase.RESPONSE, Phase.UPLOAD) and not self._responding:
            self._fail(
                UpstreamLost(
                    f"the connection to the database {self._config.database} was lost while a statement may have been"
                    f" running ({reason}); whether it took effect is not known"
                )
            )
        else:
            self._leave(reason)

    def _leave(self, reason: str) -> None:
        upstream, self._upstream = self._upstream, None
        phase = self.phase
        self._close()
        if upstream is None:
            return
        if phase is Phase.RESPONSE:
            self._pool.abandon(upstream, in_transaction=self._may_be_in_transaction(upstream))
        elif phase is not Phase.READY or not upstream.exchange.done:
            self._pool.discard(upstream, f"{reason} while {phase.value}")
        elif self._notes.has_left_traces:
            self._pool.retire(upstream, "its client left what no reset clears")
        else:
            self._pool.check_in(upstream, self._baseline)

    def _close(self) -> None:
        if self.phase is not Phase.CLOSED:
            self.phase = Phase.CLOSED
            self._redeem()
            self._ready.set()
            self._inbox = b""
            self._wire.close()
            self._wire.closed.add_done_callback(lambda _: self._on_closed(self))
