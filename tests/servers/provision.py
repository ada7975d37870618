"""Fetch the servers, clients and peers that tests and benchmarks need, and keep them in the cache.

    python -m tests.servers.provision [--mariadb] [--mysql] [--clients] [--peers]

Of the servers, both unless one is named. What is already on the machine or in the cache is left as it is. On Debian and
Ubuntu everything is unpacked into the cache and nothing installed, with one exception: as root, what mysqlclient is
built with (--clients).
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.servers import clients, container, debian
from tests.servers.clients import Missing
from tests.servers.programs import cache, daemon, docker, program
from tests.servers.server import ServerError

# MySQL 9 is in Debian's unstable suite; Ubuntu has a MySQL of its own, which comes first there.
_MYSQL_SUITES = ("", "sid")
_SERVERS = {
    "mariadb": debian.Tree(
        "mariadb",
        ("mariadb-server-core", "mariadb-client-core", "mariadb-client", "openssl"),
        ("mariadbd", "mariadb-install-db", "my_print_defaults", "resolveip", "mariadb", "mariadb-dump", "openssl"),
    ),
    "mysql": debian.Tree(
        "mysql",
        ("mysql-server-core", "mysql-client-core", "openssl"),
        ("mysqld", "mysql", "mysqldump", "openssl"),
        suites=_MYSQL_SUITES,
    ),
}
_SYSBENCH = debian.Tree("sysbench", ("sysbench",), ("sysbench",), settings='export LUA_PATH="$root/usr/share/sysbench/?.lua;;"')
_HAPROXY = debian.Tree("haproxy", ("haproxy",), ("haproxy",))
_ROUTER = debian.Tree(
    "mysql-router",
    ("mysql-router",),
    ("mysqlrouter",),
    suites=_MYSQL_SUITES,
    libraries=("usr/lib/mysql-router",),
    arguments='--DEFAULT.plugin_folder="$root/usr/lib/mysqlrouter/plugin"',
)

Step = Callable[[debian.Archive], None]


def _server(flavor: str) -> Step:
    def provide(archive: debian.Archive) -> None:
        variable = f"WARMWIRE_TEST_{flavor.upper()}_URL"
        if os.environ.get(variable) or (daemon(flavor) is not None and program("openssl") is not None):
            return
        refusal = "no server here, no apt to fetch one and no Docker to run one"
        if debian.usable():
            try:
                return archive.unpack(_SERVERS[flavor], cache() / "trees" / flavor)
            except debian.PackageError as error:
                refusal = str(error)
        if (command := docker()) is not None:
            return container.pull(command, flavor)
        raise Missing(f"{refusal}. Install {flavor}, start Docker, or set {variable} to mysql://root:password@host:port")

    return provide


def _programs(tree: debian.Tree, *names: str) -> Step:
    def provide(archive: debian.Archive) -> None:
        absent = [name for name in names if program(name) is None]
        if absent and not debian.usable():
            raise Missing(f"no {' and no '.join(absent)} on the PATH, and no apt to fetch it: install it")
        if absent:
            archive.unpack(tree, cache() / "trees" / tree.name)

    return provide


def _steps(asked: argparse.Namespace) -> dict[str, Step]:
    named = [flavor for flavor in _SERVERS if getattr(asked, flavor)]
    steps = {flavor: _server(flavor) for flavor in named or _SERVERS}
    if asked.clients:
        steps |= {
            "mysql, mysqldump": _programs(_SERVERS["mysql"], "mysql", "mysqldump"),
            "mariadb, mariadb-dump": _programs(_SERVERS["mariadb"], "mariadb", "mariadb-dump"),
            "sysbench": _programs(_SYSBENCH, "sysbench"),
            "what mysqlclient is built with": lambda _: clients.build_tools(),
            "node": lambda _: clients.node(),
            "mysql2": lambda _: clients.node_modules(),
        }
    if asked.peers:
        steps |= {"haproxy": _programs(_HAPROXY, "haproxy"), "mysqlrouter": _programs(_ROUTER, "mysqlrouter")}
    return steps


def main(arguments: list[str] | None = None) -> int:
    """Provide what was asked for; 1 if something could not be had."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers.provision", description="Fetch what tests and benchmarks need into the cache."
    )
    parser.add_argument("--mariadb", action="store_true", help="of the servers, MariaDB")
    parser.add_argument("--mysql", action="store_true", help="of the servers, MySQL")
    parser.add_argument("--clients", action="store_true", help="also the programs and libraries of the client tests")
    parser.add_argument("--peers", action="store_true", help="also HAProxy and MySQL Router, for the benchmarks")
    steps = _steps(parser.parse_args(arguments))
    cache().mkdir(parents=True, exist_ok=True)
    failed = False
    with contextlib.ExitStack() as stack:
        fcntl.flock(stack.enter_context((cache() / "lock").open("w")), fcntl.LOCK_EX)
        for left in cache().glob("partial-*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        archive = debian.Archive(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=cache(), prefix="partial-"))))
        for name, provide in steps.items():
            began = time.monotonic()
            try:
                provide(archive)
            except (Missing, ServerError, debian.PackageError) as error:
                print(f"{name}: MISSING. {error}", file=sys.stderr)
                failed = True
            else:
                print(f"{name}: there ({time.monotonic() - began:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
