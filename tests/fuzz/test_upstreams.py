"""A database that says anything at all, from its greeting on.

After each burst it comes to its senses: then a client is served at once, and gets its own answer and nobody else's.
"""

import asyncio
import contextlib
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.client import Client
from tests.fakes.mysqld import COLUMN, EOF, FLAGS, Mysqld, Session
from tests.fuzz import SECONDS, SEED, replay
from tests.fuzz.corpus import GREETINGS, PLUGINS, PUBLIC_KEY, RESPONSES
from tests.fuzz.mutation import chunks, mutate
from tests.fuzz.vitals import Vitals
from tests.splits import packet, packets
from tests.wire_packets import Flag, Refused

pytestmark = pytest.mark.timeout(60 + SECONDS)

CLIENTS = 24
POOL_MAX = 8
SAID = [response.ours for response in RESPONSES if len(response.ours) < 3000] + [packet(one) for one in GREETINGS]
EVIL = [
    b"\xfe" + PLUGINS[1] + b"\0" + bytes(21), b"\xfe" + PLUGINS[1] + b"\0", b"\xfemysql_clear_password\0", b"\xfe", b"\1\3",
    b"\1\4", b"\1" + PUBLIC_KEY, b"\xff\x15\4#\xff\xff\xff\xff\xffno", b"\xff\x15\4#2", b"\xff", b"\xfbx", b"", b"\0",
    b"\0\0\0\x02\x40\0\0\0\2\5\0", b"\0\0\0\x02\x40\0\0\0\3\5\1\xfe", b"\0\0\0\x0a\x00\0\0",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", b"\xfd\xff\xff\xff",
]  # fmt: skip
"""Payloads that have their place in the protocol, but not everywhere, or are cut off where it hurts."""
BY_FLAGS = {
    deprecate_eof: [one.ours for one in RESPONSES if one.command == 3 and one.deprecate_eof == deprecate_eof]
    for deprecate_eof in (False, True)
}


class Mangler:
    """A stream writer that sends something else than it is told to, every now and then."""

    def __init__(self, writer: asyncio.StreamWriter, rng: random.Random) -> None:
        self._writer = writer
        self._rng = rng
        self._sane = rng.choice((0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 15))  # packets until it begins
        self._trust = rng.choice((0.0, 0.3, 0.8))

    def write(self, data: bytes) -> None:
        rng = self._rng
        self._sane -= 1
        if self._sane >= 0 or rng.random() < self._trust:
            self._writer.write(data)
            return
        way = rng.random()
        if way < 0.6:
            for piece in chunks(rng, mutate(rng, data, SAID)):
                self._writer.write(piece)
        elif way < 0.75 and len(data) > 3:
            self._writer.write(packet(rng.choice(EVIL), data[3]))
        elif way < 0.82:
            self._writer.write(data + rng.choice(SAID))  # more than was asked for
        elif way < 0.9:
            self._writer.write(data[: rng.randrange(len(data) + 1)])  # and then nothing
        else:
            self._writer.transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


class Mad(Mysqld):
    """A server that mangles what it says while it is ``mad``."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(flags=FLAGS)
        self.rng = rng
        self.mad = False
        self.handlers[b"\x03fuzz"] = self._answer_anything
        self.handlers[b"\x03SELECT mine"] = self._answer_with_the_question

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mad:
            writer = Mangler(writer, random.Random(self.rng.random()))  # type: ignore[assignment]
        await super()._serve(reader, writer)

    async def _talk(self, session: Session) -> None:
        with contextlib.suppress(ValueError, IndexError):  # an answer to mangled bytes need not make sense
            await super()._talk(session)

    async def _answer_anything(self, session: Session, _: bytes) -> None:
        session.send(self.rng.choice(BY_FLAGS[bool(self.flags & Flag.DEPRECATE_EOF)]))

    async def _answer_with_the_question(self, session: Session, question: bytes) -> None:
        row = bytes((len(question),)) + question
        session.send(packets(b"\x01", COLUMN, row, b"\xfe\0\0\2\0\0\0") if self.flags & Flag.DEPRECATE_EOF else
                     packets(b"\x01", COLUMN, EOF, row, EOF))  # fmt: skip

    def begin(self, number: int) -> None:
        """Go mad; as another kind of server than last time."""
        self.mad = True
        self.flags = FLAGS | Flag.DEPRECATE_EOF if number % 2 else FLAGS
        self.version = (b"8.0.99", b"5.5.5-10.11.19-MariaDB", b"5.7.12")[number % 3]

    async def recover(self) -> None:
        """Come to its senses: what was said before ends with its connection."""
        self.mad = False
        said_before = list(self.sessions)
        for session in said_before:
            session.abort()
        for session in said_before:
            await session.ended.wait()


async def ask(port: int, flags: Flag, *questions: bytes, timeout: float) -> list[bytes]:
    """Log in and ask; the row that came for each question. Raises Refused, OSError, EOFError, TimeoutError."""
    client = await Client.connect(port, greeted=False)
    client.timeout = timeout
    rows = []
    try:
        _, client.greeting = await client.read_packet()
        if client.greeting[:1] == b"\xff":
            raise Refused(client.greeting)
        client.send(client.login_packet("app", "app", flags), 1)
        _, answer = await client.read_packet()
        if answer[:1] == b"\xff":
            raise Refused(answer)
        for question in questions:
            client.send(b"\x03" + question)
            rows.append([(await client.read_packet())[1] for _ in range(3 if flags & Flag.DEPRECATE_EOF else 4)][-1])
            await client.read_packet()
        client.send(b"\x01")
        await client.at_end()
    finally:
        await client.close()
    return rows


async def suffer(port: int, flags: Flag, rng: random.Random) -> None:
    """A client of the mad server: anything may happen to it."""
    questions = [rng.choice((b"fuzz", b"SELECT mine", b"DO 1")) for _ in range(rng.randrange(1, 5))]
    with contextlib.suppress(Refused, OSError, EOFError, TimeoutError, ValueError, IndexError):
        await ask(port, flags, *questions, timeout=rng.choice((0.05, 0.2)))


async def test_no_database_harms_the_process_or_the_next_client(warmwire):
    async with Mad(random.Random(f"{SEED} server")).serving() as database:
        address = SimpleNamespace(host="127.0.0.1", port=database.port, ca_path="")
        proxy = warmwire(
            address, WARMWIRE_DB_TLS="disabled", WARMWIRE_CHECKOUT_TIMEOUT=0.3, WARMWIRE_POOL_MAX=POOL_MAX,
            WARMWIRE_VALIDATE_AFTER=0.001,
        )  # fmt: skip
        assert (await ask(proxy.port, FLAGS, b"SELECT mine first", timeout=5))[0].endswith(b"SELECT mine first")
        vitals = Vitals(proxy)
        deadline = time.monotonic() + SECONDS * 0.27
        number = 0
        while time.monotonic() < deadline:
            number += 1
            rng = random.Random(f"{SEED} upstream {number}")
            database.rng = rng
            database.begin(number)
            await asyncio.gather(*(suffer(proxy.port, database.flags, rng) for _ in range(CLIENTS)))
            await database.recover()
            about = f"after burst {number} ({replay()})"
            questions = [b"SELECT mine %d %d" % (number, client) for client in range(POOL_MAX)]
            try:
                await check_good_clients(proxy.port, database.flags, questions)
            except Exception as failed:
                raise AssertionError(f"{failed!r} {about}\n{vitals.log_end}") from failed
            vitals.check(about, more_files=POOL_MAX + 2)
        print(f"{number} bursts of {CLIENTS} clients; {vitals.memory >> 20} MB")
        assert number > 0


async def check_good_clients(port: int, flags: Flag, questions: list[bytes]) -> None:
    """The first may still be greeted as by the server that there was before; the others are all at once served right."""
    with contextlib.suppress(Refused, EOFError):
        await ask(port, flags, b"SELECT mine", timeout=5)
    answers = await asyncio.gather(*(ask(port, flags, question, question, timeout=5) for question in questions))
    for question, rows in zip(questions, answers, strict=True):
        assert all(row.endswith(question) for row in rows), f"{rows} to {question!r}"
