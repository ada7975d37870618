"""Clients that say anything at all to a running Warmwire with a real server behind it.

After each burst of them a good client is served, and finds nothing of theirs in its session.
"""

import asyncio
import contextlib
import random
import socket
import struct
import time

import pytest

from tests.fakes.client import Client
from tests.fuzz import SECONDS, SEED, replay
from tests.fuzz.corpus import CONVERSATIONS, FLAGS, LOGINS, login
from tests.fuzz.mutation import chunks, mutate
from tests.fuzz.vitals import Vitals
from tests.splits import packet
from tests.wire import Wire
from tests.wire_packets import PLAIN, Flag, Login, Role

pytestmark = pytest.mark.timeout(60 + SECONDS)

BURST = 24
POOL_MAX = 3
SOUND_LOGINS = [login(flags) for flags in FLAGS]


async def misbehave(rng: random.Random, port: int, *, let_in: bool) -> bytes:
    """One client: says something, reads a little, goes away somehow. Returns what it was told.

    Args:
        let_in: half of the clients log in properly, to get on to the commands.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    told = b""
    try:
        if rng.random() < 0.9:
            told += await hear(reader, 0.5, at_least=1)
        first = packet(rng.choice(SOUND_LOGINS), 1)
        if not let_in or rng.random() < 0.5:
            first = mutate(rng, packet(rng.choice(LOGINS), 1), CONVERSATIONS)
        said = b"".join(rng.choice(CONVERSATIONS) for _ in range(rng.randrange(4)))
        if rng.random() < 0.8:
            said = mutate(rng, said, CONVERSATIONS)
        if rng.random() < 0.5:  # all at once, without waiting to be let in
            first, said = first + said, b""
        for piece in (*chunks(rng, first), b"", *chunks(rng, said)):
            writer.write(piece)
            if rng.random() < 0.3 or not piece:
                told += await hear(reader, 0.02)
        if rng.random() < 0.7:
            told += await hear(reader, rng.choice((0.0, 0.01, 0.05)))
        if rng.random() < 0.2:
            writer.write_eof()
            told += await hear(reader, 0.02)
        elif rng.random() < 0.5:
            linger = struct.pack("ii", 1, 0)  # ends with a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except ConnectionError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return told


async def hear(reader: asyncio.StreamReader, seconds: float, *, at_least: int = 1 << 20) -> bytes:
    """What arrives within so many seconds, or until it is enough."""
    told = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(told) < at_least and (more := await reader.read(65536)):
                told += more
    return told


async def check_a_good_client(port: int, number: int) -> None:
    client = await Client.connect(port)
    client.timeout = 15
    client.send(client.login_packet("app", "app", PLAIN), 1)
    _, answer = await client.read_packet()
    assert answer[:1] == b"\0", f"the good client was not let in: {answer!r}"
    client.send(b"\x03SELECT %d, @leftover, @@autocommit, DATABASE(), @@time_zone, @@sql_mode LIKE '%%ANSI%%'" % number)
    packets = [(await client.read_packet())[1] for _ in range(10)]
    assert packets[8] == packet(b"%d" % number)[0:1] + b"%d" % number + b"\xfb\x011\x03app\x06SYSTEM\x010", packets
    client.send(b"\x03SELECT * FROM leftover")
    assert b"doesn't exist" in (await client.read_packet())[1]
    client.send(b"\x01")
    assert await client.at_end()
    await client.close()


async def burst(rng: random.Random, port: int, *, let_in: bool = True) -> list[bytes]:
    return await asyncio.gather(*(misbehave(rng, port, let_in=let_in) for _ in range(BURST)))


async def test_no_client_harms_the_next_one(server, warmwire):
    proxy = warmwire(server, WARMWIRE_POOL_SIZE=1, WARMWIRE_POOL_MAX=POOL_MAX)
    await check_a_good_client(proxy.port, 0)
    await burst(random.Random("warm up"), proxy.port)
    vitals = Vitals(proxy)
    deadline = time.monotonic() + SECONDS * 0.13
    number = 0
    while time.monotonic() < deadline:
        number += 1
        rng = random.Random(f"{SEED} client {number}")
        await burst(rng, proxy.port)
        about = f"after burst {number} ({replay()})"
        try:
            await check_a_good_client(proxy.port, number)
        except Exception as failed:
            raise AssertionError(f"{failed!r} {about}\n{vitals.log_end}") from failed
        vitals.check(about, more_files=2 * POOL_MAX)
        assert len(server.connection_ids()) <= 2 * POOL_MAX, about
    print(f"{number} bursts of {BURST} clients; {vitals.memory >> 20} MB")
    assert number > 0


async def test_nobody_comes_in_without_the_password(mariadb, warmwire):
    """Clients that do not know it are told of the greeting, of another plugin, and of errors; nothing else."""
    proxy = warmwire(mariadb, WARMWIRE_LOCAL_PASSWORD="the local one", WARMWIRE_POOL_MAX=POOL_MAX)
    vitals = Vitals(proxy)
    before = mariadb.status("Com_select")
    deadline = time.monotonic() + SECONDS * 0.08
    number = 0
    while time.monotonic() < deadline:
        number += 1
        rng = random.Random(f"{SEED} stranger {number}")
        for told in await burst(rng, proxy.port, let_in=number % 2 == 0):
            at = 0
            while at + 4 < len(told):
                assert told[at + 4] in (0x0A, 0xFE, 0xFF), f"{told!r} in burst {number} ({replay()})"
                at += 4 + int.from_bytes(told[at : at + 3], "little")
        vitals.check(f"after burst {number} ({replay()})", more_files=2 * POOL_MAX)
    assert number > 0
    assert mariadb.status("Com_select") - before <= 2 * POOL_MAX, "somebody's SELECT was run"
    with Wire(("127.0.0.1", proxy.port)) as wire:
        flags = PLAIN | Flag.MULTI_STATEMENTS
        assert wire.login(Login("app", "the local one", "app", flags))[-1].role is Role.OK
