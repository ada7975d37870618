"""Record the responses of both real servers; see the package."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import servers
from tests.servers.server import APP_PASSWORD, Server
from tests.wire import Wire
from tests.wire_packets import PLAIN, Command, Flag, Login, Packet, Role

_FLAGS = PLAIN | Flag.LOCAL_FILES | Flag.MULTI_STATEMENTS | Flag.PS_MULTI_RESULTS
_TABLES = [
    "CREATE TABLE app.captured (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) DEFAULT 'x', big LONGBLOB)",
    "CREATE PROCEDURE app.twice() BEGIN SELECT 1 AS one; SELECT 'two' AS two, NULL AS nothing; END",
    "CREATE PROCEDURE app.gives(OUT x INT) SET x = 7",
    "CREATE PROCEDURE app.walks() BEGIN DECLARE c CURSOR FOR SELECT id FROM captured; OPEN c; SELECT 1 AS one; CLOSE c; END",
    "CREATE PROCEDURE app.fails() BEGIN SELECT 1 AS one; SELECT * FROM missing; END",
]


class Step(NamedTuple):
    name: str
    command: int
    argument: bytes
    uploads: tuple[bytes, ...] = ()
    statement: int = 0
    """Which of the statements prepared so far; its id comes before the argument."""


def _query(name: str, sql: str, *uploads: bytes) -> Step:
    return Step(name, Command.QUERY, sql.encode(), uploads)


def _prepare(name: str, sql: str) -> Step:
    return Step(name, Command.STMT_PREPARE, sql.encode())


def _execute(name: str, statement: int, *, cursor: bool = False, bound: bytes = b"") -> Step:
    return Step(name, Command.STMT_EXECUTE, struct.pack("<BI", cursor, 1) + bound, statement=statement)


def _on(name: str, command: int, statement: int, argument: bytes = b"") -> Step:
    return Step(name, command, argument, statement=statement)


# One parameter: its NULL bitmap, "types follow", VAR_STRING. Its value follows, or was sent as long data before.
_TEXT, _TEXT_SENT = b"\x00\x01\xfd\x00\x04four", b"\x00\x01\xfd\x00"


def conversation() -> Iterator[Step]:
    """The same on each connection, and each connection fresh, so that equal answers mean equal bytes."""
    yield Step("ping", Command.PING, b"")
    yield _query("nothing", "DO 0")
    yield _query("insert", "INSERT INTO captured (name) VALUES ('a'), (NULL), ('c')")
    yield _query("rows", "SELECT id, name FROM captured")
    yield _query("no rows", "SELECT id, name FROM captured WHERE id > 99")
    yield _query("long row", "SELECT REPEAT('r', 300) AS r, 's' AS s")
    yield _query("warning", "SELECT CAST('1x' AS SIGNED) AS w")
    yield _query("error", "SELECT nope FROM captured")
    yield _query("error among rows", "SELECT (SELECT 1 UNION SELECT id) AS q FROM captured")
    yield _query("info", "UPDATE captured SET name = 'b' WHERE id = 2")
    yield _query("time zone", "SET time_zone = '+01:00'")
    yield _query("user variable", "SET @a = 1")
    yield _query("use", "USE app2")
    yield Step("init db", Command.INIT_DB, b"app")
    yield Step("init db, unknown", Command.INIT_DB, b"nowhere")
    yield _query("begin", "BEGIN")
    yield _query("read in a transaction", "SELECT name FROM captured WHERE id = 1")
    yield _query("write in a transaction", "INSERT INTO captured (name) VALUES ('d')")
    yield _query("commit", "COMMIT")
    yield _query("lock tables", "LOCK TABLES captured WRITE")
    yield _query("unlock tables", "UNLOCK TABLES")
    yield _query("several statements", "SELECT 1 AS one; SET @b = 2; SELECT 2 AS two; DO 0")
    yield _query("several, the second fails", "SELECT 1 AS one; SELECT nope; SELECT 3")
    yield _query("call", "CALL twice()")
    yield _query("call that fails", "CALL fails()")
    yield _query("call with a cursor inside", "CALL walks()")
    yield _prepare("prepare, nothing", "DO 0")
    yield _prepare("prepare, parameters", "INSERT INTO captured (name, big) VALUES (?, 'y')")
    yield _prepare("prepare, columns", "SELECT id, name FROM captured ORDER BY id")
    yield _prepare("prepare, both", "SELECT name, id FROM captured WHERE name = ?")
    yield _prepare("prepare, error", "SELECT nope FROM captured")
    yield _execute("execute, nothing", 1)
    yield _execute("execute, insert", 2, bound=_TEXT)
    yield _execute("execute, rows", 3)
    yield _execute("execute, no rows", 4, bound=b"\x00\x01\xfd\x00\x04none")
    yield Step("execute, unknown statement", Command.STMT_EXECUTE, struct.pack("<IBI", 99, 0, 1))
    yield _execute("execute, cursor", 3, cursor=True)
    yield _on("fetch", Command.STMT_FETCH, 3, struct.pack("<I", 2))
    yield _on("fetch, the last", Command.STMT_FETCH, 3, struct.pack("<I", 100))
    yield _on("fetch, no cursor", Command.STMT_FETCH, 4, struct.pack("<I", 1))
    yield _on("statement reset", Command.STMT_RESET, 3)
    yield _on("long data", Command.STMT_SEND_LONG_DATA, 2, struct.pack("<H", 0) + b"long")
    yield _execute("execute, long data", 2, bound=_TEXT_SENT)
    yield _on("statement close", Command.STMT_CLOSE, 2)
    yield _prepare("prepare, call", "CALL twice()")
    yield _execute("execute, call", 5)
    yield _prepare("prepare, call for a parameter", "CALL gives(?)")
    yield _execute("execute, call for a parameter", 6, bound=b"\x01\x01\x03\x00")
    yield _prepare("prepare, call with a cursor inside", "CALL walks()")
    yield _execute("execute, call with a cursor inside", 7)
    yield Step("field list", Command.FIELD_LIST, b"captured\0")
    yield Step("field list, error", Command.FIELD_LIST, b"missing\0")
    yield Step("set option", Command.SET_OPTION, b"\x00\x00")
    yield Step("set option, error", Command.SET_OPTION, b"\x09\x00")
    yield Step("debug", Command.DEBUG, b"")
    yield Step("statistics", Command.STATISTICS, b"")
    yield Step("time", Command.TIME, b"")
    local = "LOAD DATA LOCAL INFILE 'f' INTO TABLE captured (name)"
    yield _query("load data local", local, b"e\n", b"f\n")
    yield _query("load data local, empty", local)
    yield _query("load data local, error", "LOAD DATA LOCAL INFILE 'f' INTO TABLE missing", b"e\n")
    yield Step("reset connection", Command.RESET_CONNECTION, b"")


def _hold(server: Server, flags: Flag, *, ours: bool) -> dict[str, tuple[bytes, int | None]]:
    server.restart()  # MariaDB counts the ids of prepared statements through all connections
    server.query("SET GLOBAL local_infile = 1")
    server.query("TRUNCATE TABLE app.captured")
    heard, prepared = {}, [b""]
    with Wire((server.host, server.port)) as wire:
        wire.login(Login("app", APP_PASSWORD, "app", flags=_FLAGS | flags))
        if ours:
            wire.query("SET session_track_transaction_info='STATE'")
        for step in conversation():
            packets = wire.command(step.command, prepared[step.statement] + step.argument, uploads=step.uploads)
            prepared += [packet.payload[1:5] for packet in packets if packet.role is Role.PREPARED]
            upload_at = None
            if any(packet.role is Role.UPLOAD_WANTED for packet in packets):
                upload_at = len(_bytes(packets[:1]))
            heard[step.name] = _bytes(packets), upload_at
    return heard


def _bytes(packets: list[Packet]) -> bytes:
    return b"".join(len(p.payload).to_bytes(3, "little") + bytes((p.seq,)) + p.payload for p in packets)


def _record(server: Server) -> Iterator[str]:
    commands = {step.name: step.command for step in conversation()}
    for eof in (Flag.DEPRECATE_EOF, Flag(0)):
        ours = _hold(server, eof | Flag.SESSION_TRACK, ours=True)
        default = _hold(server, eof | Flag.SESSION_TRACK, ours=False)
        plain = _hold(server, eof, ours=False)
        for name, (heard, upload_at) in ours.items():
            same = name == "statistics"  # it tells how many questions were asked
            by_default = None if same or default[name][0] == heard else default[name][0]
            plainly = None if same or plain[name][0] == default[name][0] else plain[name][0]
            tail = "" if upload_at is None else f", {upload_at}"
            yield f"    Response({name!r}, {commands[name]:#04x}, {bool(eof)},\n        {heard!r},\n"
            yield f"        {by_default!r}, {plainly!r}{tail}),\n"


def main() -> None:
    for flavor in ("mariadb", "mysql"):
        with servers.start(flavor) as server:
            for statement in _TABLES:
                server.query(statement)
            text = "".join(_record(server))
            version = server.version.split("-")[0]
            Path(__file__).with_name(f"{flavor}.py").write_text(
                f'"""What {flavor} {server.version} answered; written by record.py."""\n\n'
                "# ruff: noqa: E501\n# fmt: off\n\n"
                f"from tests.captures import Response\n\nVERSION = {version!r}\n\nRESPONSES = [\n{text}]\n"
            )


if __name__ == "__main__":
    main()
