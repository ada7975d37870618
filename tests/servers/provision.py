"""Fetch the servers, clients and peers that tests and benchmarks need, and keep them in the cache.

    python -m tests.servers.provision [--mariadb] [--mysql] [--clients] [--peers]

Without options: --mariadb --mysql. What is already on the machine or in the cache is left as it is.
"""

import argparse
import fcntl
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers import container, debian
from tests.servers.programs import cache, daemon, docker, program

_MYSQL = debian.Tree(
    "mysql",
    ("mysql-server-core", "mysql-client-core", "openssl"),
    ("mysqld", "mysql", "mysqldump", "mysqladmin", "openssl"),
    suites=("", "sid"),
)
_MARIADB = debian.Tree(
    "mariadb",
    ("mariadb-server-core", "mariadb-client-core", "mariadb-client", "openssl"),
    ("mariadbd", "mariadb-install-db", "my_print_defaults", "resolveip", "mariadb", "mariadb-dump", "openssl"),
)
_HAPROXY = debian.Tree("haproxy", ("haproxy",), ("haproxy",))
_ROUTER = debian.Tree("mysql-router", ("mysql-router",), ("mysqlrouter",), suites=("", "sid"))
_SYSBENCH = debian.Tree("sysbench", ("sysbench",), ("sysbench",))


class Missing(Exception):
    """Something could not be provided; the text says what to do."""


def _unpack(archive: debian.Archive, tree: debian.Tree) -> None:
    if not debian.usable():
        raise Missing(f"{tree.name}: this machine has no apt, and nothing installed that could be used instead")
    archive.unpack(tree, cache() / "trees" / tree.name)


def _server(flavor: str, tree: debian.Tree) -> Callable[[debian.Archive], None]:
    def provide(archive: debian.Archive) -> None:
        if daemon(flavor) is not None and program("openssl") is not None:
            return
        if debian.usable():
            _unpack(archive, tree)
        elif (command := docker()) is not None:
            container.pull(command, flavor)
        else:
            raise Missing(
                f"{flavor}: no server here, no apt to fetch one and no Docker to run one. Install {flavor}, start "
                f"Docker, or set WARMWIRE_TEST_{flavor.upper()}_URL to mysql://root:password@host:port"
            )

    return provide


def _programs(tree: debian.Tree, *names: str) -> Callable[[debian.Archive], None]:
    def provide(archive: debian.Archive) -> None:
        if not all(program(name) for name in names):
            _unpack(archive, tree)

    return provide


def main(arguments: list[str] | None = None) -> int:
    """Provide what was asked for; 1 if something could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.provision", description=__doc__.split("\n")[0])
    parser.add_argument("--mariadb", action="store_true", help="a MariaDB server")
    parser.add_argument("--mysql", action="store_true", help="a MySQL server")
    asked = parser.parse_args(arguments)
    steps: dict[str, Callable[[debian.Archive], None]] = {}
    if asked.mariadb or not any(vars(asked).values()):
        steps["mariadb"] = _server("mariadb", _MARIADB)
    if asked.mysql or not any(vars(asked).values()):
        steps["mysql"] = _server("mysql", _MYSQL)
    cache().mkdir(parents=True, exist_ok=True)
    failed = False
    with (cache() / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache(), prefix="partial-") as scratch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        archive = debian.Archive(Path(scratch))
        for name, provide in steps.items():
            began = time.monotonic()
            try:
                provide(archive)
            except (Missing, debian.PackageError) as error:
                print(f"{name}: MISSING. {error}", file=sys.stderr)
                failed = True
            else:
                print(f"{name}: there ({time.monotonic() - began:.1f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
