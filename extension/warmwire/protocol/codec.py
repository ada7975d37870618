"""Length-encoded integers and strings, and packet headers. Every read is bounded by the bytes that are there.

Source: MySQL internals manual, "Protocol Basics: Basic Data Types".
"""

from warmwire.errors import ProtocolError
from warmwire.protocol.constants import MAX_PAYLOAD


def read_int(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Read a length-encoded integer. Returns it and the position behind it.

    Raises:
        ProtocolError: the bytes end early, or the first one (0xFB, 0xFF) starts no integer.
    """
    if at >= len(data):
        raise ProtocolError("a length-encoded integer is missing")
    first = data[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
    if size is None or at + 1 + size > len(data):
        raise ProtocolError("a length-encoded integer is malformed or cut off")
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def read_string(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a length-encoded string. Returns it and the position behind it.

    Raises:
        ProtocolError: its length points behind the end of the data.
    """
    length, at = read_int(data, at)
    if length > len(data) - at:
        raise ProtocolError("a length-encoded string is longer than its packet")
    return data[at : at + length], at + length


def read_until_nul(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a NUL-terminated string. Returns it and the position behind the NUL.

    Raises:
        ProtocolError: there is no NUL.
    """
    end = data.find(0, at)
    if end < 0:
        raise ProtocolError("a string has no NUL at its end")
    return data[at:end], end + 1


def write_int(value: int) -> bytes:
    """A length-encoded integer."""
    if value < 0xFB:
        return bytes((value,))
    if value < 1 << 16:
        return b"\xfc" + value.to_bytes(2, "little")
    if value < 1 << 24:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + value.to_bytes(8, "little")


def write_string(value: bytes) -> bytes:
    """A length-encoded string."""
    return write_int(len(value)) + value


def write_packet(payload: bytes, sequence: int) -> bytes:
    """One physical packet: 3 bytes length, sequence id, payload. For payloads that need no continuation.

    Raises:
        ProtocolError: the payload is 16 MiB - 1 or longer.
    """
    if len(payload) >= MAX_PAYLOAD:
        raise ProtocolError("a packet to be written is too large")
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload
