"""A server in a Docker container, where the machine has no server program of its own."""

import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pymysql

from tests.servers import certificates
from tests.servers.guard import Guard
from tests.servers.local import free_port
from tests.servers.server import ROOT_PASSWORD, Server, ServerError, accounts

IMAGES = {"mariadb": "mariadb:11.4", "mysql": "mysql:8.4"}
_START_SECONDS = 120


def pull(docker: str, flavor: str) -> None:
    """Have the image of this flavor on the machine. Raises ServerError with what Docker said."""
    if _docker(docker, "image", "inspect", IMAGES[flavor], check=False).returncode != 0:
        _docker(docker, "pull", "--quiet", IMAGES[flavor])


class Container(Server):
    """The official image of a flavor, with the same accounts, certificate and options as a local one."""

    def __init__(self, docker: str, flavor: str, options: Sequence[str] = ()) -> None:
        super().__init__(flavor)
        self._docker_command = docker
        self._name = f"warmwire-{flavor}-{uuid.uuid4().hex[:12]}"
        self._guard: Guard | None = None
        pull(docker, flavor)
        self._directory = Path(tempfile.mkdtemp(prefix=f"warmwire-{flavor}-"))
        try:
            self._create(list(options))
            self._launch("start")
            self.version = str(self.query("SELECT VERSION()")[0][0])
        except BaseException:
            self.stop()
            raise

    def _create(self, options: list[str]) -> None:
        # The container's own account has to get at these, whatever its number is.
        self._directory.chmod(0o755)
        tls, run = self._directory / "tls", self._directory / "run"
        try:
            made = certificates.make(tls)
        except certificates.CertificateError as error:
            raise ServerError(str(error)) from error
        made.key.chmod(0o644)
        run.mkdir()
        run.chmod(0o777)
        initial = self._directory / "initial"
        initial.mkdir()
        (initial / "accounts.sql").write_text("".join(f"{statement};\n" for statement in accounts(self.flavor)))
        self.ca_path = str(made.authority)
        self.port = free_port()
        if sys.platform == "linux":  # elsewhere Docker runs in a virtual machine: a socket does not cross over
            self.socket = str(run / "mysqld.sock")
        self._guard = Guard(
            [self._docker_command, "rm", "--force", "--volumes", self._name], ["rm", "-rf", str(self._directory)]
        )
        prefix = self.flavor.upper()
        self._run(
            "create", "--name", self._name, "--publish", f"127.0.0.1:{self.port}:3306",
            "--volume", f"{tls}:/tls:ro", "--volume", f"{run}:/run/mysqld",
            "--volume", f"{initial}:/docker-entrypoint-initdb.d:ro",
            "--env", f"{prefix}_ROOT_PASSWORD={ROOT_PASSWORD}", "--env", f"{prefix}_ROOT_HOST=%",
            IMAGES[self.flavor],
            "--ssl-ca=/tls/ca.pem", "--ssl-cert=/tls/server.pem", "--ssl-key=/tls/server.key",
            "--socket=/run/mysqld/mysqld.sock", "--local-infile=1", "--skip-name-resolve", "--max-connections=200",
            *options,
        )  # fmt: skip

    def _launch(self, command: str) -> None:
        self._run(command, self._name)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                # The images start a first time without network to make the accounts, so this is the real one.
                self.query("SELECT 1")
                return
            except pymysql.err.OperationalError as error:
                running = self._run("inspect", "--format", "{{.State.Running}}", self._name).strip() == "true"
                if running and time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                log = _docker(self._docker_command, "logs", "--tail", "40", self._name, check=False)
                raise ServerError(f"{self.flavor} did not start: {log.stdout}{log.stderr}") from error

    def stop(self) -> None:
        """Stop in order, remove the container and the files."""
        self.forget_admin()
        if self._guard is not None:
            _docker(self._docker_command, "stop", "-t", "30", self._name, check=False)
            _docker(self._docker_command, "rm", "--force", "--volumes", self._name, check=False)
            self._guard.dismiss()
            self._guard = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to the container's process."""
        self._run("kill", self._name)
        self.forget_admin()

    def restart(self) -> None:
        """The same container again."""
        self.forget_admin()
        self._launch("restart")

    def _run(self, *arguments: str) -> str:
        return _docker(self._docker_command, *arguments).stdout


def _docker(command: str, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=600, check=False)
    if check and done.returncode != 0:
        raise ServerError(f"docker {arguments[0]} failed: {done.stderr.strip()}")
    return done
