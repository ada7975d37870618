"""Every driver of the matrix does through Warmwire what it does directly: same values, same errors, same transactions."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.integration.clients.drivers import DRIVERS
from tests.integration.clients.endpoint import Driver, Endpoint, Failure, Session, Sessions
from tests.servers import Server

pytestmark = [pytest.mark.server, pytest.mark.timeout(60)]

# Not YEAR: mysql-connector-python cannot read it by the binary protocol.
COLUMNS = """
  id INT PRIMARY KEY AUTO_INCREMENT, small TINYINT, large BIGINT, positive BIGINT UNSIGNED, exact DECIMAL(20,5), inexact DOUBLE,
  word VARCHAR(100) UNIQUE, body LONGTEXT, bytes BLOB, day DATE, moment DATETIME(6), span TIME(3), choice ENUM('a', 'b'),
  choices SET('x', 'y', 'z'), bits BIT(9), document JSON, nothing INT
"""

# MariaDB says that a column is JSON by an extension that Warmwire does not offer; mysql2 would parse what is in it.
SELECTED = """
  id, small, large, positive, exact, inexact, word, body, bytes, day, moment, span, choice, choices, bits,
  CAST(document AS CHAR) AS document, nothing
"""

ROWS = """
  (DEFAULT, -128, -9223372036854775808, 18446744073709551615, -123456789012345.67891, 1e-300, 'f\u00fcr \U0001f40e', '',
   X'00FF7F', '2024-02-29', '2024-12-31 23:59:59.999999',
   '-838:59:58.123', 'b', 'x,z', b'101010101', '{"a": [1, 2.5, null]}', NULL),
  (DEFAULT, 127, 9223372036854775807, 0, 0.00001, -1.5, 'plain', REPEAT('long ', 20000), '', '1000-01-01',
   '1000-01-01 00:00:00', '00:00:00', 'a', '', b'0', '"text"', NULL),
  (DEFAULT, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""  # fmt: skip


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


@pytest.fixture
def table(server: Server, connect: Sessions) -> Iterator[str]:
    """The name of a table with three rows of every type."""
    server.query("DROP TABLE IF EXISTS app.matrix")
    server.query(f"CREATE TABLE app.matrix ({COLUMNS}) CHARACTER SET utf8mb4")
    server.query(f"INSERT INTO app.matrix VALUES {ROWS}")
    yield "matrix"
    connect.close()  # or they would still have their locks
    server.query("DROP TABLE app.matrix")


def test_values_come_back(driver: Driver, connect: Sessions, through_both: Endpoint, direct: Endpoint, table: str):
    session, peer = connect(driver, through_both), connect(driver, direct)
    sql = f"SELECT {SELECTED} FROM {table} WHERE id < %s ORDER BY id"
    rows = session.query(sql, [99])
    assert rows == peer.query(sql, [99])
    assert [row[6:8] for row in rows] == [("f\u00fcr \U0001f40e", ""), ("plain", "long " * 20000), (None, None)]


def test_parameters_arrive(driver: Driver, connect: Sessions, through: Endpoint, direct: Endpoint, table: str):
    session, peer = connect(driver, through), connect(driver, direct)
    sql = f"INSERT INTO {table} (large, inexact, word, exact, day, nothing) VALUES (%s, %s, %s, %s, %s, %s)"
    affected, inserted = session.execute(sql, [1 << 53, 0.5, 'it\'s \\ "quoted" \u20ac', "-12.5", "2024-02-29", None])
    session.commit()
    assert (affected, inserted) == (1, 4)
    check = f"SELECT large, inexact, word, exact, day, nothing FROM {table} WHERE id = %s"
    assert session.query(check, [4]) == peer.query(check, [4])
    assert session.query(check, [4])[0][2] == 'it\'s \\ "quoted" \u20ac'


def test_the_same_statement_again_and_again(driver: Driver, connect: Sessions, through: Endpoint):
    session = connect(driver, through)
    assert [session.query("SELECT %s", [number])[0] for number in range(20)] == [(number,) for number in range(20)]


def test_transactions(driver: Driver, connect: Sessions, through_both: Endpoint, direct: Endpoint, table: str):
    session, peer = connect(driver, through_both), connect(driver, direct)
    for word, end in (("rolled back", session.rollback), ("committed", session.commit)):
        session.begin()
        session.execute(f"INSERT INTO {table} (word) VALUES (%s)", [word])
        assert session.query(f"SELECT COUNT(*) FROM {table}") == [(4,)]
        end()
    assert peer.query(f"SELECT word FROM {table} WHERE id > 3") == [("committed",)]


def test_what_is_not_committed_is_gone_with_its_client(
    driver: Driver, connect: Sessions, through: Endpoint, direct: Endpoint, table: str
):
    session = connect(driver, through)
    session.begin()
    session.execute(f"INSERT INTO {table} (word) VALUES ('left behind')")
    connect.leave(session)
    following = connect(driver, through)
    assert following.query(f"SELECT COUNT(*) FROM {table}") == [(3,)]


ERRORS = {
    "SELEC 1": 1064,
    "SELECT * FROM nosuch": 1146,
    "SELECT nosuch FROM matrix": 1054,
    "INSERT INTO matrix (word) VALUES ('plain')": 1062,
    "INSERT INTO matrix (small) VALUES (999)": 1264,
    "INSERT INTO matrix (small) VALUES ((SELECT 1 UNION SELECT 2))": 1242,
    "SELECT * FROM nosuch.matrix": 1142,
    "CALL nosuch()": 1305,
}


def outcome(session: Session, sql: str) -> tuple[int, str, str]:
    with pytest.raises(Failure) as caught:
        session.execute(sql)
    session.rollback()  # of the locks that a failed INSERT leaves
    return caught.value.args


def test_errors_are_those_of_the_database(driver: Driver, connect: Sessions, through: Endpoint, direct: Endpoint, table: str):
    session, peer = connect(driver, through), connect(driver, direct)
    for sql, errno in ERRORS.items():
        seen = outcome(session, sql)
        assert seen == outcome(peer, sql)
        assert seen[0] == errno
    assert session.query("SELECT 1") == [(1,)]


def refusal(driver: Driver, endpoint: Endpoint) -> int:
    with pytest.raises(Failure) as caught:
        driver.connect(endpoint).close()
    return caught.value.errno


def test_refused_logins(driver: Driver, connect: Sessions, through: Endpoint, direct: Endpoint):
    for change, errno in (({"user": "nobody"}, 1045), ({"database": "nosuch"}, 1044)):
        assert refusal(driver, dataclasses.replace(direct, **change)) == errno
        assert refusal(driver, dataclasses.replace(through, **change)) == errno
    session = connect(driver, through)
    assert session.query("SELECT 1") == [(1,)]


def test_several_result_sets(driver: Driver, connect: Sessions, through: Endpoint, server: Server):
    server.query("DROP PROCEDURE IF EXISTS app.several")
    server.query("CREATE PROCEDURE app.several () BEGIN SELECT 1; DO 0; SELECT 2, 'two' UNION ALL SELECT 3, NULL; END")
    session = connect(driver, through)
    assert session.results("CALL several()") == [[(1,)], [(2, "two"), (3, None)]]
    assert session.query("SELECT 4") == [(4,)]


def test_several_connections_each_with_its_own_session(driver: Driver, connect: Sessions, through: Endpoint):
    sessions = [connect(driver, through) for _ in range(3)]
    for number, session in enumerate(sessions):
        session.execute(f"SET @mine = {number}")
    assert [session.query("SELECT @mine")[0] for session in sessions] == [(0,), (1,), (2,)]
    for session in sessions:
        connect.leave(session)
    following = connect(driver, through)
    assert following.query("SELECT @mine IS NULL") == [(1,)]


def test_connecting_again_finds_the_same_upstream(driver: Driver, connect: Sessions, through_one_upstream: Endpoint):
    def connection_id() -> int:
        session = connect(driver, through_one_upstream)
        [(found,)] = session.query("SELECT CONNECTION_ID()")
        connect.leave(session)
        return found

    assert len({connection_id() for _ in range(5)}) == 1


# mysql-connector-python cannot read rows of more than a packet by the binary protocol.
@pytest.mark.parametrize("driver", [name for name in DRIVERS if name != "connector-python prepared"], indirect=True)
def test_values_of_more_than_a_packet(driver: Driver, connect: Sessions, through: Endpoint):
    size = (1 << 24) + 1000
    session = connect(driver, through)
    [(length, value)] = session.query("SELECT LENGTH(%s), REPEAT('y', %s)", ["x" * size, size])
    assert int(length) == size
    assert len(value) == size
    assert session.query("SELECT 1") == [(1,)]
