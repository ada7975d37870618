"""A server process of ours: its own datadir, port and socket, all in one temporary folder."""

import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pymysql

from tests.servers import certificates
from tests.servers.guard import Guard
from tests.servers.programs import Daemon, cache
from tests.servers.server import Server, ServerError, accounts

_START_SECONDS = 60
_STOP_SECONDS = 30
# Small and quick rather than durable: a test that needs it otherwise says so in its options, which come later.
_COMMON = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--local-infile=1",
    "--skip-log-bin",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=2",
    "--max-connections=200",
]
_FLAVOR = {"mariadb": ["--innodb-log-file-size=32M"], "mysql": ["--mysqlx=OFF", "--innodb-redo-log-capacity=64M"]}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    Below the range from which the kernel takes the ports of outgoing connections, so that it stays free between a
    kill and a restart.
    """
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("no free port between 20000 and 32000")


class Local(Server):
    """A `mysqld` or `mariadbd` of this machine."""

    def __init__(self, daemon: Daemon, options: Sequence[str] = ()) -> None:
        super().__init__(daemon.flavor)
        self._daemon = daemon
        self._options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        template = _template(daemon)
        self._directory = Path(tempfile.mkdtemp(prefix=f"warmwire-{daemon.flavor}-"))
        _furnish(self._directory)
        try:
            shutil.copytree(template, self._directory / "data")
            try:
                made = certificates.make(self._directory / "tls")
            except certificates.CertificateError as error:
                raise ServerError(str(error)) from error
            self.ca_path = str(made.authority)
            self.socket = str(self._directory / "socket")
            self.port = free_port()
            self._launch()
            self.version = str(self.query("SELECT VERSION()")[0][0])
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerError(f"the {self.flavor} server is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote to its error log so far."""
        path = self._directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _launch(self) -> None:
        tls = self._directory / "tls"
        arguments = [
            *_arguments(self._daemon, self._directory),
            f"--port={self.port}",
            f"--ssl-ca={tls / 'ca.pem'}",
            f"--ssl-cert={tls / 'server.pem'}",
            f"--ssl-key={tls / 'server.key'}",
            *self._options,
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = _spawn(arguments, log.fileno())
        self._guard = Guard.of(self._process.pid, str(self._directory))
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.query("SELECT 1")
                return
            except pymysql.err.OperationalError as error:
                refused = error.args[0] not in (2002, 2003, 2013)
                if not refused and self._process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise ServerError(f"{self.flavor} did not start ({error}). Its log:\n{self.log[-4000:]}") from error

    def stop(self) -> None:
        """SIGTERM, wait, remove the files."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to the server's process."""
        if self._process is None:
            raise ServerError(f"the {self.flavor} server is not running")
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """The same data, port, socket, authority and options again."""
        if not self._directory.exists():
            raise ServerError(f"the {self.flavor} server was stopped: start another one")
        self._end(signal.SIGTERM)
        self._launch()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if how == signal.SIGTERM and self._process.poll() is None:
            self.forget_admin()
        _finish(self._process, how)
        self._process = None
        self.forget_admin()
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None


def _furnish(directory: Path) -> None:
    for name in ("tmp", "files"):
        (directory / name).mkdir()


def _arguments(daemon: Daemon, directory: Path) -> list[str]:
    """The command line that keeps a server inside `directory`: data, socket, pid file, temporary and exported files."""
    return [
        daemon.path,
        "--no-defaults",
        *daemon.arguments,
        *_user(),
        f"--datadir={directory / 'data'}",
        f"--socket={directory / 'socket'}",
        f"--pid-file={directory / 'pid'}",
        f"--tmpdir={directory / 'tmp'}",
        f"--secure-file-priv={directory / 'files'}",
        *_COMMON,
        *_FLAVOR[daemon.flavor],
    ]


def _user() -> list[str]:
    """Both servers refuse to run as root unless told to; the folder is root's own, so it is the simplest that works."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _spawn(arguments: list[str], log: int) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C at the terminal is for the tests, which then stop the server in order.
    return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)


def _finish(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_SECONDS)


# The template: a datadir with the accounts in it, made once for each version and recipe.


def _template(daemon: Daemon) -> Path:
    recipe = repr((accounts(daemon.flavor), _COMMON, _FLAVOR[daemon.flavor], _initialise_command(daemon, Path("/d"))))
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:10]
    templates = cache() / "templates"
    template = templates / f"{daemon.flavor}-{daemon.version}-{digest}"
    if template.exists():
        return template
    templates.mkdir(parents=True, exist_ok=True)
    with _locked(templates / "lock"):
        if not template.exists():
            # Made in the temporary folder, since Ubuntu's AppArmor profile confines its mysqld to that.
            with tempfile.TemporaryDirectory(prefix=f"warmwire-{daemon.flavor}-") as scratch:
                _prepare(daemon, Path(scratch))
                partial = template.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(Path(scratch) / "data", partial)
                partial.rename(template)
    return template


def _initialise_command(daemon: Daemon, directory: Path) -> list[str]:
    if daemon.flavor == "mysql":
        return [*_arguments(daemon, directory), "--initialize-insecure"]
    script = daemon.home / "bin/mariadb-install-db"
    if not script.exists():
        script = daemon.home / "scripts/mariadb-install-db"
    return [
        "/bin/sh", str(script), "--no-defaults", *_user(), f"--datadir={directory / 'data'}",
        "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--force",
        *([f"--basedir={daemon.home}"] if daemon.tree else []),
    ]  # fmt: skip


def _prepare(daemon: Daemon, directory: Path) -> None:
    """Initialise `directory`/data and run the server on it once, without network, to make the accounts."""
    _furnish(directory)
    log = directory / "log"
    arguments = _arguments(daemon, directory)
    done = subprocess.run(
        _initialise_command(daemon, directory), capture_output=True, text=True, timeout=120, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise ServerError(f"{daemon.path} could not initialise a datadir:\n{(done.stdout + done.stderr)[-4000:]}")
    statements = directory / "accounts.sql"
    statements.write_text("".join(f"{statement};\n" for statement in accounts(daemon.flavor)))
    with log.open("wb") as output:
        process = _spawn([*arguments, "--skip-networking", f"--init-file={statements}"], output.fileno())
    guard = Guard.of(process.pid)
    try:
        deadline = time.monotonic() + _START_SECONDS
        # The init file has been carried out by then.
        while b"ready for connections" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{daemon.path} did not start. Its log:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.02)
    finally:
        _finish(process, signal.SIGTERM)
        guard.dismiss()
    # The server's own identity: every copy makes itself a new one.
    (directory / "data" / "auto.cnf").unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
