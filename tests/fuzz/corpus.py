"""Valid packets and conversations to start from."""

import struct

from tests.captures import mariadb, mysql
from tests.splits import packet
from tests.wire_packets import PLAIN, Command, Flag, encode_attributes, frame, lenenc

NONCE = b"abcdefghijklmnopqrst"
PLUGINS = (b"mysql_native_password", b"caching_sha2_password")
USER, DATABASE = b"app", b"app"
RESPONSES = [*mariadb.RESPONSES, *mysql.RESPONSES]

GREETINGS = [
    b"\x0a" + version + b"\0" + struct.pack("<I", 77) + NONCE[:8] + b"\0" + struct.pack("<HBHHB", low, 45, 2, high, 21)
    + reserved + NONCE[8:] + b"\0" + plugin + b"\0"
    for version, low, high, reserved, plugin in (
        (b"5.5.5-10.11.19-MariaDB", 0xF7FE, 0x81FF, bytes(6) + b"\x1d\0\0\0", PLUGINS[0]),
        (b"9.7.4", 0xFFFF, 0xDFFF, bytes(10), PLUGINS[1]),
    )
] + [b"\xff\x69\x04Host '127.0.0.1' is blocked", b"\xff\x10\x04#08004Too many connections"]  # fmt: skip

FULL = PLAIN | Flag.FOUND_ROWS | Flag.LOCAL_FILES | Flag.MULTI_STATEMENTS | Flag.PS_MULTI_RESULTS | Flag.SESSION_TRACK
FLAGS = (PLAIN, FULL, FULL | Flag.DEPRECATE_EOF, Flag.PROTOCOL_41, Flag.PROTOCOL_41 | Flag.SECURE_CONNECTION)


def login(flags: int, plugin: bytes = PLUGINS[0], answer: bytes | None = None, user: bytes = USER) -> bytes:
    """A login packet's payload; with a proof of the right length unless one is given."""
    if answer is None:
        answer = bytes(range(1, 33 if plugin == PLUGINS[1] else 21))
    flags |= Flag.CONNECT_WITH_DB
    payload = struct.pack("<IIB23x", flags, 1 << 30, 45) + user + b"\0"
    if flags & (Flag.PLUGIN_AUTH_LENENC | Flag.SECURE_CONNECTION):
        payload += lenenc(len(answer)) + answer
    else:
        payload += answer + b"\0"
    payload += DATABASE + b"\0"
    if flags & Flag.PLUGIN_AUTH:
        payload += plugin + b"\0"
    if flags & Flag.CONNECT_ATTRS:
        payload += encode_attributes({"_client_name": "fuzz", "x": "y" * 300})
    return payload


LOGINS = [
    login(flags, plugin, answer)
    for flags in (*FLAGS, FULL | Flag.CONNECT_ATTRS)
    for plugin in (*PLUGINS, b"mysql_clear_password")
    for answer in (None, b"", b"\0")
] + [struct.pack("<IIB23x", PLAIN | Flag.SSL, 1 << 30, 45)]

CHANGE_USERS = [
    bytes((Command.CHANGE_USER,)) + USER + b"\0" + answer + DATABASE + b"\0" + rest
    for answer in (b"\x14" + bytes(range(1, 21)), b"\0")
    for rest in (b"", b"\x2d\0", b"\x2d\0" + PLUGINS[0] + b"\0", b"\x2d\0" + PLUGINS[1] + b"\0" + lenenc(2) + b"\x01a")
]

SCALARS = [
    b"SELECT 1", b"  /* x */ -- y\n (SELECT 2)", b"/*! SELECT */ 1", b"SET @leftover=1", b"# c\nset profiling=1", b"",
    b"SET session_track_transaction_info='STATE'", b"ROLLBACK", b"--", b"/*", b"(((;;;",
]  # fmt: skip


def command(number: int, argument: bytes = b"", sequence: int = 0) -> bytes:
    """A whole command, with its packet header."""
    return frame(bytes((number,)) + argument, sequence)


def query(sql: str) -> bytes:
    """A COM_QUERY."""
    return command(Command.QUERY, sql.encode())


_EXECUTE = struct.pack("<IBI", 1, 0, 1)
_FETCH = struct.pack("<II", 1, 2)

CONVERSATIONS = [
    query("SELECT 1"),
    query("SELECT 1; SELECT 2; SELECT 3"),
    query("SET @leftover=1") + query("SET autocommit=0") + query("SET sql_mode='ANSI_QUOTES', time_zone='+05:00'"),
    query("CREATE TEMPORARY TABLE leftover (a INT)") + query("INSERT INTO leftover VALUES (1)"),
    query("START TRANSACTION") + query("SELECT GET_LOCK('leftover', 0)") + query("SAVEPOINT s"),
    query("USE app2") + command(Command.INIT_DB, b"app"),
    command(Command.PING) * 20,
    command(Command.STMT_PREPARE, b"SELECT ?, 'x'") + command(Command.STMT_SEND_LONG_DATA, struct.pack("<IH", 1, 0) + b"d" * 50)
    + command(Command.STMT_EXECUTE, _EXECUTE + b"\0\1\xfe\0") + command(Command.STMT_RESET, _EXECUTE[:4])
    + command(Command.STMT_CLOSE, _EXECUTE[:4]),
    command(Command.STMT_PREPARE, b"SELECT 1 UNION SELECT 2 UNION SELECT 3")
    + command(Command.STMT_EXECUTE, struct.pack("<IBI", 1, 1, 1)) + command(Command.STMT_FETCH, _FETCH),
    command(Command.RESET_CONNECTION) + query("SELECT @leftover"),
    frame(CHANGE_USERS[2]) + packet(bytes(range(1, 21)), 2) + query("SELECT 1"),
    command(Command.SET_OPTION, b"\0\0") + query("SELECT 1; SELECT 2"),
    command(Command.FIELD_LIST, b"leftover\0%") + command(Command.STATISTICS),
    query("LOAD DATA LOCAL INFILE 'x' INTO TABLE app.leftover") + packet(b"1\n2\n", 2) + packet(b"", 3),
    command(Command.BINLOG_DUMP, bytes(10)) + query("SELECT 1"),
    query("SELECT REPEAT('x', 100000)"),
    packet(b"") * 3 + query("SELECT 1"),
    command(Command.QUIT),
]  # fmt: skip
"""What clients send after their login; without waiting for answers, as a client does that pipelines."""

TELEMETRY_HEADS = [
    b"POST / HTTP/1.1\r\nHost: sandbox.localdomain:4243\r\nContent-Type: application/json\r\nContent-Length: 213\r\n\r\n",
    b"POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
    b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
]
TELEMETRY_BODIES = [
    b'[{"time":"2026-01-01T00:00:00.000Z","type":"platform.runtimeDone","record":{"requestId":"abc","status":"success"}}]',
    b'[{"type":"platform.runtimeDone","record":{"requestId":7}},{"type":"platform.start","record":null},[],7,null]',
    b'{"type":"platform.runtimeDone"}',
    b"[" * 3000,
    b'["\\ud800"]',
    b"\xff\xfe[\x00]\x00",
]
PUBLIC_KEY = (
    b"-----BEGIN PUBLIC KEY-----\n"
    b"MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANuRkHUC9nQdfmjeWnAbPwzwgmIyFqlbWz+Q+W7HvuQ4y4/MmHh2N0e6kMzV3fXfzrXRrpZ0\n"
    b"gDbdLMIZ/PBoy8UCAwEAAQ==\n-----END PUBLIC KEY-----\n"
)
