"""A stand-in for a database where there is none: mysql-mimic's server over SQLite, in this process, on 127.0.0.1.

For `make demo` and for trying things out; no database to keep data in, and nothing to measure a database by. It knows
single statements on tables (CREATE, DROP, INSERT, UPDATE, DELETE, SELECT), transactions, SET and SHOW STATUS, and answers
1235 to the rest. What it does know, it does as MySQL would: transactions of several connections do not see each other's
changes, a reset really resets, a wrong password ends the connection, and its counters are counted.
"""

# mypy: allow-subclassing-any

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from mysql_mimic import context
from mysql_mimic.auth import IdentityProvider, NativePasswordAuthPlugin, User
from mysql_mimic.connection import Connection
from mysql_mimic.constants import DEFAULT_SERVER_CAPABILITIES, KillKind
from mysql_mimic.control import Control
from mysql_mimic.errors import ErrorCode, MysqlError
from mysql_mimic.server import MysqlServer
from mysql_mimic.stream import ConnectionClosed, MysqlStream
from mysql_mimic.types import Capabilities, Commands, ServerStatus

from warmwire.emulator.stand_in_session import Shared, TableSession

# It warns of statements that it does not know; the client is told already.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

CAPABILITIES = (
    DEFAULT_SERVER_CAPABILITIES
    | Capabilities.CLIENT_TRANSACTIONS
    | Capabilities.CLIENT_MULTI_RESULTS  # there are never several, but drivers ask for it
    | Capabilities.CLIENT_SESSION_TRACK
) & ~Capabilities.CLIENT_QUERY_ATTRIBUTES
TRACK_TRANSACTION_STATE = 5
"""SESSION_TRACK_TRANSACTION_STATE of the MySQL manual, "Session State Information"."""


class Stream:
    """mysql-mimic's stream, which can be wrapped only, with packets read whole however TCP delivers them.

    The original takes a header that comes in two parts for the end.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._original = MysqlStream(reader, writer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    async def read(self) -> bytes:
        """The next packet's payload.

        Raises:
            ConnectionClosed: There is none.
        """
        data = b""
        try:
            while True:
                header = await self._reader.readexactly(4)
                next(self.seq)
                length = int.from_bytes(header[:3], "little")
                data += await self._reader.readexactly(length)
                if length < 0xFFFFFF:
                    return data
        except asyncio.IncompleteReadError:
            raise ConnectionClosed from None


class LoginRefused(Exception):
    """The client has been told, and its connection ends."""


class TableConnection(Connection):
    """One client. The original goes on to serve after a failed login, resets nothing, and does not count."""

    session: TableSession

    @property
    def status_flags(self) -> ServerStatus:
        """What OK packets tell of the session."""
        flags = ServerStatus(0)
        if self.session.variables.get("autocommit"):
            flags |= ServerStatus.SERVER_STATUS_AUTOCOMMIT
        if self.session.in_transaction:
            flags |= ServerStatus.SERVER_STATUS_IN_TRANS
        return flags

    @status_flags.setter
    def status_flags(self, flags: ServerStatus) -> None:
        """The original only ever says zero."""

    async def authenticate(self, *arguments: Any, **named: Any) -> None:
        """Check the password.

        Raises:
            LoginRefused: It is wrong.
        """
        self.session.username = None
        await super().authenticate(*arguments, **named)
        if self.session.username is None:
            raise LoginRefused

    async def serve(self) -> bool:
        """Serve the client until it leaves; returns whether it said COM_QUIT.

        Raises:
            LoginRefused, ConnectionClosed: It never logged in.
        """
        context.connection_id.set(self.connection_id)
        await self.connection_phase()
        await self.session.init(self)
        try:
            while (data := await self.stream.read())[0] != Commands.COM_QUIT:
                await self._answer(data)
                self.stream.reset_seq()
        except (ConnectionClosed, ConnectionError):
            return False
        finally:
            await self.session.close()
        return True

    async def _answer(self, data: bytes) -> None:
        handlers = {
            Commands.COM_QUERY: self.handle_query,
            Commands.COM_INIT_DB: self.handle_init_db,
            Commands.COM_PING: self.handle_ping,
            Commands.COM_RESET_CONNECTION: self.handle_reset_connection,
            Commands.COM_CHANGE_USER: self.handle_change_user,
            Commands.COM_SET_OPTION: self._handle_set_option,
        }
        handler = handlers.get(data[0])
        try:
            if handler is None:
                raise MysqlError(f"the stand-in does not know command {data[0]}", ErrorCode.UNKNOWN_COM_ERROR)
            await handler(data[1:])
        except MysqlError as problem:
            await self.stream.write(self.error(msg=problem.msg, code=problem.code))
        except (LoginRefused, ConnectionClosed, ConnectionError):
            raise
        except Exception as problem:  # sqlglot raises many kinds for what it cannot parse
            reason = str(problem).partition("\n")[0]
            await self.stream.write(self.error(msg=f"the stand-in: {reason}", code=ErrorCode.PARSE_ERROR))

    async def handle_reset_connection(self, data: bytes) -> None:
        """COM_RESET_CONNECTION: everything but the database is as after the login."""
        self.session.rollback()
        self.session.forget_variables()
        await self.stream.write(self.ok())

    async def handle_change_user(self, data: bytes) -> None:
        """COM_CHANGE_USER: as a login on a new connection.

        Raises:
            LoginRefused: The password is wrong.
        """
        self.session.rollback()
        self.session.forget_variables()
        await super().handle_change_user(data)

    async def _handle_set_option(self, data: bytes) -> None:
        """COM_SET_OPTION: several statements in one COM_QUERY are refused either way."""
        await self.stream.write(self.ok_or_eof())

    def ok(self, **named: Any) -> bytes:
        """An OK packet, with what the last statement changed and the transaction's state, if the client tracks that."""
        changed = {"affected_rows": self.session.affected, "last_insert_id": self.session.last_id}
        packet: bytes = super().ok(**changed | named)
        state = self.session.untold_state() if Capabilities.CLIENT_SESSION_TRACK in self.capabilities else None
        if state is None:
            return packet
        # MySQL manual, "OK_Packet": flags and warnings are the last four bytes; then info, empty, and the changes.
        flags = int.from_bytes(packet[-4:-2], "little") | ServerStatus.SERVER_SESSION_STATE_CHANGED
        entry = bytes((TRACK_TRANSACTION_STATE, 1 + len(state), len(state))) + state
        packet = packet[:-4] + flags.to_bytes(2, "little") + packet[-2:] + bytes((0, len(entry))) + entry
        return packet


class OneAccount(IdentityProvider):
    """Knows one user; others are given a password that nobody has, so that they are refused as with a wrong one."""

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._secret = NativePasswordAuthPlugin.create_auth_string(password)

    async def get_user(self, username: str) -> User:
        """The account to check a password against."""
        known = username == self._user
        return User(username, self._secret if known else "00" * 20, NativePasswordAuthPlugin.name)


class Numbering(Control):
    """Gives connections the ids 1, 2, 3 …, and ends them on KILL."""

    def __init__(self) -> None:
        self.connections: dict[int, TableConnection] = {}
        self._last = 0

    async def add(self, connection: Connection) -> int:
        """Give a new connection its id."""
        self._last += 1
        self.connections[self._last] = connection
        return self._last

    async def remove(self, connection_id: int) -> None:
        """Forget a connection."""
        self.connections.pop(connection_id, None)

    async def kill(self, connection_id: int, kind: KillKind = KillKind.CONNECTION) -> None:
        """End a connection. Statements end by themselves, too fast to be killed."""
        connection = self.connections.get(connection_id)
        if connection is not None and kind is KillKind.CONNECTION:
            connection.stream.writer.close()


class StandIn(MysqlServer):
    """The server. It listens on a free port of 127.0.0.1 and knows one account.

    Attributes:
        port: where it listens.
        shared: its counters, and what its connections work on.
    """

    def __init__(self, user: str, password: str) -> None:
        self.port = 0
        self.shared = Shared()
        self._serving: set[Any] = set()
        super().__init__(control=Numbering(), identity_provider=OneAccount(user, password))

    async def serve_until(self, stopped: asyncio.Event, on_listening: Callable[[], None]) -> None:
        """Listen, tell so, and serve until `stopped` is set.

        Raises:
            OSError: There is no port to listen on.
        """
        await self.start_server(host="127.0.0.1", port=0)
        self.port = self.sockets()[0].getsockname()[1]
        on_listening()
        await stopped.wait()
        self.close()
        for connection in list(self.control.connections.values()):
            connection.stream.writer.close()
        while self._serving:
            await asyncio.wait(self._serving)

    async def _client_connected_cb(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = TableConnection(
            stream=Stream(reader, writer),
            session=TableSession(self.shared),
            control=self.control,
            server_capabilities=CAPABILITIES,
            identity_provider=self.identity_provider,
        )
        self._serving.add(task := asyncio.current_task())
        counters = self.shared.counters
        connection.connection_id = await self.control.add(connection)
        counters.connections += 1
        counters.threads_connected += 1
        try:
            if not await connection.serve():
                counters.aborted_clients += 1
        except (LoginRefused, ConnectionClosed, ConnectionError):
            counters.aborted_connects += 1
        finally:
            counters.threads_connected -= 1
            await self.control.remove(connection.connection_id)
            writer.close()
            self._serving.remove(task)


@contextlib.contextmanager
def running(user: str, password: str) -> Iterator[StandIn]:
    """Serve on a thread of its own for as long as this lasts.

    Raises:
        OSError: There is no port to listen on.
    """
    server = StandIn(user, password)
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        await server.serve_until(stopped, lambda: ready.set_result((asyncio.get_running_loop(), stopped)))

    def run() -> None:
        try:
            asyncio.run(serve())
        except OSError as problem:
            ready.set_exception(problem)

    thread = threading.Thread(target=run, name="stand-in")
    thread.start()
    loop, stopped = ready.result()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
