"""The built layer with a function that uses PyMySQL, in our emulator, on a real server."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers import Server
from tests.servers.local import free_port
from warmwire.emulator.environment import Environment
from warmwire.emulator.variables import Function

pytestmark = pytest.mark.lambda_runtime

ROOT = Path(__file__).resolve().parents[2]
INVOCATIONS = 50
FREEZE = 0.02
SETTLE = 10.0


# Servers of our own: the shared ones have other tests' connections and counters.
@pytest.fixture(scope="module")
def own_mariadb():
    with Server.start("mariadb") as server:
        yield server


@pytest.fixture(scope="module")
def own_mysql():
    with Server.start("mysql") as server:
        yield server


@pytest.fixture(params=["own_mariadb", "own_mysql"])
def database(request):
    """A server with an empty table `app.t`, and no connections of `app`."""
    server = request.getfixturevalue(request.param)
    server.query("DROP TABLE IF EXISTS app.t")
    server.query("CREATE TABLE app.t (id INT PRIMARY KEY, v INT)")
    server.query("INSERT INTO app.t VALUES (1, 0)")
    yield server
    until(lambda: not server.connection_ids("app"))


def until(condition):
    deadline = time.monotonic() + SETTLE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def lambda_environment(layer, tmp_path):
    """`lambda_environment(server, WARMWIRE_POOL_MAX="2", …)`: an environment of the function and the layer."""
    environments = []

    def make(server, *, timeout=10.0, telemetry=True, **variables):
        folder = tmp_path / f"function-{len(environments)}"
        folder.mkdir()
        shutil.copy(Path(__file__).parent / "function.py", folder)
        chosen = {**settings_for(server, tmp_path), **variables}
        function = Function(directory=folder, handler="function.handler", timeout=timeout, variables=chosen)
        environments.append(Environment(function, layer, telemetry=telemetry))
        return environments[-1]

    yield make
    for environment in environments:
        environment.close()


def settings_for(server, folder):
    tls = {"WARMWIRE_DB_TLS_CA": server.ca_path} if server.ca_path else {"WARMWIRE_DB_TLS": "required"}
    return {
        "WARMWIRE_DB_URL": server.url(),
        "WARMWIRE_PORT": str(free_port()),
        "WARMWIRE_SOCKET": str(folder / "s"),
        **tls,
    }


def do(environment, action, *arguments, **options):
    """One invocation; its result, which must be a success."""
    invocation = environment.invoke({"do": action, "with": arguments, "options": options})
    assert invocation.succeeded, (invocation.status, invocation.response, text_of(environment.log))
    return invocation.json()


def text_of(log):
    return "\n".join(f"{line.source}: {line.text}" for line in log)


def rollbacks(log):
    return [line.text for line in log if line.source == "extension warmwire" and "rolled back" in line.text]


def open_transactions(server):
    [(count,)] = server.query("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id > 0")
    return count


def test_fifty_invocations_use_one_connection_and_leave_none(database, lambda_environment):
    environment = lambda_environment(database)
    opened, aborted = database.status("Connections"), database.status("Aborted_clients")
    seen = set()
    for _ in range(INVOCATIONS):
        seen.add(do(environment, "connection_id"))
        environment.freeze()
        time.sleep(FREEZE)
        assert database.connection_ids() == seen
    assert len(seen) == 1
    assert environment.shutdown().clean, text_of(environment.log)
    until(lambda: not database.connection_ids())
    assert database.status("Connections") - opened == 1
    assert database.status("Aborted_clients") == aborted
    assert "warning" not in text_of(environment.log).lower()


def test_a_transaction_left_open_is_rolled_back_before_the_freeze_and_logged(database, lambda_environment):
    environment = lambda_environment(database)
    do(environment, "connection_id")
    event = {"do": "keep", "with": [["BEGIN", "UPDATE t SET v = 1 WHERE id = 1", "SELECT 1"]]}
    invocation = environment.invoke(event)
    assert invocation.succeeded, text_of(environment.log)
    environment.freeze()
    assert open_transactions(database) == 0
    # The row is free for others, while everything is frozen.
    database.query("SET SESSION innodb_lock_wait_timeout = 1")
    database.query("UPDATE app.t SET v = 2 WHERE id = 1")
    assert database.query("SELECT v FROM app.t") == [(2,)]
    [line] = rollbacks(invocation.log)
    assert invocation.request_id in line
    # The client whose transaction it was is told, once, and can go on.
    error = do(environment, "error_of_use", "UPDATE t SET v = 3 WHERE id = 1")
    assert error["errno"] in (1402, 1213) and "rolled back" in error["text"]
    assert do(environment, "use_kept", "SELECT v FROM t") == [[2]]


def test_a_handler_that_raises_leaves_no_transaction_either(database, lambda_environment):
    environment = lambda_environment(database)
    event = {"do": "keep_and_raise", "with": [["BEGIN", "UPDATE t SET v = 1"]]}
    invocation = environment.invoke(event)
    assert invocation.status == "error" and invocation.json()["errorType"] == "ValueError"
    environment.freeze()
    assert open_transactions(database) == 0
    assert invocation.request_id in rollbacks(invocation.log)[0]
    assert do(environment, "error_of_use", "SELECT 1")["errno"] in (1402, 1213)


@pytest.mark.parametrize(
    ("before", "running"),
    [
        (["BEGIN", "UPDATE t SET v = 1"], "SELECT SLEEP(30)"),
        (["SET autocommit = 0"], "UPDATE t SET v = 1 + SLEEP(30) WHERE id = 1"),  # it begins the transaction itself
    ],
)
def test_a_statement_that_runs_on_in_a_transaction_is_given_up_before_the_freeze(
    database, lambda_environment, before, running
):
    environment = lambda_environment(database)
    invocation = environment.invoke({"do": "keep_running", "with": [before, running]})
    assert invocation.succeeded, text_of(environment.log)
    environment.freeze()
    until(lambda: open_transactions(database) == 0)  # the server sees within seconds that its client has gone
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert do(environment, "connection_id") in database.connection_ids()


def test_a_transaction_that_only_read_ends_silently(database, lambda_environment):
    environment = lambda_environment(database)
    do(environment, "keep", ["BEGIN", "SELECT v FROM t"])
    environment.freeze()
    assert open_transactions(database) == 0
    assert rollbacks(environment.log) == []
    assert do(environment, "use_kept", "SELECT v FROM t") == [[0]]


def test_the_function_can_connect_during_its_init(database, lambda_environment):
    environment = lambda_environment(database, CONNECT_AT_INIT="1")
    number = do(environment, "connection_id")
    assert f"function: connected during Init as {number}" in text_of(environment.log)


def test_the_unix_socket_leads_to_the_same_connection(database, lambda_environment, tmp_path):
    environment = lambda_environment(database)
    number = do(environment, "connection_id")
    assert do(environment, "connection_id", socket=str(tmp_path / "s")) == number


def test_connections_above_the_pool_size_are_closed_when_the_invocation_ends(database, lambda_environment):
    environment = lambda_environment(database, WARMWIRE_POOL_SIZE="1", WARMWIRE_POOL_MAX="3")
    aborted = database.status("Aborted_clients")
    numbers = do(environment, "several", 3)
    assert len(set(numbers)) == 3
    environment.freeze()
    until(lambda: len(database.connection_ids()) == 1)
    assert database.connection_ids() < set(numbers)
    assert database.status("Aborted_clients") == aborted


def test_a_connection_killed_during_a_freeze_is_replaced_unnoticed(database, lambda_environment):
    environment = lambda_environment(database)
    number = do(environment, "connection_id")
    environment.freeze()
    database.query(f"KILL {number}")
    until(lambda: not database.connection_ids())
    assert do(environment, "connection_id") != number
    assert len(database.connection_ids()) == 1


def test_without_telemetry_everything_else_works(database, lambda_environment):
    environment = lambda_environment(database, telemetry=False)
    aborted = database.status("Aborted_clients")
    assert len({do(environment, "connection_id") for _ in range(3)}) == 1
    assert environment.shutdown().clean
    until(lambda: not database.connection_ids())
    assert database.status("Aborted_clients") == aborted


@pytest.mark.parametrize(
    ("settings", "errno", "words"),
    [
        ({"WARMWIRE_POOL_SIZE": "many"}, 1105, ["WARMWIRE_POOL_SIZE", "many"]),
        ({"WARMWIRE_POOL_SIEZ": "1"}, 1105, ["WARMWIRE_POOL_SIEZ"]),
        ({"WARMWIRE_DB_HOST": "127.0.0.1", "WARMWIRE_DB_PORT": "1"}, 1105, ["127.0.0.1:1"]),
        ({"WARMWIRE_DB_HOST": "nowhere.invalid"}, 1105, ["nowhere.invalid"]),
        ({"WARMWIRE_DB_PASSWORD": "wrong"}, 1045, ["app"]),
        ({"WARMWIRE_DB_TLS": "verify-full", "WARMWIRE_DB_TLS_CA": ""}, 1105, ["certificate"]),
    ],
)
def test_what_is_wrong_with_the_database_is_told_to_the_client_and_not_to_init(
    own_mariadb, lambda_environment, settings, errno, words
):
    environment = lambda_environment(own_mariadb, **settings)
    assert environment.init().succeeded
    error = do(environment, "error_of_connect")
    assert error["errno"] == errno
    for word in words:
        assert word in error["text"]
    assert environment.shutdown().clean
    assert own_mariadb.connection_ids() == set()


def test_a_timeout_during_a_statement_leaves_nothing_at_the_server(database, lambda_environment):
    environment = lambda_environment(database, timeout=2.0)
    do(environment, "connection_id")
    statements = ["BEGIN", "UPDATE t SET v = 1", "UPDATE t SET v = SLEEP(60) WHERE id = 1"]
    invocation = environment.invoke({"do": "keep", "with": [statements]})
    assert invocation.status == "timeout" and invocation.shutdown.clean, text_of(environment.log)
    until(lambda: not database.connection_ids())
    assert open_transactions(database) == 0
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert do(environment, "connection_id") in database.connection_ids()


def test_a_timeout_between_statements_leaves_nothing_at_the_server(database, lambda_environment):
    environment = lambda_environment(database, timeout=2.0)
    aborted = database.status("Aborted_clients")
    invocation = environment.invoke({"do": "keep_and_hang", "with": [["BEGIN", "UPDATE t SET v = 1"]]})
    assert invocation.status == "timeout" and invocation.shutdown.clean, text_of(environment.log)
    until(lambda: not database.connection_ids())
    assert open_transactions(database) == 0
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert database.status("Aborted_clients") == aborted


def test_a_crash_of_the_function_leaves_nothing_at_the_server(database, lambda_environment):
    environment = lambda_environment(database)
    aborted = database.status("Aborted_clients")
    first = do(environment, "connection_id")
    invocation = environment.invoke({"do": "exit_within", "with": [["BEGIN", "UPDATE t SET v = 1"]]})
    assert invocation.status == "failure" and invocation.shutdown.clean, text_of(environment.log)
    until(lambda: not database.connection_ids())
    assert open_transactions(database) == 0
    assert database.query("SELECT v FROM app.t") == [(0,)]
    assert database.status("Aborted_clients") == aborted
    # The same environment goes on with new processes; the port and the socket are free for them.
    assert do(environment, "connection_id") != first


def test_the_log_is_json_and_names_no_password(database, lambda_environment):
    environment = lambda_environment(database, WARMWIRE_LOG_LEVEL="debug")
    do(environment, "connection_id")
    environment.shutdown()
    lines = [line.text for line in environment.log if line.source == "extension warmwire"]
    assert lines
    for line in lines:
        assert set(json.loads(line)) >= {"timestamp", "level", "message", "logger"}
        assert "app-secret-1" not in line


def test_the_command_runs_the_layers_zip(database, layer, tmp_path):
    shutil.copy(Path(__file__).parent / "function.py", tmp_path)
    options = ["--layer", ROOT / "dist" / "warmwire-layer.zip", "--function", tmp_path, "--handler", "function.handler"]
    options += ["--event", '{"do": "connection_id"}', "-n", "3", "--idle", "0.1", "--timeout", "10", "--json"]
    for name, value in settings_for(database, tmp_path).items():
        options += ["--env", f"{name}={value}"]
    command = [sys.executable, "-m", "warmwire", "emulate", *options]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert finished.returncode == 0, finished.stderr
    document = json.loads(finished.stdout)
    assert len({invocation["response"]["payload"] for invocation in document["invocations"]}) == 1
    assert document["shutdown"]["clean"] is True
    until(lambda: not database.connection_ids())
