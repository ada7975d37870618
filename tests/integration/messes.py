"""Conversations that leave a session in disorder, and one that looks at everything a session can inherit."""

import struct

from tests.integration.conversation import PASSWORD, USER, Conversation, Step
from tests.integration.statements import SCHEMA
from tests.wire_packets import PLAIN, Command, Flag, Login

ALL = PLAIN | Flag.MULTI_STATEMENTS | Flag.PS_MULTI_RESULTS | Flag.SESSION_TRACK | Flag.DEPRECATE_EOF | Flag.LOCAL_FILES

INSPECTORS = (
    Login(USER, PASSWORD, SCHEMA, ALL),
    Login(USER, PASSWORD, None, PLAIN, 33),
    Login(USER, PASSWORD, SCHEMA, PLAIN | Flag.FOUND_ROWS | Flag.IGNORE_SPACE | Flag.DEPRECATE_EOF, 8),
)
"""Who looks: clients of different kinds, since each kind has settings of its own to get right."""


def queries(*statements: str) -> tuple[Step, ...]:
    """One COM_QUERY for each."""
    return tuple(Step(Command.QUERY, statement.encode()) for statement in statements)


INSPECTION = (
    *queries(
        "SHOW WARNINGS",
        "SELECT @@warning_count, @@error_count",
        "SELECT LAST_INSERT_ID(), @@insert_id",
        "SELECT DATABASE()",
        "SHOW SESSION VARIABLES",
        "SELECT @a, @b, @began",
        "SELECT CHARSET('x'), COLLATION('x')",
        "SELECT 1; SELECT 2",
        "SELECT COUNT (*) FROM wire.item",
        "SELECT IS_FREE_LOCK('mess') AS free, RELEASE_ALL_LOCKS() AS released",
        "EXECUTE s",
        "SELECT * FROM wire.item ORDER BY id",
        "SELECT * FROM wire.loaded",
        "SELECT * FROM wire.tmp",
        "USE wire",
        "HANDLER item READ FIRST",
        "UPDATE item SET small = small WHERE id = 1",
        "SELECT name FROM many LIMIT 1",
        "CREATE TABLE made (n INT)",
        "INSERT INTO made VALUES (1)",
        "ROLLBACK",
        "SELECT * FROM made",
        "SELECT CURRENT_ROLE()",
        "SHOW PROFILES",
    ),
    *(Step(Command.STMT_EXECUTE, struct.pack("<IBI", number, 0, 1)) for number in range(1, 4)),
)  # fmt: skip


def messes(flavor: str) -> dict[str, Conversation]:
    """What a client may leave behind, by name. Who leaves it is up to the caller. Nothing is committed for good."""
    prepare = Step(Command.STMT_PREPARE, b"SELECT seq FROM many")
    open_cursor = Step(Command.STMT_EXECUTE, struct.pack("<BI", 1, 1), 0)
    fetch = Step(Command.STMT_FETCH, struct.pack("<I", 3), 0)
    made: dict[str, tuple[tuple[Step, ...], str]] = {
        "nothing": ((), "quit"),
        "user variables": (queries("SET @a = 1, @b = 'x'"), "quit"),
        "user variables without SET": (queries("SELECT @a := 5", "SELECT 7 INTO @b"), "close"),
        "a temporary table": (queries("CREATE TEMPORARY TABLE tmp (n INT)", "INSERT INTO tmp VALUES (1)"), "quit"),
        "a schema": (queries("USE wire_other"), "quit"),
        "a schema by INIT_DB": ((Step(Command.INIT_DB, b"wire_other"),), "close"),
        "an open transaction": (queries("BEGIN", "INSERT INTO item (name) VALUES ('left')"), "close"),
        "an open transaction of a procedure": (queries("CALL begins()"), "quit"),
        "an open transaction without autocommit": (queries("SET autocommit = 0", "DELETE FROM item"), "quit"),
        "a read-only transaction": (queries("START TRANSACTION READ ONLY", "SELECT * FROM item"), "close"),
        "a transaction's isolation": (queries("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), "quit"),
        "a session's isolation": (queries("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY"), "quit"),
        "an XA transaction": (queries("XA START 'mess'", "UPDATE item SET small = 1"), "close"),
        "character sets": (queries("SET NAMES cp1251"), "quit"),
        "results without character set": (queries("SET character_set_results = NULL"), "quit"),
        "a SQL mode": (queries("SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"), "quit"),
        "variables": (queries("SET time_zone = '+05:00', sql_select_limit = 1, timestamp = 5"), "quit"),
        "what it tracks": (queries("SET session_track_system_variables = 'time_zone', session_track_schema = 0"), "quit"),
        "locked tables": (queries("LOCK TABLES item WRITE"), "close"),
        "a named lock": (queries("SELECT GET_LOCK('mess', 1)"), "close"),
        "a handler": (queries("HANDLER item OPEN", "HANDLER item READ FIRST"), "close"),
        "prepared statements": ((prepare, prepare, *queries("PREPARE s FROM 'SELECT 1'")), "quit"),
        "an open cursor": ((prepare, open_cursor, fetch), "close"),
        "an insert id": (queries("INSERT INTO item (name) VALUES ('x')", "DELETE FROM item WHERE id > 4"), "quit"),
        "an insert id to come": (queries("SET insert_id = 77, last_insert_id = 66"), "quit"),
        "warnings": (queries("SELECT CAST('x' AS SIGNED)", "INSERT IGNORE INTO item (id) VALUES (1)"), "quit"),
        "an error": (queries("SELECT * FROM nosuch"), "quit"),
        "profiles": (queries("SET profiling = 1", "SELECT 1"), "quit"),
        "multiple statements off": ((Step(Command.SET_OPTION, b"\1\0"),), "quit"),
        "multiple statements on": ((Step(Command.SET_OPTION, b"\0\0"), *queries("SELECT 1; SELECT 2")), "quit"),
        "another user's session": ((Step(Command.CHANGE_USER, login=Login(USER, PASSWORD, "wire_other", ALL, 8)),), "quit"),
        "its own reset": ((*queries("SET NAMES latin1"), Step(Command.RESET_CONNECTION)), "quit"),
        "half a command": ((), "half"),
        "half a response": ((), "unread"),
        "half an upload": ((), "upload"),
        "a statement that failed": (queries("SELECT seq, IF(seq = 300, (SELECT 1 UNION SELECT 2), 0) FROM many"), "close"),
    }  # fmt: skip
    if flavor == "mariadb":
        made["a statement's own variables"] = (queries("SET STATEMENT sort_buffer_size = 500000 FOR SELECT 1"), "quit")
        made["a role"] = (queries("SET ROLE NONE"), "quit")
    return {name: Conversation(0, Login(USER, PASSWORD, SCHEMA, ALL), steps, end, False) for name, (steps, end) in made.items()}
