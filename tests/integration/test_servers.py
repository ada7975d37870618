"""The servers of the tests are what the tests believe them to be, and leave nothing behind."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from tests.servers import FLAVORS, Server, ServerError, certificates, find, provision
from tests.servers.local import Local
from tests.servers.programs import REPOSITORY, cache

PLUGINS = {"mariadb": "mysql_native_password", "mysql": "caching_sha2_password"}


def gone(pid: int) -> bool:
    """Whether there is no such process, or only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_it_is_the_flavor_asked_for(server: Server) -> None:
    assert server.query("SELECT VERSION()") == [(server.version,)]
    assert ("MariaDB" in server.version) == (server.flavor == "mariadb")
    assert server.flavor in find()


def test_the_application_has_its_databases_and_nothing_else(server: Server) -> None:
    with server.connect("app") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER(), DATABASE(), @@local_infile")
        assert cursor.fetchone() == ("app@%", "app", 1)
        cursor.execute("CREATE TEMPORARY TABLE app2.mine (a INT)")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("SELECT COUNT(*) FROM mysql.user")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("FLUSH TABLES")


@pytest.mark.parametrize("user", ["app", "app_empty"])
def test_the_accounts_log_in_as_they_do_on_a_managed_database(server: Server, user: str) -> None:
    server.connect(user).close()
    plugins = dict(server.query("SELECT user, plugin FROM mysql.user"))
    assert plugins[user] == PLUGINS[server.flavor]


def test_a_wrong_password_is_refused(server: Server) -> None:
    for user in ("app", "app_empty", "root"):
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            server.connect(user, "wrong")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_its_certificate_is_good_for_its_names_and_its_authority_only(server: Server, name: str, tmp_path: Path) -> None:
    def connect(authority: str) -> None:
        context = ssl.create_default_context(cafile=authority)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        with (
            pymysql.connect(
                host=name, port=server.port, user="app", password="app-secret-1", ssl=context, connect_timeout=10
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_version'")
            assert str(cursor.fetchall()[0][1]).startswith("TLSv1.")

    assert server.ca_path, "started elsewhere: give its authority as ?ca=/path in the URL"
    connect(server.ca_path)
    with pytest.raises(pymysql.err.OperationalError, match="verify failed"):
        connect(str(certificates.make(tmp_path).authority))


def test_it_is_asked_without_disturbing_what_it_counts(server: Server) -> None:
    server.query("SELECT 1")
    before = server.status("Connections")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        mine = cursor.fetchall()[0][0]
        assert mine in server.connection_ids("app")
        assert server.status("Connections") == before + 1
    assert wait_until(lambda: mine not in server.connection_ids("app"))
    with pytest.raises(ServerError, match="No_such_variable"):
        server.status("No_such_variable")


@pytest.mark.server
@pytest.mark.parametrize("flavor", FLAVORS)
def test_it_comes_back_with_its_data_and_leaves_nothing_when_stopped(flavor: str) -> None:
    own = Server.start(flavor, ["--max-connections=17"])
    with own:
        assert isinstance(own, Local)
        files, first = Path(own.socket).parent, own.pid
        assert own.query("SELECT @@max_connections") == [(17,)]
        own.query("CREATE TABLE app.kept (a INT PRIMARY KEY) ENGINE=InnoDB")
        own.query("INSERT INTO app.kept VALUES (1)")
        port = own.port

        own.restart()
        assert (own.port, own.query("SELECT a FROM app.kept")) == (port, [(1,)])
        assert gone(first)

        client = own.connect()
        own.kill()
        with pytest.raises(pymysql.err.OperationalError):
            client.ping(reconnect=False)
        own.restart()
        assert own.query("SELECT a FROM app.kept") == [(1,)]

        pymysql.connect(unix_socket=own.socket, user="app", password="app-secret-1").close()
        last = own.pid
    own.stop()
    assert gone(last)
    assert not files.exists()
    with pytest.raises(ServerError, match="stopped"):
        own.restart()


@pytest.mark.server
def test_it_ends_with_the_process_that_started_it() -> None:
    script = (
        "import sys, time\nfrom tests.servers import Server\n"
        "s = Server.start('mariadb')\nprint(s.pid, s.socket, flush=True)\ntime.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    with starter:
        assert starter.stdout is not None
        pid, path = starter.stdout.readline().split()
        assert not gone(int(pid))
        os.kill(starter.pid, signal.SIGKILL)
    assert wait_until(lambda: gone(int(pid)))
    assert wait_until(lambda: not Path(path).parent.exists())


def test_a_server_started_elsewhere_is_used_and_left_alone(mariadb: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = mariadb.url("root", database="") + f"?ca={mariadb.ca_path}"
    monkeypatch.setenv("WARMWIRE_TEST_MARIADB_URL", url)
    with Server.start("mariadb") as same:
        assert (same.port, same.version) == (mariadb.port, mariadb.version)
        assert same.query("SELECT 1") == [(1,)]
        for refused in (same.stop, same.kill, same.restart):
            with pytest.raises(ServerError, match="WARMWIRE_TEST_MARIADB_URL is set"):
                refused()
        with pytest.raises(ServerError, match="options cannot be given"):
            Server.start("mariadb", ["--max-connections=17"])
    assert mariadb.query("SELECT 1") == [(1,)]


def test_what_is_missing_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARMWIRE_CACHE", str(tmp_path))
    monkeypatch.setattr("tests.servers.programs.SEARCHED", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find() == ()
    with pytest.raises(ServerError, match=r"python -m tests\.servers\.provision --mysql"):
        Server.start("mysql")
    assert provision.main(["--mysql"]) == 1
    assert "WARMWIRE_TEST_MYSQL_URL" in capsys.readouterr().err


@pytest.mark.server
@pytest.mark.parametrize("flavor", FLAVORS)
def test_what_is_there_is_not_fetched_again(flavor: str, capsys: pytest.CaptureFixture[str]) -> None:
    trees = cache() / "trees"
    before = {path: path.stat().st_mtime_ns for path in trees.glob("*")}
    assert provision.main([f"--{flavor}"]) == 0
    assert capsys.readouterr().out.startswith(f"{flavor}: there")
    assert {path: path.stat().st_mtime_ns for path in trees.glob("*")} == before
