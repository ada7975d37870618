"""What a client's session starts from, and the commands that bring an upstream there. Pure.

A *baseline* is the state that the client would find right after its own login at the database. What COM_RESET_CONNECTION
does to each part of it differs between servers, so after a reset everything is set again.
"""

from enum import Enum
from typing import NamedTuple

from warmwire.protocol.constants import Capability, Command
from warmwire.protocol.handshake import Login


class Baseline(NamedTuple):
    """What a client's login asks for beyond the pool key."""

    database: bytes | None
    collation: int
    """Id of the collation, as in the login packet. The server gets the number, so names that differ between versions do
    not matter."""
    ignore_space: bool
    multi_statements: bool


def baseline_of(login: Login) -> Baseline:
    """The baseline of a client that logged in like this."""
    return Baseline(
        login.database,
        login.collation,
        bool(login.capabilities & Capability.IGNORE_SPACE),
        bool(login.capabilities & Capability.MULTI_STATEMENTS),
    )


class Charset(Enum):
    """How to bring a session to the collation of its client's login packet."""

    KEEP = "keep"
    """It is there already: the login did it."""
    CONFIRM = "confirm"
    """It is there already if the server knows the collation; if not, that is told."""
    BY_ID = "by id"
    GLOBAL = "global"
    """The server does not know the collation; at a login it falls back to its global settings."""


_CHARSET = ("character_set_client", "character_set_results", "collation_connection")


def settings(baseline: Baseline, idle_timeout: int, charset: Charset) -> bytes:
    """The COM_QUERY that sets the variables of a baseline, and those that Warmwire itself needs.

    Args:
        baseline: what to set.
        idle_timeout: seconds, for ``wait_timeout``: the server ends what a frozen environment holds.
        charset: what to do about the collation.
    """
    assignments = []
    if charset is Charset.BY_ID:
        assignments += [f"{name}={baseline.collation}" for name in _CHARSET]
    elif charset is Charset.CONFIRM:
        assignments.append(f"collation_connection={baseline.collation}")
    elif charset is Charset.GLOBAL:
        assignments += [f"{name}=@@GLOBAL.{name}" for name in _CHARSET]
    assignments += [f"wait_timeout={idle_timeout}", "session_track_transaction_info='STATE'"]
    if baseline.ignore_space:
        assignments.append("sql_mode=CONCAT('IGNORE_SPACE,',@@SESSION.sql_mode)")
    return query("SET " + ",".join("@@SESSION." + assignment for assignment in assignments))


def query(sql: str) -> bytes:
    """The payload of a COM_QUERY."""
    return bytes((Command.QUERY,)) + sql.encode("utf-8")


def init_db(database: bytes) -> bytes:
    """The payload of a COM_INIT_DB."""
    return bytes((Command.INIT_DB,)) + database


def set_multi_statements(on: bool) -> bytes:
    """The payload of a COM_SET_OPTION. A reset leaves this option as it is."""
    return bytes((Command.SET_OPTION, 0 if on else 1, 0))
