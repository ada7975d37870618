"""What single drivers do beyond statements: their pools, resets, changes of user, uploads and streamed results."""

import asyncio
import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients.drivers import DRIVERS, load, socket_or_port
from tests.integration.clients.endpoint import Endpoint, Sessions
from tests.integration.clients.mysql2 import Mysql2Session
from tests.servers import Server

pytestmark = [pytest.mark.server, pytest.mark.timeout(60)]


@pytest.fixture
def table(server: Server, connect: Sessions) -> Iterator[str]:
    """An empty table."""
    server.query("DROP TABLE IF EXISTS app.features")
    server.query("CREATE TABLE app.features (id INT PRIMARY KEY AUTO_INCREMENT, word VARCHAR(50))")
    yield "features"
    connect.close()  # or they would still have their locks
    server.query("DROP TABLE app.features")


# asyncmy stumbles over its own upload.
UPLOADING = ["PyMySQL", "aiomysql", "mysqlclient", "connector-python", "connector-python C", "SQLAlchemy"]


@pytest.mark.parametrize("name", UPLOADING)
def test_load_data_local(name: str, connect: Sessions, through: Endpoint, table: str, tmp_path: pathlib.Path):
    file = tmp_path / "words"
    file.write_text("".join(f"{n}\tword {n}\n" for n in range(1, 20001)))
    session = connect(DRIVERS[name], through)
    session.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {table}")
    session.commit()
    assert session.query(f"SELECT COUNT(*), MAX(id), MIN(word) FROM {table}") == [(20000, 20000, "word 1")]


def test_load_data_local_from_a_stream_of_mysql2(connect: Sessions, through: Endpoint, table: str):
    session = connect(DRIVERS["mysql2"], through)
    assert isinstance(session, Mysql2Session)
    data = "".join(f"{n}\tword {n}\n" for n in range(1, 20001))
    affected, _ = session.execute(f"LOAD DATA LOCAL INFILE 'stream' INTO TABLE {table}", upload=data)
    assert affected == 20000
    assert session.query(f"SELECT COUNT(*), MAX(id) FROM {table}") == [(20000, 20000)]


def test_resets_and_changes_of_user_of_mysql2(connect: Sessions, through: Endpoint):
    session = connect(DRIVERS["mysql2"], through)
    assert isinstance(session, Mysql2Session)
    session.execute("SET @mine = 1")
    session.ask("reset")
    assert session.query("SELECT @mine, DATABASE()") == [(None, "app")]
    session.ask("changeUser", options={"user": through.user, "password": through.password, "database": "app2"})
    assert session.query("SELECT DATABASE(), '\u00e4\U0001f40e'") == [("app2", "\u00e4\U0001f40e")]
    session.ask("ping")


def test_pool_of_connector_python(through: Endpoint):
    """It sends COM_RESET_CONNECTION, or COM_CHANGE_USER to servers it takes for old, when a connection comes back."""
    pooling = load("mysql.connector.pooling", "mysql-connector-python")
    pool = pooling.MySQLConnectionPool(pool_name="p", pool_size=1, **socket_or_port(through), database="app", use_pure=True)
    for _ in range(3):
        with pool.get_connection() as connection, contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SELECT @mine, @@autocommit, @@character_set_client, @@collation_connection")
            [(mine, *settings)] = cursor.fetchall()
            assert mine is None
            cursor.execute("SET @mine = 1, time_zone = '+05:00'")
    pool._remove_connections()
    assert settings[1] == "utf8mb4"


@pytest.mark.parametrize("at", ["direct", "through"])
def test_commands_of_connector_python(at: str, direct: Endpoint, through: Endpoint):
    endpoint = {"direct": direct, "through": through}[at]
    connector = load("mysql.connector", "mysql-connector-python")
    with connector.connect(**socket_or_port(endpoint), database="app", use_pure=True) as connection:
        assert connection.is_connected()
        assert int(connection.cmd_statistics()["Uptime"]) >= 0
        connection.cmd_change_user(endpoint.user, endpoint.password, "app2")
        assert connection.database == "app2"
        connection.database = "app"
        connection.cmd_reset_connection()
        assert connection.database == "app"
        with contextlib.closing(connection.cursor()) as cursor, pytest.raises(connector.Error) as caught:
            cursor.execute("USE nosuch")
        assert (caught.value.errno, caught.value.sqlstate) == (1044, "42000")
        connection.ping(reconnect=False)


def test_streams_and_more_of_pymysql(through: Endpoint):
    pymysql = load("pymysql", "PyMySQL")
    connection = pymysql.connect(
        **socket_or_port(through), database="app", cursorclass=pymysql.cursors.SSCursor, autocommit=True
    )
    with connection.cursor() as cursor:
        numbers = "SELECT a.n * 100 + b.n FROM (SELECT 0 AS n {0}) AS a, (SELECT 0 AS n {0}) AS b"
        cursor.execute(numbers.format(" ".join(f"UNION SELECT {n}" for n in range(1, 100))))
        assert sum(row[0] for row in cursor) == sum(range(10000))
        cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        assert cursor.fetchone() == (1,)  # and leaves the others unread
    connection.select_db("app2")
    connection.ping()
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute("SELECT DATABASE() AS d, CAST('x' AS SIGNED) AS n")
        assert cursor.fetchall() == [{"d": "app2", "n": 0}]
        assert [warning[1] for warning in connection.show_warnings()] == [1292]
    connection.close()
    connection.connect()
    connection.ping()
    connection.close()


def test_changes_of_user_and_several_statements_of_mysqlclient(through: Endpoint):
    driver = load("MySQLdb", "mysqlclient")
    flag = load("MySQLdb.constants.CLIENT", "mysqlclient")
    connection = driver.connect(**socket_or_port(through), database="app", client_flag=flag.MULTI_STATEMENTS, charset="utf8mb4")
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SELECT 1; SELECT 2; DO 0; SELECT '\u00e4'")
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
    assert [rows for rows in found if rows] == [((1,),), ((2,),), (("\u00e4",),)]
    connection.change_user(through.user, through.password, "app2")
    connection.ping()
    assert connection.stat().startswith("Uptime")
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SELECT DATABASE()")
        assert cursor.fetchall() == (("app2",),)
    connection.close()


def test_pool_and_isolation_of_sqlalchemy(through: Endpoint, table: str):
    sqlalchemy = load("sqlalchemy", "SQLAlchemy")
    url = f"mysql+pymysql://{through.user}:{through.password}@127.0.0.1:{through.port}/app"
    engine = sqlalchemy.create_engine(url, pool_size=2, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    words = sqlalchemy.Table(table, sqlalchemy.MetaData(), autoload_with=engine)
    with engine.begin() as connection:
        connection.execute(words.insert(), [{"word": f"w{n}"} for n in range(100)])
    with contextlib.suppress(ZeroDivisionError), engine.begin() as connection:
        connection.execute(words.delete())
        raise ZeroDivisionError
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        assert connection.get_isolation_level() == "SERIALIZABLE"
        assert connection.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(words)) == 100
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "REPEATABLE READ"
        many = connection.execution_options(stream_results=True).execute(sqlalchemy.select(words.c.word).order_by(words.c.id))
        assert [row.word for row in many.yield_per(7)] == [f"w{n}" for n in range(100)]
    engine.dispose()


@pytest.mark.parametrize("name", ["aiomysql", "asyncmy"])
def test_pools_of_asyncio_drivers(name: str, through: Endpoint):
    """More tasks than connections."""
    driver = load(name, name)

    async def run() -> list[Any]:
        pool = await driver.create_pool(minsize=1, maxsize=3, **socket_or_port(through), db="app")

        async def ask(number: int) -> Any:
            async with pool.acquire() as connection, connection.cursor() as cursor:
                await cursor.execute("SELECT SLEEP(0.001), %s", (number,))
                return (await cursor.fetchone())[1]

        try:
            return await asyncio.gather(*map(ask, range(30)))
        finally:
            pool.close()
            await pool.wait_closed()

    assert asyncio.run(run()) == list(range(30))
