"""Packets, flags and scrambles for ``tests.wire``, from the protocol's description and independent of the product."""

import base64
import enum
import hashlib
import os
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_PAYLOAD = 0xFFFFFF
"""Bytes of payload in one physical packet; a full one is followed by another, if need be an empty one."""


class Flag(enum.IntFlag):
    """Capability flags (https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html)."""

    LONG_PASSWORD = 1
    FOUND_ROWS = 1 << 1
    LONG_FLAG = 1 << 2
    CONNECT_WITH_DB = 1 << 3
    NO_SCHEMA = 1 << 4
    COMPRESS = 1 << 5
    ODBC = 1 << 6
    LOCAL_FILES = 1 << 7
    IGNORE_SPACE = 1 << 8
    PROTOCOL_41 = 1 << 9
    INTERACTIVE = 1 << 10
    SSL = 1 << 11
    IGNORE_SIGPIPE = 1 << 12
    TRANSACTIONS = 1 << 13
    RESERVED = 1 << 14
    SECURE_CONNECTION = 1 << 15
    MULTI_STATEMENTS = 1 << 16
    MULTI_RESULTS = 1 << 17
    PS_MULTI_RESULTS = 1 << 18
    PLUGIN_AUTH = 1 << 19
    CONNECT_ATTRS = 1 << 20
    PLUGIN_AUTH_LENENC = 1 << 21
    EXPIRED_PASSWORDS = 1 << 22
    SESSION_TRACK = 1 << 23
    DEPRECATE_EOF = 1 << 24
    OPTIONAL_RESULTSET_METADATA = 1 << 25
    ZSTD = 1 << 26
    QUERY_ATTRIBUTES = 1 << 27


PLAIN = (
    Flag.LONG_PASSWORD
    | Flag.LONG_FLAG
    | Flag.PROTOCOL_41
    | Flag.TRANSACTIONS
    | Flag.SECURE_CONNECTION
    | Flag.MULTI_RESULTS
    | Flag.PLUGIN_AUTH
    | Flag.PLUGIN_AUTH_LENENC
)
"""What every client of today asks for."""

UNREADABLE = Flag.COMPRESS | Flag.ZSTD | Flag.OPTIONAL_RESULTSET_METADATA | Flag.QUERY_ATTRIBUTES | Flag.SSL
"""Flags that change framing in ways this client does not speak: never negotiate them."""


class Command(enum.IntEnum):
    """First byte of a command (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html)."""

    SLEEP = 0x00
    QUIT = 0x01
    INIT_DB = 0x02
    QUERY = 0x03
    FIELD_LIST = 0x04
    CREATE_DB = 0x05
    REFRESH = 0x07
    SHUTDOWN = 0x08
    STATISTICS = 0x09
    PROCESS_INFO = 0x0A
    PROCESS_KILL = 0x0C
    DEBUG = 0x0D
    PING = 0x0E
    TIME = 0x0F
    CHANGE_USER = 0x11
    BINLOG_DUMP = 0x12
    TABLE_DUMP = 0x13
    REGISTER_SLAVE = 0x15
    STMT_PREPARE = 0x16
    STMT_EXECUTE = 0x17
    STMT_SEND_LONG_DATA = 0x18
    STMT_CLOSE = 0x19
    STMT_RESET = 0x1A
    SET_OPTION = 0x1B
    STMT_FETCH = 0x1C
    BINLOG_DUMP_GTID = 0x1E
    RESET_CONNECTION = 0x1F


UNANSWERED = frozenset({Command.QUIT, Command.STMT_SEND_LONG_DATA, Command.STMT_CLOSE})

MORE_RESULTS = 0x0008
CURSOR_EXISTS = 0x0040
OUT_PARAMETERS = 0x1000
SESSION_CHANGED = 0x4000

OK, LOCAL_INFILE, EOF, ERR = 0x00, 0xFB, 0xFE, 0xFF


class Role(enum.Enum):
    """What a packet is, which only its place in the response tells."""

    AUTHENTICATION = enum.auto()
    OK = enum.auto()
    ERROR = enum.auto()
    EOF = enum.auto()
    COUNT = enum.auto()
    DEFINITION = enum.auto()
    ROW = enum.auto()
    PREPARED = enum.auto()
    UPLOAD_WANTED = enum.auto()
    OPAQUE = enum.auto()


class Packet(NamedTuple):
    """One physical packet."""

    seq: int
    payload: bytes
    role: Role


class Refused(Exception):
    """The server answered with an ERR packet."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.errno, self.sqlstate, self.text = parse_error(payload)
        super().__init__(f"{self.errno} ({self.sqlstate}): {self.text}")


class Closed(Exception):
    """The server closed the connection where a packet was due."""


@dataclass(frozen=True)
class Greeting:
    """The server's first packet, taken apart."""

    version: bytes
    connection_id: int
    nonce: bytes
    flags: Flag
    collation: int
    status: int
    plugin: bytes
    reserved: bytes


@dataclass(frozen=True)
class Login:
    """What a client says about itself. ``flags`` go out as they are, plus what ``database`` and ``attributes`` need."""

    user: str
    password: str
    database: str | None = None
    flags: Flag = PLAIN
    collation: int = 45
    attributes: dict[str, str] = field(default_factory=dict)
    plugin: bytes | None = None
    """Authentication plugin to name; None: the one of the greeting where known, else native."""
    first_answer: bytes | None = None
    """Sent as the first authentication answer whatever the plugin: b"" is what clients without the plugin send."""


def frame(payload: bytes, seq: int = 0) -> bytes:
    """One logical packet as physical packets; a payload that is a multiple of 16 MiB-1 ends with an empty one."""
    out = bytearray()
    for start in range(0, len(payload) + 1, MAX_PAYLOAD):
        part = payload[start : start + MAX_PAYLOAD]
        out += len(part).to_bytes(3, "little") + bytes([seq & 0xFF]) + part
        seq += 1
    return bytes(out)


def lenenc(number: int) -> bytes:
    """A length-encoded integer."""
    if number < 0xFB:
        return bytes([number])
    if number < 1 << 16:
        return b"\xfc" + number.to_bytes(2, "little")
    if number < 1 << 24:
        return b"\xfd" + number.to_bytes(3, "little")
    return b"\xfe" + number.to_bytes(8, "little")


def read_lenenc(data: bytes, start: int = 0) -> tuple[int, int]:
    """The length-encoded integer at ``start`` and where it ends."""
    first = data[start]
    if first < 0xFB:
        return first, start + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(data[start + 1 : start + 1 + size], "little"), start + 1 + size


def read_string(data: bytes, start: int = 0) -> tuple[bytes, int]:
    """The length-encoded string at ``start`` and where it ends."""
    size, start = read_lenenc(data, start)
    return data[start : start + size], start + size


def text_row(payload: bytes) -> tuple[bytes | None, ...]:
    """The fields of a row of the text protocol; None for NULL."""
    fields: list[bytes | None] = []
    at = 0
    while at < len(payload):
        if payload[at] == LOCAL_INFILE:  # the same byte means NULL here
            fields.append(None)
            at += 1
        else:
            value, at = read_string(payload, at)
            fields.append(value)
    return tuple(fields)


def ok_status(payload: bytes) -> int:
    """Status flags of an OK packet, whether its header is 0x00 or 0xFE."""
    _, at = read_lenenc(payload, 1)
    _, at = read_lenenc(payload, at)
    return int.from_bytes(payload[at : at + 2], "little")


def eof_status(payload: bytes) -> int:
    """Status flags of a five-byte EOF packet."""
    return int.from_bytes(payload[3:5], "little")


def parse_error(payload: bytes) -> tuple[int, str, str]:
    """errno, sqlstate ('' before the login, where it is absent) and text of an ERR packet."""
    errno = int.from_bytes(payload[1:3], "little")
    if payload[3:4] == b"#":
        return errno, payload[4:9].decode("ascii"), payload[9:].decode("utf-8", "replace")
    return errno, "", payload[3:].decode("utf-8", "replace")


def parse_greeting(payload: bytes) -> Greeting:
    """A protocol 10 greeting."""
    end = payload.index(b"\0", 1)
    connection_id, nonce = struct.unpack_from("<I8sx", payload, end + 1)
    low, collation, status, high, size = struct.unpack_from("<HBHHB", payload, end + 14)
    reserved = payload[end + 22 : end + 32]
    second = payload[end + 32 : end + 32 + max(13, size - 8)]
    plugin = payload[end + 32 + len(second) :].split(b"\0")[0]
    flags = Flag(low | high << 16)
    return Greeting(payload[1:end], connection_id, (nonce + second)[:20], flags, collation, status, plugin, reserved)


def encode_attributes(attributes: dict[str, str]) -> bytes:
    """Connection attributes as the login carries them."""
    words = [word.encode() for pair in attributes.items() for word in pair]
    body = b"".join(lenenc(len(word)) + word for word in words)
    return lenenc(len(body)) + body


# -- authentication ----------------------------------------------------------------------------------------------------


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _native(password: bytes, nonce: bytes) -> bytes:
    once = hashlib.sha1(password).digest()
    return _xor(once, hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest())


def _caching_sha2(password: bytes, nonce: bytes) -> bytes:
    once = hashlib.sha256(password).digest()
    return _xor(once, hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest())


SCRAMBLES = {b"mysql_native_password": _native, b"caching_sha2_password": _caching_sha2}


def scramble(plugin: bytes, password: bytes, nonce: bytes) -> bytes:
    """The answer to a plugin's challenge; empty for an empty password."""
    return SCRAMBLES[plugin](password, nonce) if password else b""


def encrypt_password(password: bytes, nonce: bytes, pem: bytes) -> bytes:
    """caching_sha2's full authentication without TLS: password XOR nonce, RSA-OAEP(SHA-1) under the server's key."""
    modulus, exponent = _rsa_numbers(base64.b64decode(b"".join(pem.split(b"\n")[1:-2])))
    size = (modulus.bit_length() + 7) // 8
    plain = password + b"\0"
    secret = bytes(byte ^ nonce[i % len(nonce)] for i, byte in enumerate(plain))
    block = hashlib.sha1(b"").digest() + bytes(size - len(secret) - 42) + b"\x01" + secret
    seed = os.urandom(20)
    masked = _xor(block, _mask(seed, len(block)))
    padded = b"\0" + _xor(seed, _mask(masked, 20)) + masked
    return pow(int.from_bytes(padded, "big"), exponent, modulus).to_bytes(size, "big")


def _mask(seed: bytes, size: int) -> bytes:
    """MGF1 with SHA-1 (RFC 8017, B.2.1)."""
    blocks = (hashlib.sha1(seed + count.to_bytes(4, "big")).digest() for count in range(size // 20 + 1))
    return b"".join(blocks)[:size]


def _rsa_numbers(der: bytes) -> tuple[int, int]:
    """Modulus and exponent of a SubjectPublicKeyInfo."""

    def content(data: bytes) -> tuple[bytes, bytes]:
        size, at = data[1], 2
        if size & 0x80:
            at += size & 0x7F
            size = int.from_bytes(data[2:at], "big")
        return data[at : at + size], data[at + size :]

    _, rest = content(content(der)[0])  # skip the algorithm
    key, _ = content(content(rest)[0][1:])  # the bit string starts with its count of unused bits
    modulus, rest = content(key)
    return int.from_bytes(modulus, "big"), int.from_bytes(content(rest)[0], "big")
