"""A MySQL server on localhost that says what a test tells it to, whenever it tells it to.

It logs anybody in, does what Warmwire itself asks of a server (settings, resets, pings), and hands every other command
to the handler that the test has put in its place.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.splits import packet, packets
from tests.wire_packets import PLAIN, Command, Flag

OK = b"\x00\x00\x00\x02\x00\x00\x00"
IN_TRANSACTION = b"\x00\x00\x00\x03\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
COLUMN = b"\x03def\x00\x00\x00\x01a\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00"
ROWS = packets(b"\x01", COLUMN, EOF, b"\x011", EOF)
"""The response to SELECT 1 without CLIENT_DEPRECATE_EOF."""
FLAGS = (
    PLAIN | Flag.FOUND_ROWS | Flag.LOCAL_FILES | Flag.MULTI_STATEMENTS | Flag.PS_MULTI_RESULTS | Flag.CONNECT_WITH_DB
    | Flag.CONNECT_ATTRS | Flag.SESSION_TRACK
)  # fmt: skip


def error(errno: int, text: str, sqlstate: str = "HY000") -> bytes:
    """An ERR packet's payload."""
    return b"\xff" + errno.to_bytes(2, "little") + b"#" + sqlstate.encode() + text.encode()


@dataclass(eq=False)
class Session:
    """One connection, as the server sees it."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    commands: list[bytes] = field(default_factory=list)
    """Payloads of all commands that came, Warmwire's own included."""
    database: bytes | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, data: bytes) -> None:
        """Say bytes as they are."""
        self.writer.write(data)

    async def read_packet(self) -> bytes:
        """The next physical packet's payload."""
        header = await self.reader.readexactly(4)
        return await self.reader.readexactly(int.from_bytes(header[:3], "little"))

    def close(self) -> None:
        """End the connection in order, as KILL does."""
        self.writer.close()

    def abort(self) -> None:
        """End it with a reset."""
        self.writer.transport.abort()

    @property
    def has_quit(self) -> bool:
        """Whether it ended with COM_QUIT."""
        return bytes((Command.QUIT,)) in self.commands


Handler = Callable[[Session, bytes], Awaitable[None]]


class Mysqld:
    """The server. ``sessions`` are all connections so far, in the order of their coming."""

    def __init__(self, version: bytes = b"8.0.99", flags: Flag = FLAGS) -> None:
        self.version = version
        self.flags = flags
        self.sessions: list[Session] = []
        self.port = 0
        self.handlers: dict[bytes, Handler] = {}
        """By the front of a command's payload; the longest that fits is taken."""
        self.greeting: Callable[[Session], Awaitable[bytes | None]] | None = None
        """Instead of the greeting; None from it: hang up."""
        self.refuse_login: bytes | None = None
        self.open_now = 0
        self.most_open = 0

    def on(self, front: bytes, *answers: bytes) -> None:
        """Answer commands that begin with ``front`` with these packets."""

        async def answer(session: Session, _: bytes) -> None:
            session.send(packets(*answers))

        self.handlers[front] = answer

    def query(self, sql: str, *answers: bytes) -> None:
        """Answer a query with these packets."""
        self.on(bytes((Command.QUERY,)) + sql.encode(), *answers)

    @property
    def greeting_packet(self) -> bytes:
        low, high = self.flags & 0xFFFF, self.flags >> 16
        number = len(self.sessions)
        return packet(
            b"\x0a" + self.version + b"\0" + number.to_bytes(4, "little") + b"abcdefgh\0" + low.to_bytes(2, "little")
            + b"\x08\x02\x00" + high.to_bytes(2, "little") + b"\x15" + bytes(10) + b"ijklmnopqrst\0"
            + b"mysql_native_password\0",
            0,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Mysqld"]:
        """Listen on a free port; at the end all connections are closed."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for session in self.sessions:
                session.abort()
            for session in self.sessions:
                await session.ended.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(len(self.sessions) + 1, reader, writer)
        self.sessions.append(session)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await self._talk(session)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.open_now -= 1
            writer.close()
            session.ended.set()

    async def _talk(self, session: Session) -> None:
        greeting = self.greeting_packet if self.greeting is None else await self.greeting(session)
        if greeting is None:
            return
        session.send(greeting)
        login = await session.read_packet()
        if self.refuse_login is not None:
            session.send(packet(self.refuse_login, 2))
            return
        if int.from_bytes(login[:4], "little") & Flag.CONNECT_WITH_DB:
            end = login.index(b"\0", 32) + 1
            start = end + 1 + login[end]
            session.database = login[start : login.index(b"\0", start)]
        session.send(packet(OK, 2))
        while True:
            payload = await session.read_packet()
            session.commands.append(payload)
            if payload[:1] == bytes((Command.QUIT,)):
                return
            fitting = [front for front in self.handlers if payload.startswith(front)]
            if fitting:
                await self.handlers[max(fitting, key=len)](session, payload)
            else:
                session.send(self._own(session, payload))

    def _own(self, session: Session, payload: bytes) -> bytes:
        """What every server answers to what Warmwire asks."""
        command, argument = payload[0], payload[1:]
        if command == Command.CHANGE_USER:
            start = argument.index(b"\0") + 1
            start += 1 + argument[start]
            session.database = argument[start : argument.index(b"\0", start)] or None
            return packet(OK, 1)
        if command == Command.INIT_DB:
            session.database = argument
        if command == Command.SET_OPTION:
            return packet(EOF, 1)
        if argument == b"SELECT @@init_connect":
            return packets(b"\x01", COLUMN, EOF, b"\x00", EOF)
        if command == Command.QUERY and argument.startswith(b"SELECT"):
            return ROWS
        return packet(OK, 1)
