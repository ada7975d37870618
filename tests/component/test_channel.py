import asyncio
import socket

import pytest

from tests.splits import every_split, packet
from warmwire.channel import PacketChannel
from warmwire.errors import PacketTooLarge, ProtocolError
from warmwire.wire import Wire


@pytest.fixture
async def pair():
    """A channel for packets of up to 1000 bytes, and the blocking socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    wire = Wire(asyncio.get_running_loop(), ours)
    yield PacketChannel(wire, 1000), theirs
    wire.abort()
    theirs.close()


async def read(channel):
    async with asyncio.timeout(5):
        return await channel.read()


class TestReading:
    async def test_packets_come_whole_however_they_arrive(self, pair):
        channel, theirs = pair
        wire = packet(b"abc", 0) + packet(b"", 1) + packet(b"d", 2)
        for chunks in every_split(wire):
            for chunk in chunks:
                theirs.sendall(chunk)
                await asyncio.sleep(0)
            assert [await read(channel) for _ in range(3)] == [b"abc", b"", b"d"]

    async def test_bytes_that_came_before_are_read_first(self):
        ours, theirs = socket.socketpair()
        wire = Wire(asyncio.get_running_loop(), ours)
        channel = PacketChannel(wire, 1000, packet(b"early") + b"\x04\x00")
        theirs.sendall(b"\x00\x01late")
        assert [await read(channel), await read(channel)] == [b"early", b"late"]
        wire.abort()
        theirs.close()

    async def test_a_cancelled_read_loses_nothing(self, pair):
        channel, theirs = pair
        theirs.sendall(b"\x03\x00\x00\x00a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await channel.read()
        theirs.sendall(b"bc")
        assert await read(channel) == b"abc"

    async def test_what_arrived_before_the_end_can_still_be_read(self, pair):
        channel, theirs = pair
        theirs.sendall(packet(b"last words") + b"\x03\x00")
        theirs.close()
        await asyncio.sleep(0.01)
        assert await read(channel) == b"last words"
        for _ in range(2):
            with pytest.raises(ConnectionResetError, match="closed by its other end"):
                await read(channel)

    async def test_an_end_wakes_who_reads(self, pair):
        channel, theirs = pair
        reading = asyncio.create_task(read(channel))
        await asyncio.sleep(0.01)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await reading

    async def test_closing_the_wire_on_our_side_wakes_who_reads(self, pair):
        channel, _ = pair
        reading = asyncio.create_task(read(channel))
        await asyncio.sleep(0.01)
        channel.wire.abort()
        with pytest.raises(ConnectionResetError):
            await reading

    async def test_a_packet_over_the_limit_is_refused_and_little_of_it_read(self, pair):
        channel, theirs = pair
        theirs.setblocking(False)
        theirs.send(packet(bytes(1001)))
        with pytest.raises(PacketTooLarge):
            await read(channel)

    async def test_a_flood_of_packets_is_not_taken_in_at_once(self, pair):
        channel, theirs = pair
        flood = packet(b"x" * 100, 7) * 20_000

        sending = asyncio.create_task(asyncio.to_thread(theirs.sendall, flood))
        await asyncio.sleep(0.05)
        assert len(channel._buffer) < 200_000
        for _ in range(20_000):
            assert await channel.read() == b"x" * 100
        await sending
        assert len(channel._buffer) == 0

    async def test_the_rest_can_be_handed_over(self, pair):
        channel, theirs = pair
        theirs.sendall(packet(b"mine") + b"not mine")
        assert await read(channel) == b"mine"
        assert channel.take_rest() == b"not mine"
        assert channel.take_rest() == b""


class TestWriting:
    async def test_a_conversation_has_ascending_sequence_ids(self, pair):
        channel, theirs = pair
        channel.write(b"greeting")
        assert theirs.recv(100) == packet(b"greeting", 0)
        theirs.sendall(packet(b"login", 1))
        await read(channel)
        channel.write(b"\x01\x03", b"ok")
        assert theirs.recv(100) == packet(b"\x01\x03", 2) + packet(b"ok", 3)

    async def test_they_wrap_around(self, pair):
        channel, theirs = pair
        theirs.sendall(packet(b"", 254))
        await read(channel)
        channel.write(b"a", b"b")
        assert theirs.recv(100) == packet(b"a", 255) + packet(b"b", 0)


class TestRequests:
    async def test_commands_go_out_in_one_go_and_are_answered_in_order(self, pair):
        channel, theirs = pair
        requesting = asyncio.create_task(channel.request(b"\x0e", b"\x03DO 0"))
        await asyncio.sleep(0)
        theirs.sendall(packet(b"one", 1) + packet(b"two", 1))
        assert await requesting == [b"one", b"two"]
        assert theirs.recv(100) == packet(b"\x0e", 0) + packet(b"\x03DO 0", 0)

    @pytest.mark.parametrize(
        ("answers", "problem"),
        [
            (packet(b"\xff\xbf\x0fgone", 0), "with the sequence id 0"),
            (packet(b"ok", 2), "with the sequence id 2"),
            (packet(b"ok", 1) + packet(b"more", 2), "more answers than questions"),
            (packet(b"ok", 1) + b"\x01", "more answers than questions"),
        ],
    )
    async def test_what_is_not_exactly_one_answer_is_refused(self, pair, answers, problem):
        channel, theirs = pair
        requesting = asyncio.create_task(channel.request(b"\x0e"))
        await asyncio.sleep(0)
        theirs.sendall(answers)
        with pytest.raises(ProtocolError, match=problem):
            await requesting

    async def test_an_answer_before_the_question_is_refused(self, pair):
        channel, theirs = pair
        theirs.sendall(packet(b"\xff\xbf\x0fgone", 0))
        await asyncio.sleep(0.01)
        with pytest.raises(ProtocolError, match="an answer before the question"):
            await channel.request(b"\x0e")
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
