"""What the stand-in's connections share and what each has: tables, variables, transactions. See `stand_in`.

How transactions work here: the one SQLite database holds what is committed. A transaction is the list of its own changes;
each of its statements runs in a SQLite transaction that makes those changes first and is rolled back afterwards. COMMIT
makes them for good. There are no locks, so nobody waits for a transaction that is left open.
"""

# mypy: allow-subclassing-any

import dataclasses
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from mysql_mimic.charset import Collation
from mysql_mimic.errors import ErrorCode, MysqlError
from mysql_mimic.results import AllowedResult
from mysql_mimic.schema import like_to_regex
from mysql_mimic.session import Session
from mysql_mimic.variables import SYSTEM_VARIABLES, GlobalVariables, SessionVariables
from sqlglot import exp

VERSION = "8.0.36-warmwire-stand-in"
VARIABLES = {
    **SYSTEM_VARIABLES,
    "version": (str, VERSION, False),
    "version_comment": (str, "Warmwire's stand-in: mysql-mimic over SQLite, for demonstrations only", False),
    "sql_mode": (str, "", True),
    # Of what MySQL can track, just the transaction's state.
    "session_track_transaction_info": (str, "OFF", True),
    "session_track_system_variables": (str, "", True),
}
NO_TRANSACTION = b"________"
"""The transaction's state as MySQL reports it: begun explicitly (T) or not (I), read, written (W), and so on."""


@dataclasses.dataclass
class Counters:
    """What SHOW STATUS tells. Names and meanings are those of the MySQL manual, "Server Status Variables"."""

    connections: int = 0
    threads_connected: int = 0
    aborted_clients: int = 0
    aborted_connects: int = 0


class Result(NamedTuple):
    """What a statement gave: its rows and their column names, or the rows it changed and the last id it made."""

    rows: Sequence[Sequence[Any]]
    columns: Sequence[str]
    affected: int
    last_id: int


class Tables:
    """What is committed, and how statements run on it. For one thread at a time."""

    def __init__(self) -> None:
        # Made on one thread, used on another, see stand_in.running.
        self._committed = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._committed.execute("ATTACH ':memory:' AS information_schema")
        self._committed.execute("CREATE TABLE information_schema.innodb_trx (trx_mysql_thread_id, trx_rows_modified)")

    def run(self, changes: Sequence[str], statement: str, *, keep: bool) -> Result:
        """Run a statement as if `changes` had been committed before; commit all of it or nothing.

        Raises:
            MysqlError: SQLite refused one of them; nothing was kept.
        """
        cursor = self._committed.cursor()
        cursor.execute("BEGIN")
        try:
            for change in changes:
                cursor.execute(change)
            cursor.execute(statement)
            columns = [column[0] for column in cursor.description or ()]
            result = Result(cursor.fetchall(), columns, max(cursor.rowcount, 0), cursor.lastrowid or 0)
        except sqlite3.Error as problem:
            cursor.execute("ROLLBACK")
            raise MysqlError(f"the stand-in's SQLite says: {problem}", ErrorCode.UNKNOWN_ERROR) from problem
        cursor.execute("COMMIT" if keep else "ROLLBACK")
        return result

    def list_transactions(self, transactions: Sequence[tuple[int, int]]) -> None:
        """Make information_schema.innodb_trx show these: (connection id, number of changes)."""
        self._committed.execute("DELETE FROM information_schema.innodb_trx")
        self._committed.executemany("INSERT INTO information_schema.innodb_trx VALUES (?, ?)", transactions)


class Variables(SessionVariables):
    """Session variables that take collations by number too, as MySQL does."""

    def set(self, name: str, value: Any, force: bool = False) -> None:
        """Set one variable; the character sets' names are found by collation id."""
        if isinstance(value, int) and name.lower().startswith("character_set_"):
            value = Collation(value).charset.name
        elif isinstance(value, int) and name.lower() == "collation_connection":
            value = Collation(value).name
        super().set(name, value, force)


class Shared:
    """What the connections of one server have in common."""

    def __init__(self) -> None:
        self.variables = GlobalVariables(VARIABLES)
        self.tables = Tables()
        self.counters = Counters()
        self.sessions: set[TableSession] = set()

    def transactions(self) -> list[tuple[int, int]]:
        """The open transactions: (connection id, number of changes)."""
        return [session.transaction() for session in self.sessions if session.in_transaction]


class TableSession(Session):
    """One connection's session: its variables and its transaction."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(Variables(shared.variables))
        self._shared = shared
        self._changes: list[str] = []
        self._began = b""  # T: by a statement; I: implicitly, without autocommit
        self._told = NO_TRANSACTION
        self.affected = 0
        self.last_id = 0
        # information_schema is a table here, see Tables.
        self.middlewares.remove(self._info_schema_middleware)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open: one that was begun, or, without autocommit, one that has touched a table."""
        return bool(self._began)

    async def handle_query(self, sql: str, attrs: dict[str, str]) -> AllowedResult:
        """Run what the client sent."""
        self.affected = self.last_id = 0
        return await super().handle_query(sql, attrs)

    async def query(self, expression: exp.Expression, sql: str, attrs: dict[str, str]) -> AllowedResult:
        """Run one statement on tables.

        Raises:
            MysqlError: 1235 for a kind of statement that the stand-in does not know; 1105 if SQLite refuses it.
        """
        for table in expression.find_all(exp.Table):
            if table.db.lower() != "information_schema":
                table.set("db", None)  # there is one database, whatever clients call it
        statement = expression.sql(dialect="sqlite")
        if isinstance(expression, exp.Create | exp.Drop):
            self._commit()  # as MySQL does before such a statement
            self._shared.tables.run((), statement, keep=True)
            return [], []
        if not isinstance(expression, exp.Query | exp.Insert | exp.Update | exp.Delete):
            raise MysqlError("the stand-in does not know this kind of statement", ErrorCode.NOT_SUPPORTED_YET)
        if not self._began and not self.variables.get("autocommit"):
            self._began = b"I"
        self._shared.tables.list_transactions(self._shared.transactions())
        is_change = not isinstance(expression, exp.Query)
        result = self._shared.tables.run(self._changes, statement, keep=is_change and not self._began)
        if not is_change:
            return result.rows, result.columns
        if self._began:
            self._changes.append(statement)
        self.affected, self.last_id = result.affected, result.last_id
        return [], []

    def transaction(self) -> tuple[int, int]:
        """The open transaction: (connection id, number of changes)."""
        return self.connection.connection_id, len(self._changes)

    def untold_state(self) -> bytes | None:
        """The transaction's state, if the client wants to know and has not been told yet."""
        state = self._began + (b"___W___" if self._changes else b"_______") if self._began else NO_TRANSACTION
        if state == self._told or self.variables.get("session_track_transaction_info") == "OFF":
            return None
        self._told = state
        return state

    def rollback(self) -> None:
        """End the transaction, if one is open, without a trace."""
        self._changes, self._began = [], b""

    def forget_variables(self) -> None:
        """Go back to the global values of all variables."""
        self.variables = Variables(self._shared.variables)
        self._told = NO_TRANSACTION

    def _commit(self) -> None:
        changes, self._changes, self._began = self._changes, [], b""
        if changes:
            self._shared.tables.run(changes[:-1], changes[-1], keep=True)

    async def _begin_middleware(self, q: Any) -> AllowedResult:
        if isinstance(q.expression, exp.Transaction):
            self._commit()
            self._began = b"T"
            return [], []
        return await q.next()

    async def _commit_middleware(self, q: Any) -> AllowedResult:
        if isinstance(q.expression, exp.Commit):
            self._commit()
            return [], []
        return await q.next()

    async def _rollback_middleware(self, q: Any) -> AllowedResult:
        if isinstance(q.expression, exp.Rollback):
            self.rollback()
            return [], []
        return await q.next()

    def _show_status(self, show: exp.Show) -> AllowedResult:
        matches = like_to_regex(show.text("like").lower() or "%").match
        counted = dataclasses.asdict(self._shared.counters)
        rows = [(name.capitalize(), str(value)) for name, value in counted.items() if matches(name)]
        return rows, ["Variable_name", "Value"]

    def _parse(self, sql: str) -> list[exp.Expression]:
        statements: list[exp.Expression] = super()._parse(sql)
        if len(statements) > 1:
            raise MysqlError("the stand-in takes one statement at a time", ErrorCode.PARSE_ERROR)
        return statements

    def _set_variable(self, setitem: exp.SetItem) -> None:
        super()._set_variable(setitem)
        if self._began and setitem.this.left.name.lower() == "autocommit" and self.variables.get("autocommit"):
            self._commit()

    async def reset(self) -> None:
        """End the transaction of the user before: the original calls this at the end of a COM_CHANGE_USER."""
        self.rollback()

    async def init(self, connection: Any) -> None:
        """The client has logged in."""
        self._shared.sessions.add(self)
        await super().init(connection)

    async def close(self) -> None:
        """The connection has ended, and its transaction with it."""
        self._shared.sessions.remove(self)
        await super().close()
