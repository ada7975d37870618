import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.splits import any_split, every_split, packet, packets
from warmwire.errors import PacketTooLarge
from warmwire.protocol.constants import MAX_PAYLOAD
from warmwire.protocol.framing import CommandFramer, PacketBuffer, command_of, is_whole_command

FULL = MAX_PAYLOAD


def packets_of(chunks, limit=1000):
    buffer, found = PacketBuffer(limit), []
    for chunk in chunks:
        buffer.feed(chunk)
        while (one := buffer.next_packet()) is not None:
            found.append(one)
    return found, buffer.take_rest()


class TestPacketBuffer:
    WIRE = packet(b"abc", 0) + packet(b"", 1) + packet(b"x" * 9, 255)
    FOUND = ((0, b"abc"), (1, b""), (255, b"x" * 9))

    def test_packets_do_not_depend_on_how_the_network_splits_them(self):
        for chunks in every_split(self.WIRE):
            assert packets_of(chunks) == (list(self.FOUND), b"")

    def test_bytes_behind_the_last_packet_stay_and_can_be_taken(self):
        for cut in range(len(self.WIRE)):
            found, rest = packets_of([self.WIRE + self.WIRE[:cut]])
            assert found[:3] == list(self.FOUND)
            assert self.WIRE[:cut].endswith(rest)
        assert packets_of([self.WIRE + b"\x05\x00\x00\x00four"]) == (list(self.FOUND), b"\x05\x00\x00\x00four")

    def test_taken_bytes_are_gone(self):
        buffer = PacketBuffer(10)
        buffer.feed(b"\x01\x00")
        assert len(buffer) == 2
        assert buffer.take_rest() == b"\x01\x00"
        assert len(buffer) == 0
        assert buffer.take_rest() == b""

    def test_a_packet_at_the_limit_is_accepted_and_one_above_is_not(self):
        assert packets_of([packet(bytes(10))], limit=10) == ([(0, bytes(10))], b"")
        with pytest.raises(PacketTooLarge, match="a packet of 11 bytes came where at most 10 are accepted"):
            packets_of([packet(bytes(11))], limit=10)

    def test_the_limit_is_checked_as_soon_as_the_header_is_there(self):
        buffer = PacketBuffer(10)
        buffer.feed(b"\x0b\x00\x00")
        assert buffer.next_packet() is None
        buffer.feed(b"\x00")
        with pytest.raises(PacketTooLarge):
            buffer.next_packet()

    def test_a_packet_that_is_continued_is_refused_whatever_the_limit(self):
        buffer = PacketBuffer(1 << 30)
        buffer.feed(b"\xff\xff\xff\x00")
        with pytest.raises(PacketTooLarge):
            buffer.next_packet()

    @given(st.data(), st.lists(st.binary(max_size=30), max_size=6))
    def test_any_packets_in_any_pieces(self, data, payloads):
        wire = packets(*payloads, first=0)
        chunks = data.draw(any_split(wire)) if wire else []
        assert packets_of(chunks) == (list(enumerate(payloads)), b"")


def commands_of(framer, chunks):
    """(size, last sequence id) of each logical packet, and how many bytes were walked over."""
    found, walked = [], 0
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            end, complete = framer.feed(chunk, at)
            assert at < end <= len(chunk)
            assert complete or end == len(chunk)
            walked += end - at
            at = end
            if complete:
                found.append((framer.size, framer.sequence))
    return found, walked


class TestCommandFramer:
    def test_commands_do_not_depend_on_how_the_network_splits_them(self):
        wire = packet(b"\x03SELECT 1", 0) + packet(b"", 3) + packet(b"\x0e", 9)
        for chunks in every_split(wire):
            assert commands_of(CommandFramer(), chunks) == ([(9, 0), (0, 3), (1, 9)], len(wire))

    def test_a_command_begins_where_the_last_one_ended(self):
        framer = CommandFramer()
        data = packet(b"one") + packet(b"three")
        assert framer.feed(data) == (7, True)
        assert framer.feed(data, 7) == (16, True)

    @pytest.mark.parametrize("last", [0, 1, 5, FULL - 1])
    def test_a_command_over_16_mib_is_one(self, last):
        wire = b"".join((b"\xff\xff\xff\x00", bytes(FULL), b"\xff\xff\xff\x01", bytes(FULL), packet(bytes(last), 2)))
        follower = packet(b"\x0e")
        assert commands_of(CommandFramer(), [wire + follower]) == (
            [(2 * FULL + last, 2), (1, 0)],
            len(wire) + len(follower),
        )

    @pytest.mark.parametrize("cuts", [[FULL + 4], [FULL + 3], [FULL + 5], [FULL + 8], [2, FULL + 4, FULL + 6]])
    def test_the_size_of_a_continued_packet_counts_all_its_parts_wherever_it_is_cut(self, cuts):
        wire = b"\xff\xff\xff\x00" + bytes(FULL) + packet(b"", 1)
        edges = [0, *(cut for cut in cuts if cut < len(wire)), len(wire)]
        chunks = [wire[start:end] for start, end in itertools.pairwise(edges)]
        assert commands_of(CommandFramer(), chunks) == ([(FULL, 1)], len(wire))

    def test_an_empty_packet_has_size_zero_after_a_full_one(self):
        framer = CommandFramer()
        commands_of(framer, [b"\xff\xff\xff\x00" + bytes(FULL), packet(b"x", 1)])
        assert commands_of(framer, [packet(b"", 2)]) == ([(0, 2)], 4)

    def test_it_keeps_no_bytes_of_what_it_walks_over(self):
        framer = CommandFramer()
        framer.feed(b"\xff\xff\xff\x00" + bytes(1 << 20))
        assert framer.feed(bytes(1 << 20)) == (1 << 20, False)
        assert [value for name in framer.__slots__ if isinstance(value := getattr(framer, name), bytes)] == [b""]

    @given(st.data(), st.lists(st.binary(max_size=30), min_size=1, max_size=6))
    def test_any_commands_in_any_pieces(self, data, payloads):
        wire = packets(*payloads, first=250)
        chunks = data.draw(any_split(wire))
        expected = [(len(payload), (250 + number) & 0xFF) for number, payload in enumerate(payloads)]
        assert commands_of(CommandFramer(), chunks) == (expected, len(wire))


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (packet(b"\x0e"), True),
        (packet(b"\x03" + b"x" * 70_000), True),
        (b"", False),
        (b"\x01\x00\x00\x00", False),
        (packet(b""), False),
        (packet(b"\x0e")[:-1], False),
        (packet(b"\x0e") + b"\x01", False),
        (packet(b"\x0e") * 2, False),
        (b"\xff\xff\xff\x00" + bytes(FULL), False),  # goes on
    ],
)
def test_whether_the_bytes_are_exactly_one_command(data, whole):
    assert is_whole_command(data) is whole


class TestCommandOf:
    @pytest.mark.parametrize(
        ("data", "at", "command"),
        [
            (packet(b"\x03SELECT 1"), 0, 0x03),
            (b"??" + packet(b"\x0e"), 2, 0x0E),
            (packet(b""), 0, 0x00),  # servers take an empty packet for COM_SLEEP
            (packet(b"") + packet(b"\x0e"), 0, 0x00),
            (b"\xff\xff\xff\x00\x03", 0, 0x03),
            (b"\x00\x01\x00\x00\x17", 0, 0x17),
        ],
    )
    def test_it_is_the_first_byte_of_the_payload(self, data, at, command):
        assert command_of(data, at) == command

    def test_it_needs_the_first_five_bytes(self):
        whole = packet(b"\x03SELECT 1")
        for cut in range(5):
            assert command_of(whole[:cut]) is None
