"""The drivers of the matrix, each behind the same few operations so that all of them run the same tests.

A driver is imported when it first connects; one that is not installed fails its tests in words.
"""

import asyncio
import contextlib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.integration.clients.endpoint import Driver, Endpoint, Failure, Row, Session
from tests.integration.clients.mysql2 import Mysql2
from tests.integration.clients.remote import RemoteSession


def load(module: str, package: str) -> Any:
    """Import a driver, or fail the test in words."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        pytest.fail(f"{package} is not installed ({error}): see `make test`", pytrace=False)


@contextlib.contextmanager
def failures(base: type[Exception], *, sqlstate: str = "sqlstate") -> Iterator[None]:
    """Turn a DB-API driver's exceptions into ``Failure``."""
    try:
        yield
    except base as error:
        arguments = error.args if error.args and isinstance(error.args[0], int) else (0, str(error))
        errno = getattr(error, "errno", None) or arguments[0]
        raise Failure(errno, getattr(error, sqlstate, None) or "", str(error)) from error


def socket_or_port(endpoint: Endpoint) -> dict[str, Any]:
    """The keyword arguments that most drivers share."""
    where: dict[str, Any] = (
        {"unix_socket": endpoint.socket} if endpoint.socket else {"host": endpoint.host, "port": endpoint.port}
    )
    return where | {"user": endpoint.user, "password": endpoint.password}


class DbApiSession:
    """A session over any DB-API connection."""

    def __init__(self, connection: Any, error: type[Exception], **cursor_options: Any) -> None:
        self.connection = connection
        self.error = error
        self.cursor_options = cursor_options

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with failures(self.error), contextlib.closing(self.connection.cursor(**self.cursor_options)) as cursor:
            cursor.execute(sql, tuple(parameters) or ())
            return [tuple(row) for row in cursor.fetchall()]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[int, int]:
        with failures(self.error), contextlib.closing(self.connection.cursor(**self.cursor_options)) as cursor:
            cursor.execute(sql, tuple(parameters) or ())
            return cursor.rowcount, cursor.lastrowid

    def results(self, sql: str) -> list[list[Row]]:
        with failures(self.error), contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute(sql)
            found = []
            while True:
                if cursor.description:
                    found.append([tuple(row) for row in cursor.fetchall()])
                if not cursor.nextset():
                    return found

    def begin(self) -> None:
        with failures(self.error), contextlib.closing(self.connection.cursor()) as cursor:
            cursor.execute("BEGIN")

    def commit(self) -> None:
        with failures(self.error):
            self.connection.commit()

    def rollback(self) -> None:
        with failures(self.error):
            self.connection.rollback()

    def close(self) -> None:
        self.connection.close()


class PyMySQL:
    """PyMySQL."""

    def connect(self, endpoint: Endpoint) -> DbApiSession:
        pymysql = load("pymysql", "PyMySQL")
        with failures(pymysql.MySQLError):
            connection = pymysql.connect(
                **socket_or_port(endpoint), database=endpoint.database, local_infile=True, max_allowed_packet=1 << 26
            )
        return DbApiSession(connection, pymysql.MySQLError)


class MySQLdb:
    """mysqlclient, over libmariadb or libmysqlclient."""

    def connect(self, endpoint: Endpoint) -> DbApiSession:
        driver = load("MySQLdb", "mysqlclient")
        database = {"database": endpoint.database} if endpoint.database else {}
        with failures(driver.MySQLError):
            connection = driver.connect(**socket_or_port(endpoint), **database, charset="utf8mb4", local_infile=1)
        return DbApiSession(connection, driver.MySQLError)


class Connector:
    """mysql-connector-python in Python or in C, with text or binary protocol."""

    def __init__(self, *, pure: bool, prepared: bool) -> None:
        self.pure, self.prepared = pure, prepared

    def connect(self, endpoint: Endpoint) -> Session:
        load("mysql.connector", "mysql-connector-python")
        if self.pure:
            return connector_session(endpoint, pure=True, prepared=self.prepared)
        return RemoteSession(endpoint, prepared=self.prepared)


def connector_session(endpoint: Endpoint, *, pure: bool, prepared: bool) -> DbApiSession:
    """A connection of mysql-connector-python in this process."""
    driver = importlib.import_module("mysql.connector")
    options = socket_or_port(endpoint) | {"use_pure": pure, "allow_local_infile": True}
    with failures(driver.Error):
        connection = driver.connect(**options, database=endpoint.database)
    return DbApiSession(connection, driver.Error, **({"prepared": True} if prepared else {}))


class SQLAlchemy:
    """SQLAlchemy's core over PyMySQL, with its own pool left out: each session is a connection."""

    def connect(self, endpoint: Endpoint) -> "SQLAlchemySession":
        return SQLAlchemySession(load("sqlalchemy", "SQLAlchemy"), endpoint)


class SQLAlchemySession:
    """A session over an engine's connection."""

    def __init__(self, sqlalchemy: Any, endpoint: Endpoint) -> None:
        self.error = sqlalchemy.exc.DBAPIError
        where = {"host": endpoint.host, "port": endpoint.port}
        url = sqlalchemy.URL.create(
            "mysql+pymysql",
            endpoint.user,
            endpoint.password,
            **({} if endpoint.socket else where),
            database=endpoint.database,
            query={"unix_socket": endpoint.socket} if endpoint.socket else {},
        )
        options = {"max_allowed_packet": 1 << 26, "local_infile": True}
        self.engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=options)
        with self._failures():
            self.connection = self.engine.connect()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except self.error as error:
            raise Failure(error.orig.args[0], "", str(error.orig)) from error

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with self._failures():
            return [tuple(row) for row in self.connection.exec_driver_sql(sql, tuple(parameters) or None)]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[int, int]:
        with self._failures():
            result = self.connection.exec_driver_sql(sql, tuple(parameters) or None)
            return result.rowcount, result.lastrowid

    def results(self, sql: str) -> list[list[Row]]:
        return DbApiSession(self.connection.connection, self.error).results(sql)

    def begin(self) -> None:
        self.rollback()  # ends the transaction that SQLAlchemy has begun by itself

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()


class Aio:
    """aiomysql or asyncmy: each session runs its own event loop."""

    def __init__(self, module: str) -> None:
        self.module = module

    def connect(self, endpoint: Endpoint) -> "AioSession":
        return AioSession(load(self.module, self.module), endpoint)


class AioSession:
    """A session that turns each call into a run of its loop."""

    def __init__(self, module: Any, endpoint: Endpoint) -> None:
        self.error = importlib.import_module(
            f"{module.__name__}.errors" if module.__name__ == "asyncmy" else "pymysql"
        ).MySQLError
        self.runner = asyncio.Runner()
        try:
            with failures(self.error):
                self.connection = self.runner.run(self._connect(module, endpoint))
        except BaseException:
            self.runner.close()
            raise

    @staticmethod
    async def _connect(module: Any, endpoint: Endpoint) -> Any:
        options = socket_or_port(endpoint) | {"db": endpoint.database, "local_infile": True}
        return await module.connect(**options)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._run(sql, parameters)[0]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[int, int]:
        _, affected, inserted = self._run(sql, parameters)
        return affected, inserted

    def _run(self, sql: str, parameters: Sequence[Any]) -> tuple[list[Row], int, int]:
        async def run() -> tuple[list[Row], int, int]:
            async with self.connection.cursor() as cursor:
                await cursor.execute(sql, tuple(parameters) or None)
                rows = await cursor.fetchall() if cursor.description else []
                return [tuple(row) for row in rows], cursor.rowcount, cursor.lastrowid

        with failures(self.error):
            return self.runner.run(run())

    def results(self, sql: str) -> list[list[Row]]:
        async def run() -> list[list[Row]]:
            async with self.connection.cursor() as cursor:
                await cursor.execute(sql)
                found = []
                while True:
                    if cursor.description:
                        found.append([tuple(row) for row in await cursor.fetchall()])
                    if not await cursor.nextset():
                        return found

        with failures(self.error):
            return self.runner.run(run())

    def begin(self) -> None:
        self.runner.run(self.connection.begin())

    def commit(self) -> None:
        self.runner.run(self.connection.commit())

    def rollback(self) -> None:
        self.runner.run(self.connection.rollback())

    def close(self) -> None:
        try:
            self.runner.run(self._leave())
        finally:
            self.runner.close()

    async def _leave(self) -> None:
        if hasattr(self.connection, "ensure_closed"):
            await self.connection.ensure_closed()
        else:
            self.connection.close()


DRIVERS: dict[str, Driver] = {
    "PyMySQL": PyMySQL(),
    "aiomysql": Aio("aiomysql"),
    "asyncmy": Aio("asyncmy"),
    "mysqlclient": MySQLdb(),
    "connector-python": Connector(pure=True, prepared=False),
    "connector-python prepared": Connector(pure=True, prepared=True),
    "connector-python C": Connector(pure=False, prepared=False),
    "connector-python C prepared": Connector(pure=False, prepared=True),
    "SQLAlchemy": SQLAlchemy(),
    "mysql2": Mysql2(prepared=False),
    "mysql2 prepared": Mysql2(prepared=True),
}
