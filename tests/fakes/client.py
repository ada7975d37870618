"""A client made of bytes for tests that share the event loop with what they test."""

import asyncio
import contextlib

from tests.splits import packet
from tests.wire_packets import PLAIN, Command, Flag, Refused, scramble

NATIVE = b"mysql_native_password"


class Client:
    """One connection. Each read is bounded by ``timeout`` seconds."""

    timeout = 5.0

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""

    @classmethod
    async def connect(cls, port: int, *, greeted: bool = True) -> "Client":
        """Connect and, if ``greeted``, wait for the greeting."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        if greeted:
            _, client.greeting = await client.read_packet()
            if client.greeting[:1] == b"\xff":
                await client.close()
                raise Refused(client.greeting)
        return client

    def login_packet(self, user: str = "app", database: str = "app", flags: Flag = PLAIN, password: str = "x") -> bytes:
        """The payload of a login with mysql_native_password."""
        if database:
            flags |= Flag.CONNECT_WITH_DB
        answer = scramble(NATIVE, password.encode(), self.nonce)
        return (
            flags.to_bytes(4, "little") + b"\x00\x00\x00\x01\x2d" + bytes(23) + user.encode() + b"\0"
            + bytes((len(answer),)) + answer + (database.encode() + b"\0" if database else b"") + NATIVE + b"\0"
        )  # fmt: skip

    @property
    def nonce(self) -> bytes:
        """The greeting's."""
        start = self.greeting.index(b"\0", 1) + 5
        return self.greeting[start : start + 8] + self.greeting[start + 27 : start + 39]

    def send(self, payload: bytes, sequence: int = 0) -> None:
        """Send one packet."""
        self.writer.write(packet(payload, sequence))

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        async with asyncio.timeout(self.timeout):
            return await self.reader.readexactly(size)

    async def read_packet(self) -> tuple[int, bytes]:
        """The next packet: sequence id and payload."""
        header = await self.read(4)
        return header[3], await self.read(int.from_bytes(header[:3], "little"))

    async def command(self, command: int, argument: bytes = b"") -> tuple[int, bytes]:
        """Send a command and read the first packet of its answer."""
        self.send(bytes((command,)) + argument)
        return await self.read_packet()

    async def query(self, sql: str) -> bytes:
        """The first packet that answers a query."""
        return (await self.command(Command.QUERY, sql.encode()))[1]

    async def at_end(self) -> bool:
        """Whether the other end closes now, without a further word."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def rest(self) -> bytes:
        """Everything until the other end closes."""
        async with asyncio.timeout(self.timeout):
            return await self.reader.read()

    async def close(self) -> None:
        """Close without a word."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        """Go away with a reset."""
        self.writer.transport.abort()

