"""The built layer with a function that uses PyMySQL, under AWS's own emulator, on a real server.

RIE refuses telemetry, so the ends of invocations are not seen here, and it never freezes: tests/e2e/test_layer_in_emulator.py
has those. What is tested is that AWS's code starts, invokes and ends the very same files.
"""

import shutil
import time
from pathlib import Path

import pytest

from tests.rie import Rie
from tests.servers import Server
from tests.servers.local import free_port

pytestmark = pytest.mark.lambda_runtime

SETTLE = 10.0


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def own_server(request):
    # The shared ones have other tests' connections and counters.
    with Server.start(request.param) as server:
        yield server


@pytest.fixture
def database(own_server):
    own_server.query("DROP TABLE IF EXISTS app.t")
    own_server.query("CREATE TABLE app.t (id INT PRIMARY KEY, v INT)")
    own_server.query("INSERT INTO app.t VALUES (1, 0)")
    return own_server


@pytest.fixture
def rie(layer, tmp_path, database):
    """`rie(timeout=10, WARMWIRE_POOL_MAX="2", …)`: AWS's emulator with the function and the layer."""
    folder = tmp_path / "function"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "function.py", folder)
    tls = {"WARMWIRE_DB_TLS_CA": database.ca_path} if database.ca_path else {"WARMWIRE_DB_TLS": "required"}
    settings = {
        "WARMWIRE_DB_URL": database.url(),
        "WARMWIRE_PORT": str(free_port()),
        "WARMWIRE_SOCKET": str(tmp_path / "s"),
        **tls,
    }
    started = []

    def start(timeout=10, **variables):
        rie = Rie(layer, folder, "function.handler", {**settings, **variables}, timeout=timeout)
        started.append(rie)
        return rie.__enter__()

    yield start
    for one in started:
        one.__exit__()


def until(condition):
    deadline = time.monotonic() + SETTLE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def do(rie, action, *arguments, **options):
    """One invocation; its result, which must be a success."""
    status, body = rie.invoke({"do": action, "with": arguments, "options": options})
    assert status == 200 and not (isinstance(body, dict) and "errorType" in body), (status, body, rie.log)
    assert "Task timed out" not in str(body), rie.log
    return body


def test_init_invocations_and_shutdown_use_one_connection_and_leave_none(database, rie):
    opened, aborted = database.status("Connections"), database.status("Aborted_clients")
    rie = rie()
    numbers = {do(rie, "connection_id") for _ in range(10)}
    assert len(numbers) == 1 and database.connection_ids() == numbers
    assert rie.terminate() == 0, rie.log
    until(lambda: not database.connection_ids())
    assert database.status("Connections") - opened == 1
    assert database.status("Aborted_clients") == aborted
    assert rie.processes() == []


def test_the_function_can_connect_during_its_init(rie):
    rie = rie(CONNECT_AT_INIT="1")
    number = do(rie, "connection_id")
    assert f"connected during Init as {number}" in rie.log


def test_sigterm_with_a_transaction_open_rolls_it_back_and_closes_in_order(database, rie):
    aborted = database.status("Aborted_clients")
    rie = rie()
    do(rie, "keep", ["BEGIN", "UPDATE t SET v = 1"])
    assert rie.terminate() == 0, rie.log
    until(lambda: not database.connection_ids())
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert database.status("Aborted_clients") == aborted


def test_a_timeout_of_the_function_is_followed_by_a_new_start(database, rie):
    rie = rie(timeout=3)
    status, body = rie.invoke({"do": "keep_and_hang", "with": [["BEGIN", "UPDATE t SET v = 1"]]})
    assert status == 200 and "Task timed out after 3.00 seconds" in str(body)
    until(lambda: not database.connection_ids())
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert do(rie, "connection_id") in database.connection_ids()


def test_a_crash_of_the_function_is_followed_by_a_new_start(database, rie):
    rie = rie()
    first = do(rie, "connection_id")
    assert rie.invoke({"do": "exit_within", "with": [["BEGIN", "UPDATE t SET v = 1"]]})[0] == 502
    until(lambda: not database.connection_ids())
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert do(rie, "connection_id") != first


@pytest.mark.parametrize(
    ("settings", "errno", "word"),
    [
        ({"WARMWIRE_POOL_SIZE": "many"}, 1105, "WARMWIRE_POOL_SIZE"),
        ({"WARMWIRE_DB_PORT": "1"}, 1105, ":1"),
        ({"WARMWIRE_DB_PASSWORD": "wrong"}, 1045, "app"),
    ],
)
def test_what_is_wrong_with_the_database_is_told_to_the_client(rie, settings, errno, word):
    rie = rie(**settings)
    error = do(rie, "error_of_connect")
    assert error["errno"] == errno and word in error["text"]
    assert rie.terminate() == 0, rie.log
