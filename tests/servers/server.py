"""What every test server can do, whether it is a process of ours, a container or somebody else's server."""

import abc
import os
import select
import ssl
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pymysql
from pymysql.connections import Connection

from tests.servers import programs

ROOT_PASSWORD = "root-secret-1"
APP_PASSWORD = "app-secret-1"
_PLUGIN = {"mariadb": "mysql_native_password", "mysql": "caching_sha2_password"}
_URL = {flavor: f"WARMWIRE_TEST_{flavor.upper()}_URL" for flavor in programs.FLAVORS}


class ServerError(Exception):
    """A server could not be started or asked; the text says why and what to do."""


def accounts(flavor: str) -> list[str]:
    """The statements, one a line, that make the databases and accounts of the tests. They can be repeated."""
    identified = {
        "mariadb": "IDENTIFIED VIA {plugin} USING PASSWORD('{password}')",
        "mysql": "IDENTIFIED WITH {plugin} BY '{password}'",
    }[flavor]
    root = identified.format(plugin=_PLUGIN[flavor], password=ROOT_PASSWORD)
    return [
        "CREATE DATABASE IF NOT EXISTS app CHARACTER SET utf8mb4",
        "CREATE DATABASE IF NOT EXISTS app2 CHARACTER SET utf8mb4",
        *(
            statement
            for user, password in (("app", APP_PASSWORD), ("app_empty", ""))
            for statement in (
                f"CREATE USER IF NOT EXISTS '{user}'@'%' " + identified.format(plugin=_PLUGIN[flavor], password=password),
                f"GRANT ALL ON app.* TO '{user}'@'%'",
                f"GRANT ALL ON app2.* TO '{user}'@'%'",
            )
        ),
        f"CREATE USER IF NOT EXISTS 'root'@'%' {root}",
        "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION",
        f"ALTER USER 'root'@'localhost' {root}",
        # MariaDB makes these without a password, and they come before 'root'@'%'.
        "DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1', ''@'localhost'",
    ]


class Server(abc.ABC):
    """A running server.

    `ca_path` is the PEM file of the authority that signed its certificate for localhost, 127.0.0.1 and ::1, `socket`
    its unix socket; both are empty where there is none. `version` is what `SELECT VERSION()` says. The accounts `app`
    (password `app-secret-1`) and `app_empty` (no password) have all rights on the databases `app` and `app2` and none
    elsewhere.
    """

    flavor: str
    version: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    socket: str = ""
    ca_path: str = ""
    root_user: str = "root"
    root_password: str = ROOT_PASSWORD

    def __init__(self, flavor: str) -> None:
        self.flavor = flavor
        self._lock = threading.Lock()
        self._admin: Connection[Any] | None = None

    @staticmethod
    def start(flavor: str, options: Sequence[str] = ()) -> "Server":
        """Start a private server of this flavor with additional `options` (as on the command line of the daemon).

        Takes about a second once a datadir of that version was prepared. With `WARMWIRE_TEST_<FLAVOR>_URL` set
        (mysql://root:password@host:port, optionally ?ca=/path/of/ca.pem) it is that server instead.
        """
        if flavor not in programs.FLAVORS:
            raise ServerError(f"{flavor!r} is none of {', '.join(programs.FLAVORS)}")
        if os.environ.get(_URL[flavor]):
            if options:
                raise ServerError(f"{_URL[flavor]} is set: options cannot be given to a server started elsewhere")
            return External(flavor, os.environ[_URL[flavor]])
        # Imported here since both build on this class.
        from tests.servers.container import Container
        from tests.servers.local import Local

        if (daemon := programs.daemon(flavor)) is not None:
            return Local(daemon, options)
        if (docker := programs.docker()) is not None:
            return Container(docker, flavor, options)
        raise ServerError(
            f"no {flavor} server here: run `python -m tests.servers.provision --{flavor}`, "
            f"or set {_URL[flavor]} to mysql://root:password@host:port"
        )

    def url(self, user: str = "app", password: str | None = None, database: str = "app") -> str:
        """`mysql://user:password@host:port/database`; without a password that of the account named."""
        if password is None:
            password = {"app": APP_PASSWORD, self.root_user: self.root_password}.get(user, "")
        return f"mysql://{quote(user, '')}:{quote(password, '')}@{self.host}:{self.port}/{quote(database, '')}"

    def connect(self, user: str = "app", password: str | None = None, database: str = "app") -> "Connection[Any]":
        """A PyMySQL connection straight to this server, over TLS (verified where `ca_path` is known)."""
        parts = urlsplit(self.url(user, password, database))
        context = ssl.create_default_context(cafile=self.ca_path or None)
        if not self.ca_path:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=user,
            password=unquote(parts.password or ""),
            database=database or None,
            charset="utf8mb4",
            autocommit=True,
            ssl=context,
            connect_timeout=10,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of one statement on a connection of root's that is kept open."""
        with self._lock:
            admin = self._live_admin()
            with admin.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())

    def _live_admin(self) -> "Connection[Any]":
        # Nothing arrives on an idle connection but its end. (A ping would show in the server's counters.)
        admin = self._admin
        if admin is not None and admin.open and not select.select([admin._sock], [], [], 0)[0]:  # type: ignore[attr-defined]
            return admin
        if admin is not None and admin.open:
            admin.close()
        self._admin = self.connect(self.root_user, database="")
        return self._admin

    def status(self, name: str) -> int:
        """A global status variable, as in `status("Aborted_clients")`."""
        rows = self.query(f"SHOW GLOBAL STATUS LIKE '{name}'")
        if not rows:
            raise ServerError(f"{self.flavor} {self.version} has no status variable {name}")
        return int(rows[0][1])

    def connection_ids(self, user: str = "app") -> set[int]:
        """The ids of the connections that `user` has open now."""
        return {int(row[0]) for row in self.query("SHOW PROCESSLIST") if row[1] == user}

    def forget_admin(self) -> None:
        """Close root's connection, in order, so that it does not count as aborted."""
        with self._lock:
            if self._admin is not None and self._admin.open:
                self._admin.close()
            self._admin = None

    @abc.abstractmethod
    def stop(self) -> None:
        """End it in order and remove its files. Done twice it does nothing."""

    @abc.abstractmethod
    def kill(self) -> None:
        """SIGKILL: it has no time to say anything to its clients. `restart` brings it back with its data."""

    @abc.abstractmethod
    def restart(self) -> None:
        """Start it again at the same port with its data; in order first, if it is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class External(Server):
    """A server that was started elsewhere and stays. Its root gives it the tests' databases and accounts."""

    def __init__(self, flavor: str, url: str) -> None:
        super().__init__(flavor)
        parts = urlsplit(url)
        if parts.scheme != "mysql" or not parts.hostname:
            raise ServerError(f"{_URL[flavor]} should be mysql://root:password@host:port")
        self.host = parts.hostname
        self.port = parts.port or 3306
        self.root_user = unquote(parts.username or "root")
        self.root_password = unquote(parts.password or "")
        self.ca_path = parse_qs(parts.query).get("ca", [""])[0]
        try:
            self.version = str(self.query("SELECT VERSION()")[0][0])
            for statement in accounts(flavor):
                if "'root'" not in statement:
                    self.query(statement)
        except pymysql.err.Error as error:
            raise ServerError(f"the server of {_URL[flavor]} at {self.host}:{self.port}: {error}") from error

    def stop(self) -> None:
        """Refused: it is not ours."""
        raise self._refused("stopped")

    def kill(self) -> None:
        """Refused: it is not ours."""
        raise self._refused("killed")

    def restart(self) -> None:
        """Refused: it is not ours."""
        raise self._refused("restarted")

    def _refused(self, what: str) -> ServerError:
        return ServerError(f"{_URL[self.flavor]} is set: a server started elsewhere is not {what} by the tests")

    def __exit__(self, *raised: object) -> None:
        self.forget_admin()


def find() -> tuple[str, ...]:
    """The flavors that `Server.start` can start right now without installing anything.

    Docker counts when its daemon answers, although it may have to pull the image first.
    """

    def here(flavor: str) -> bool:
        own = programs.daemon(flavor) is not None and programs.program("openssl") is not None
        return own or bool(os.environ.get(_URL[flavor]))

    found = tuple(flavor for flavor in programs.FLAVORS if here(flavor))
    return programs.FLAVORS if len(found) < len(programs.FLAVORS) and programs.docker() else found
