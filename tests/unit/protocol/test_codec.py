import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmwire.errors import ProtocolError
from warmwire.protocol.codec import read_int, read_string, read_until_nul, write_int, write_packet, write_string

# From the MySQL manual, "Protocol::LengthEncodedInteger".
INTEGERS = [
    (0, b"\x00"),
    (250, b"\xfa"),
    (251, b"\xfc\xfb\x00"),
    (0xFFFF, b"\xfc\xff\xff"),
    (0x10000, b"\xfd\x00\x00\x01"),
    (0xFFFFFF, b"\xfd\xff\xff\xff"),
    (0x1000000, b"\xfe\x00\x00\x00\x01\x00\x00\x00\x00"),
    (2**64 - 1, b"\xfe" + b"\xff" * 8),
]


@pytest.mark.parametrize(("value", "encoded"), INTEGERS)
def test_an_integer_has_the_shortest_of_its_four_forms(value, encoded):
    assert write_int(value) == encoded
    assert read_int(b"ab" + encoded + b"c", 2) == (value, 2 + len(encoded))


@pytest.mark.parametrize(("value", "encoded"), INTEGERS)
def test_an_integer_that_is_cut_off_is_refused_at_every_cut(value, encoded):
    for cut in range(len(encoded)):
        with pytest.raises(ProtocolError, match=r"integer is (missing|malformed or cut off)"):
            read_int(encoded[:cut], 0)


@pytest.mark.parametrize("first", [0xFB, 0xFF])
def test_the_bytes_for_null_and_for_an_error_start_no_integer(first):
    with pytest.raises(ProtocolError, match="malformed"):
        read_int(bytes((first,)) + bytes(8), 0)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_any_integer_comes_back_and_leaves_what_follows(value, before, after):
    data = before + write_int(value) + after
    assert read_int(data, len(before)) == (value, len(data) - len(after))
    assert read_int(bytearray(data), len(before)) == (value, len(data) - len(after))


@given(st.binary(max_size=400), st.binary(max_size=4))
def test_any_string_comes_back_and_leaves_what_follows(value, after):
    data = write_string(value) + after
    assert read_string(data, 0) == (value, len(data) - len(after))


@given(st.binary(max_size=12), st.integers(0, 14))
def test_whatever_bytes_are_read_the_position_stays_within_them(data, at):
    for read in (read_int, read_string, read_until_nul):
        try:
            _, end = read(data, at)
        except ProtocolError:
            continue
        assert at < end <= len(data)


def test_a_string_may_not_be_longer_than_its_packet():
    with pytest.raises(ProtocolError, match="longer than its packet"):
        read_string(b"\x05four", 0)


def test_a_string_up_to_its_nul():
    assert read_until_nul(b"xab\0c", 1) == (b"ab", 4)
    assert read_until_nul(b"\0", 0) == (b"", 1)


@pytest.mark.parametrize(("data", "at"), [(b"", 0), (b"ab", 0), (b"\0ab", 1), (b"\0", 5)])
def test_a_string_without_nul_is_refused(data, at):
    with pytest.raises(ProtocolError, match="no NUL"):
        read_until_nul(data, at)


def test_a_packet_has_a_header_of_length_and_sequence_id():
    assert write_packet(b"abc", 7) == b"\x03\x00\x00\x07abc"
    assert write_packet(b"", 256) == b"\x00\x00\x00\x00"
    assert write_packet(b"\1" * 0x010203, 255)[:4] == b"\x03\x02\x01\xff"


def test_a_packet_that_would_need_a_continuation_is_refused():
    assert len(write_packet(bytes(0xFFFFFE), 0)) == 0xFFFFFE + 4
    with pytest.raises(ProtocolError, match="too large"):
        write_packet(bytes(0xFFFFFF), 0)
