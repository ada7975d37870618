"""Random conversations between a client and a MySQL server: from a seed, always the same one.

A conversation is a login, some dozens of steps and a way to leave. Nothing in it depends on what the server answers,
save the ids of prepared statements: a step names a statement by its ordinal in the conversation, whoever plays the
step puts the id there. What a statement answers must depend on nothing but the conversation and a fresh ``schema()``.
"""

import itertools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.integration.statements import (
    CALLS,
    ERRORS,
    MULTIPLE,
    OWN,
    PREPARABLE,
    READS,
    SCHEMA,
    SESSION,
    TRANSACTIONS,
    UNPREPARABLE,
    WRITES,
)
from tests.servers.server import APP_PASSWORD
from tests.wire_packets import Command, Flag, Login, lenenc

USER, PASSWORD = "app", APP_PASSWORD


@dataclass(frozen=True)
class Step:
    """One exchange."""

    command: int
    argument: bytes = b""
    statement: int | None = None
    """Ordinal of the prepared statement whose four-byte id goes in front of ``argument``."""
    uploads: tuple[bytes, ...] = ()
    """Packets for LOAD DATA LOCAL; none: the upload is refused."""
    login: Login | None = None
    """Of COM_CHANGE_USER."""
    chunks: tuple[int, ...] = ()
    with_next: bool = False
    """Sent together with the next step, before its own response is read."""

    def __str__(self) -> str:
        known = self.command in Command.__members__.values()
        name = Command(self.command).name if known else f"command 0x{self.command:02x}"
        statement = "" if self.statement is None else f" statement {self.statement}"
        text = self.argument if len(self.argument) < 300 else self.argument[:300] + b"..."
        return f"{name}{statement} {self.login or text!r}{' + next' if self.with_next else ''}"


@dataclass(frozen=True)
class Conversation:
    """Everything that one client says."""

    seed: int
    login: Login
    steps: tuple[Step, ...]
    farewell: str
    """``quit``: COM_QUIT. ``close``: without a word. ``half``: in the middle of a command. ``unread``: in the middle
    of a response. ``upload``: in the middle of an upload."""
    over_unix_socket: bool


FLAGS = (
    Flag.DEPRECATE_EOF, Flag.SESSION_TRACK, Flag.MULTI_STATEMENTS, Flag.PS_MULTI_RESULTS, Flag.FOUND_ROWS,
    Flag.LOCAL_FILES, Flag.IGNORE_SPACE, Flag.INTERACTIVE, Flag.ODBC, Flag.QUERY_ATTRIBUTES,
    Flag.OPTIONAL_RESULTSET_METADATA, Flag.COMPRESS, Flag.ZSTD,
)  # fmt: skip
"""Flags that a client has or has not. One half of them are of the kind that Warmwire must not offer."""

KNOWN_EVERYWHERE = (45, 33, 8, 63, 224)
COLLATIONS = (45, *KNOWN_EVERYWHERE, 255, 249, 0)
"""utf8mb4_general_ci, utf8mb4_0900_ai_ci (not in MariaDB), utf8mb3, latin1, binary, utf8mb4_unicode_ci, two unknown ones."""

UNKNOWN_COMMANDS = (
    Command.SLEEP, Command.CREATE_DB, 0x06, 0x0B, Command.TIME, 0x10, 0x14, 0x1D, 0x30, 0x7F, 0xC0, 0xFF,
)  # fmt: skip


class Author:
    """Writes a conversation."""

    def __init__(self, seed: int, dialect: str) -> None:
        self.seed = seed
        self.dialect = dialect
        self.random = random.Random(f"{seed} {dialect}")
        self.prepared: list[tuple[int, int]] = []
        """Ordinals of the statements prepared so far, with the number of their parameters; open or not."""
        self.types: dict[int, list[int]] = {}
        """Parameter types last sent for a statement."""
        self.collation = 0
        """That of the latest login."""
        self.cursors: set[int] = set()
        """Statements that have been executed with a cursor."""

    def conversation(self) -> Conversation:
        login = self.login()
        kinds: list[tuple[Callable[[], list[Step]], int]] = [
            (self.read, 20), (self.write, 12), (self.session, 14), (self.transaction, 8), (self.error, 7), (self.call, 6),
            (self.several, 7), (self.own, 3), (self.prepare, 9), (self.execute, 14), (self.cursor, 5), (self.long_data, 4),
            (self.statement_end, 4), (self.load, 5), (self.plain_command, 8), (self.schema_command, 4), (self.reset, 2),
            (self.unknown, 2),
        ]  # fmt: skip
        choices, weights = zip(*kinds, strict=True)
        steps = [] if login.database or self.random.random() < 0.2 else [Step(Command.INIT_DB, SCHEMA.encode())]
        while len(steps) < 45:
            [kind] = self.random.choices(choices, weights)
            steps += [self.send_oddly(step) for step in kind()]
        farewell = self.random.choice(("quit", "quit", "quit", "close", "close", "half", "unread", "upload"))
        steps.append(Step(Command.QUERY, b"SHOW SESSION VARIABLES"))
        return Conversation(self.seed, login, tuple(pair_up(steps)), farewell, self.random.random() < 0.3)

    def login(self) -> Login:
        flags = PLAIN_ALWAYS
        for flag in FLAGS:
            if self.random.random() < 0.5:
                flags |= flag
        if self.random.random() < 0.9:
            flags |= Flag.MULTI_RESULTS
        if self.random.random() < 0.85:
            flags |= Flag.PLUGIN_AUTH
            if self.random.random() < 0.8:
                flags |= Flag.PLUGIN_AUTH_LENENC
        database = self.random.choice((SCHEMA, SCHEMA, SCHEMA, SCHEMA, None))
        attributes = {"program_name": "test", "long": "x" * 300} if self.random.random() < 0.3 else {}
        self.collation = self.random.choice(COLLATIONS)
        return Login(USER, PASSWORD, database, flags, self.collation, attributes)

    def send_oddly(self, step: Step) -> Step:
        """The step with its bytes in pieces, or glued to the next step."""
        if self.random.random() < 0.3:
            sizes = (1, 2, 3, 4, 5, 7, 64, 1000)
            size = self.random.choice(sizes[3:] if len(step.argument) > 1000 else sizes)
            return replace(step, chunks=(size, self.random.choice(sizes[3:])))
        return replace(step, with_next=self.random.random() < 0.1)

    # -- text protocol -------------------------------------------------------------------------------------------------

    def sql(self, statement: str) -> bytes:
        if "%(lock)s" in statement:
            return (statement % {"lock": f"lock_{self.seed}"}).encode()
        numbers = statement.count("%d")
        return (statement % tuple(self.random.randrange(100) for _ in range(numbers)) if numbers else statement).encode()

    def query(self, statements: tuple[str, ...]) -> list[Step]:
        return [Step(Command.QUERY, self.sql(self.random.choice(statements)))]

    def read(self) -> list[Step]:
        return self.query(READS)

    def write(self) -> list[Step]:
        return self.query(WRITES)

    def session(self) -> list[Step]:
        return self.query(SESSION)

    def transaction(self) -> list[Step]:
        return self.query(TRANSACTIONS)

    def error(self) -> list[Step]:
        return self.query(ERRORS)

    def call(self) -> list[Step]:
        return self.query(CALLS)

    def own(self) -> list[Step]:
        return self.query(OWN[self.dialect])

    def several(self) -> list[Step]:
        if self.random.random() < 0.5:
            return self.query(MULTIPLE)
        pool = READS[:8] + WRITES + SESSION + TRANSACTIONS + CALLS + ERRORS[:12]
        return [Step(Command.QUERY, b"; ".join(self.sql(self.random.choice(pool)) for _ in range(self.random.randint(2, 4))))]

    def load(self) -> list[Step]:
        sql = self.random.choice((
            b"LOAD DATA LOCAL INFILE 'some file' INTO TABLE loaded FIELDS TERMINATED BY ','",
            b"LOAD DATA LOCAL INFILE '' REPLACE INTO TABLE loaded FIELDS TERMINATED BY ',' (id, word)",
            b"SELECT 1; LOAD DATA LOCAL INFILE 'a' INTO TABLE loaded FIELDS TERMINATED BY ','; SELECT COUNT(*) FROM loaded",
        ))  # fmt: skip
        first = self.random.randrange(1000)
        lines = b"".join(b"%d,word %d\n" % (first + n // 2 if n % 9 == 8 else first + n, n) for n in range(200))
        cut = self.random.randrange(1, len(lines))
        pieces = ((), (lines,), (lines[:cut], lines[cut:]), (lines[:1], lines[1:2], lines[2:]), (b"1,no end",))
        uploads = self.random.choice(pieces)
        return [Step(Command.QUERY, sql, uploads=uploads)]

    # -- prepared statements -------------------------------------------------------------------------------------------

    def prepare(self) -> list[Step]:
        statement, parameters = self.random.choice(PREPARABLE if self.random.random() < 0.8 else UNPREPARABLE)
        self.prepared.append((len(self.prepared), parameters))
        return [Step(Command.STMT_PREPARE, statement.encode())]

    def some_statement(self) -> tuple[int, int]:
        if self.prepared and self.random.random() < 0.95:
            return self.random.choice(self.prepared[-4:])
        return -1, 0

    def execute(self) -> list[Step]:
        steps = [] if self.prepared else self.prepare()
        ordinal, parameters = self.some_statement()
        flags = self.random.choice((0, 0, 0, CURSOR))
        return [*steps, Step(Command.STMT_EXECUTE, self.execution(ordinal, parameters, flags), ordinal)]

    def cursor(self) -> list[Step]:
        statement, parameters = self.random.choice(PREPARABLE[12:15])
        ordinal = len(self.prepared)
        self.prepared.append((ordinal, parameters))
        steps = [
            Step(Command.STMT_PREPARE, statement.encode()),
            Step(Command.STMT_EXECUTE, self.execution(ordinal, parameters, CURSOR), ordinal),
        ]
        for _ in range(self.random.randint(1, 5)):
            rows = self.random.choice((1, 2, 10, 100, 260, 1000, 0))
            steps.append(Step(Command.STMT_FETCH, struct.pack("<I", rows), ordinal))
        if self.random.random() < 0.5:
            steps.append(Step(Command.STMT_RESET, b"", ordinal))
            steps.append(Step(Command.STMT_FETCH, struct.pack("<I", 1), ordinal))
        return steps

    def long_data(self) -> list[Step]:
        statement, parameters = self.random.choice((PREPARABLE[4], PREPARABLE[5]))
        ordinal = len(self.prepared)
        self.prepared.append((ordinal, parameters))
        steps = [Step(Command.STMT_PREPARE, statement.encode())]
        for _ in range(self.random.randint(1, 3)):
            data = self.random.randbytes(self.random.choice((0, 1, 100, 70000)))
            steps.append(Step(Command.STMT_SEND_LONG_DATA, struct.pack("<H", 0) + data, ordinal))
        if self.random.random() < 0.2:
            steps.append(Step(Command.STMT_SEND_LONG_DATA, struct.pack("<H", 77) + b"no such parameter", ordinal))
        if self.random.random() < 0.2:
            steps.append(Step(Command.STMT_RESET, b"", ordinal))
        return [*steps, Step(Command.STMT_EXECUTE, self.execution(ordinal, parameters, 0, long_data=True), ordinal)]

    def statement_end(self) -> list[Step]:
        ordinal, _ = self.some_statement()
        return [Step(self.random.choice((Command.STMT_RESET, Command.STMT_CLOSE, Command.STMT_CLOSE)), b"", ordinal)]

    def execution(self, ordinal: int, parameters: int, flags: int, *, long_data: bool = False) -> bytes:
        """What follows the statement id in COM_STMT_EXECUTE. With ``long_data`` the first parameter has been sent already."""
        if ordinal in self.cursors and self.dialect == "mysql":
            flags = CURSOR  # without, MySQL 9.7 answers with definitions and an OK, and every client waits for rows
        if flags == CURSOR:
            self.cursors.add(ordinal)
        head = struct.pack("<BI", flags, 1)
        if not parameters:
            return head
        known = self.types.get(ordinal)
        rebind = known is None or long_data or self.random.random() < 0.6
        types = [BLOB if long_data and n == 0 else self.random.choice(list(VALUES)) for n in range(parameters)]
        if not rebind and known is not None:
            types = known
        self.types[ordinal] = types
        nulls, values = 0, b""
        for place, kind in enumerate(types):
            if long_data and place == 0:
                continue
            if kind == NULL or self.random.random() < 0.1:
                nulls |= 1 << place
            else:
                values += VALUES[kind](self.random)
        bound = b"\x01" + b"".join(struct.pack("<H", kind) for kind in types) if rebind else b"\x00"
        return head + nulls.to_bytes((parameters + 7) // 8, "little") + bound + values

    # -- the rest ------------------------------------------------------------------------------------------------------

    def plain_command(self) -> list[Step]:
        return [
            self.random.choice((
                Step(Command.PING),
                Step(Command.STATISTICS),
                Step(Command.DEBUG),
                Step(Command.SET_OPTION, struct.pack("<H", 0)),
                Step(Command.SET_OPTION, struct.pack("<H", 1)),
                Step(Command.SET_OPTION, struct.pack("<H", 99)),
                Step(Command.REFRESH, b"\x01"),
                Step(Command.PROCESS_KILL, struct.pack("<I", 0x7FFFFFF0)),
                Step(Command.PROCESS_INFO),
                Step(Command.STMT_FETCH, struct.pack("<I", 1), -1),
            ))
        ]  # fmt: skip

    def schema_command(self) -> list[Step]:
        return [
            self.random.choice((
                Step(Command.INIT_DB, b"wire"),
                Step(Command.INIT_DB, b"wire_other"),
                Step(Command.INIT_DB, b"nosuch"),
                Step(Command.INIT_DB, b""),
                Step(Command.FIELD_LIST, b"item\0%"),
                Step(Command.FIELD_LIST, b"item\0n%"),
                Step(Command.FIELD_LIST, b"nosuch\0"),
            ))
        ]  # fmt: skip

    def reset(self) -> list[Step]:
        # After a login with a collation it does not know, MariaDB resets to that of any client that its thread had before.
        if self.random.random() < 0.5 and (self.dialect == "mysql" or self.collation in KNOWN_EVERYWHERE):
            return [Step(Command.RESET_CONNECTION)]
        login = replace(self.login(), attributes={})
        if self.random.random() < 0.1:
            login = replace(login, database="nosuch")
        return [Step(Command.CHANGE_USER, login=login)]

    def unknown(self) -> list[Step]:
        return [Step(self.random.choice(UNKNOWN_COMMANDS), self.random.choice((b"", b"abc")))]


PLAIN_ALWAYS = (
    Flag.LONG_PASSWORD | Flag.LONG_FLAG | Flag.PROTOCOL_41 | Flag.TRANSACTIONS | Flag.SECURE_CONNECTION
)  # fmt: skip

NULL, BLOB = 6, 252

CURSOR = 1
"""Flag of COM_STMT_EXECUTE: open a read-only cursor."""


def pair_up(steps: list[Step]) -> list[Step]:
    """Glue a step to the next one only where a real client could: not around uploads or a change of user, no chains."""
    out: list[Step] = []
    for this, following in itertools.zip_longest(steps, steps[1:]):
        apart = following is None or goes_alone(this) or goes_alone(following) or (out and out[-1].with_next)
        out.append(replace(this, with_next=False) if apart else this)
    return out


def goes_alone(step: Step) -> bool:
    """True of what a client cannot glue to another step: it has to see the answer first, or to upload something."""
    return step.login is not None or step.command == Command.STMT_PREPARE or b"LOCAL" in step.argument


def _string(rng: random.Random) -> bytes:
    text = rng.choice((b"", b"one", b"12", b"t%", b"2020-02-03", b"x" * 250, b"y" * 300, b"\xc3\xa4\xe2\x82\xac"))
    return lenenc(len(text)) + text


def _date(rng: random.Random) -> bytes:
    return rng.choice((b"\x00", b"\x04" + struct.pack("<HBB", 2021, 2, 3)))


def _datetime(rng: random.Random) -> bytes:
    moment = struct.pack("<HBBBBB", 2021, 12, 31, 23, 59, rng.randrange(60))
    return rng.choice((b"\x00", b"\x04" + moment[:4], b"\x07" + moment, b"\x0b" + moment + struct.pack("<I", 123456)))


def _time(rng: random.Random) -> bytes:
    span = struct.pack("<BIBBB", rng.randrange(2), 1, 2, 3, 4)
    return rng.choice((b"\x00", b"\x08" + span, b"\x0c" + span + struct.pack("<I", 5)))


VALUES: dict[int, Callable[[random.Random], bytes]] = {
    1: lambda rng: struct.pack("<b", rng.randrange(-128, 128)),
    2: lambda rng: struct.pack("<h", rng.randrange(-1000, 1000)),
    3: lambda rng: struct.pack("<i", rng.randrange(-10, 10)),
    8: lambda rng: struct.pack("<q", rng.randrange(-5, 5)),
    8 | 0x8000: lambda rng: struct.pack("<Q", rng.randrange(1 << 64)),
    4: lambda rng: struct.pack("<f", 1.5),
    5: lambda rng: struct.pack("<d", rng.choice((0.0, -2.25, 1e300))),
    NULL: lambda rng: b"",
    10: _date,
    11: _time,
    12: _datetime,
    246: lambda rng: b"\x0512.34",
    BLOB: _string,
    253: _string,
    254: _string,
}
"""Parameter types (0x8000: unsigned) and how to make a value of each."""


def compose(seed: int, dialect: str) -> Conversation:
    """The conversation of a seed. ``dialect`` is ``mariadb`` or ``mysql``."""
    return Author(seed, dialect).conversation()
