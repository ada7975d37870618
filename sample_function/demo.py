"""`make demo`: the sample function in a local Lambda, once directly and once through Warmwire, side by side.

    python -m sample_function.demo [--invocations 20] [--freeze 0.25] [--distance 0.5] [--database mariadb|mysql|stand-in]

Everything runs on this machine: the database (a real one if there is one or Docker runs, else a stand-in) behind a relay
that makes it as far away as it is in a VPC, the function under AWS's own runtime client, and the layer as `make build`
made it, in the emulator. Between two invocations the function and Warmwire are frozen (SIGSTOP), as Lambda does.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pymysql

from sample_function import distance
from tests import servers
from tests.servers.server import APP_PASSWORD
from warmwire.emulator.environment import Environment
from warmwire.emulator.layers import unpacked
from warmwire.emulator.results import Invocation
from warmwire.emulator.variables import Function

HERE = pathlib.Path(__file__).resolve().parent
LAYER = HERE.parent / "dist" / "warmwire-layer.zip"
USER, SCHEMA = "app", "app"
FORGETS_EVERY = 5
PRICE = """\
The last two lines are the price: the layer starts with the environment, and after the answer, which the caller has by
then, the environment stays awake until Lambda has told that the invocation is over. Lambda takes 25 ms to do so."""
PINGS = 20
SETTLE = 3.0
"""Seconds within which a server has noticed that its clients are gone."""


@dataclasses.dataclass(frozen=True)
class Database:
    """The database of the demo. `query` asks it on a connection of its own, which stays open and counts as one."""

    label: str
    port: int
    password: str
    ca_path: str
    query: Callable[[str], Any]
    host: str = "127.0.0.1"

    def status(self, name: str) -> int:
        """A counter of SHOW GLOBAL STATUS."""
        [(_, value)] = self.query(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return int(value)

    def open_connections(self) -> int:
        """How many clients are connected, but for `query`."""
        return self.status("Threads_connected") - 1

    def round_trip_ms(self) -> float:
        """How long the way there and back takes from here: the median of some pings."""
        connection = pymysql.connect(
            host=self.host,
            port=self.port,
            user=USER,
            password=self.password,
            ssl_disabled=not self.ca_path,
            ssl=ssl.create_default_context(cafile=self.ca_path) if self.ca_path else None,
        )
        times = []
        for _ in range(PINGS):
            began = time.perf_counter()
            connection.ping(reconnect=False)
            times.append((time.perf_counter() - began) * 1000)
        connection.close()
        return statistics.median(times)

    def open_transactions(self) -> int:
        """How many transactions of clients are open."""
        [(count,)] = self.query("SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id > 0")
        return int(count)


@dataclasses.dataclass
class Figures:
    """What was seen on one of the two ways."""

    connection_ids: list[int] = dataclasses.field(default_factory=list)
    connect_ms: list[float] = dataclasses.field(default_factory=list)
    response_ms: list[float] = dataclasses.field(default_factory=list)
    held_ms: list[float] = dataclasses.field(default_factory=list)
    rollbacks: list[str] = dataclasses.field(default_factory=list)
    frozen_transactions: int = 0
    frozen_connections: int = 0
    init_ms: float = 0.0
    opened: int = 0
    aborted: int = 0
    left_open: int = 0
    committed: int = 0


@contextlib.contextmanager
def open_database(wanted: str | None) -> Iterator[Database]:
    """Start the database that was asked for, or the first that there is."""
    found = servers.find()
    flavor = wanted or next(iter(found), "stand-in")
    if not found and not wanted:
        say("No MariaDB, MySQL or Docker was found here: a stand-in takes their place.")
    if flavor == "stand-in":
        with open_stand_in() as database:
            yield database
        return
    say(f"Starting a private {flavor} server …")
    with servers.start(flavor) as server:
        # The first login of an account is a slow one on MySQL; it is not what is shown here.
        server.connect(USER, database=SCHEMA).close()
        name = "MariaDB" if flavor == "mariadb" else "MySQL"
        encrypted = "over TLS, certificate verified" if server.ca_path else "without TLS"
        label = f"{name} {server.version}, a real one, {encrypted}."
        yield Database(label, server.port, APP_PASSWORD, server.ca_path, server.query, server.host)


@contextlib.contextmanager
def open_stand_in() -> Iterator[Database]:
    """Start the embedded stand-in."""
    from warmwire.emulator import stand_in  # it brings in sqlglot, which a real database does not need

    password = "demo"
    with stand_in.running(USER, password) as server:
        admin = pymysql.connect(
            host="127.0.0.1", port=server.port, user=USER, password=password, autocommit=True, ssl_disabled=True
        )

        def query(sql: str) -> Any:
            with admin.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()

        label = "a stand-in, mysql-mimic over SQLite, without TLS. Its times are not those of a database."
        yield Database(label, server.port, password, "", query)
        admin.close()


def say(text: str = "", end: str = "\n") -> None:
    """Print, at once."""
    print(text, end=end, flush=True)


def free_port() -> int:
    """3306 if nothing listens there, as in Lambda; any other free port if something does."""
    for port in (3306, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def directly(database: Database) -> dict[str, str]:
    """The handler's variables that lead it to the database."""
    return {
        "DB_HOST": database.host,
        "DB_PORT": str(database.port),
        "DB_USER": USER,
        "DB_PASSWORD": database.password,
        "DB_NAME": SCHEMA,
    } | ({"DB_TLS_CA": database.ca_path} if database.ca_path else {})


def through_warmwire(database: Database, socket_path: pathlib.Path) -> dict[str, str]:
    """The variables of a function with the layer: Warmwire's for the way to the database, the handler's for 127.0.0.1."""
    port = str(free_port())
    return {
        "WARMWIRE_DB_HOST": database.host,
        "WARMWIRE_DB_PORT": str(database.port),
        "WARMWIRE_DB_USER": USER,
        "WARMWIRE_DB_PASSWORD": database.password,
        "WARMWIRE_DB_NAME": SCHEMA,
        "WARMWIRE_PORT": port,
        "WARMWIRE_SOCKET": str(socket_path),
        "DB_PORT": port,
        "DB_USER": USER,
        "DB_NAME": SCHEMA,
    } | ({"WARMWIRE_DB_TLS_CA": database.ca_path} if database.ca_path else {"WARMWIRE_DB_TLS": "disabled"})


def observe(
    name: str, database: Database, variables: dict[str, str], layer: pathlib.Path | None, count: int, freeze: float
) -> Figures:
    """Run the function `count` times, with a freeze of `freeze` seconds after each, and see what that does.

    Raises:
        SystemExit: An invocation failed; its log is printed.
    """
    seen = Figures()
    database.query(f"DROP TABLE IF EXISTS {SCHEMA}.visits")
    opened, aborted = database.status("Connections"), database.status("Aborted_clients")
    function = Function(directory=HERE, handler="app.handler", name="sample", timeout=15, variables=variables)
    say(f"  {name:<18}", end="")
    with Environment(function, layer) as environment:
        seen.init_ms = environment.init().duration_ms
        for number in range(1, count + 1):
            forget = number % FORGETS_EVERY == 0
            invocation = environment.invoke({"forget": forget})
            answer = answer_of(invocation, environment)
            say(f"{answer['connection_id']}{'*' if forget else ''} ", end="")
            seen.connection_ids.append(answer["connection_id"])
            seen.connect_ms.append(answer["connect_ms"])
            seen.response_ms.append(invocation.response_ms)
            seen.held_ms.append(invocation.held_ms)
            environment.freeze()
            time.sleep(freeze)
            seen.frozen_transactions += database.open_transactions()
            seen.frozen_connections = max(seen.frozen_connections, database.open_connections())
        environment.shutdown()
        seen.rollbacks = [
            line.text for line in environment.log if line.source.startswith("extension") and "rolled back" in line.text.lower()
        ]
    say()
    deadline = time.monotonic() + SETTLE
    while database.open_connections() and time.monotonic() < deadline:
        time.sleep(0.02)
    seen.left_open = database.open_connections()
    seen.opened = database.status("Connections") - opened
    seen.aborted = database.status("Aborted_clients") - aborted
    [(seen.committed,)] = database.query(f"SELECT COUNT(*) FROM {SCHEMA}.visits")
    return seen


def answer_of(invocation: Invocation, environment: Environment) -> dict[str, Any]:
    """The handler's answer; without one there is nothing to show but the log."""
    if invocation.succeeded:
        answer: dict[str, Any] = invocation.json()
        return answer
    say(f"\n\nThe invocation ended with {invocation.status}. The log:\n")
    for line in environment.log:
        say(f"  {line.source:<20} {line.text}")
    raise SystemExit(1)


def table(direct: Figures, warm: Figures) -> str:
    """The figures of both ways, side by side."""

    def row(what: str, figure: Callable[[Figures], object]) -> tuple[str, str, str]:
        return what, str(figure(direct)), str(figure(warm))

    rows = [
        ("", "directly", "through Warmwire"),
        row("connections opened at the database", lambda way: way.opened),
        row("different CONNECTION_ID()s", lambda way: len(set(way.connection_ids))),
        row("connect in the handler, median", lambda way: f"{statistics.median(way.connect_ms):.1f} ms"),
        row("  the first one, after Init", lambda way: f"{way.connect_ms[0]:.1f} ms"),
        row("answer to the caller, median", lambda way: f"{statistics.median(way.response_ms):.1f} ms"),
        row("transactions left open in a freeze", lambda way: way.frozen_transactions),
        row("rolled back and logged", lambda way: len(way.rollbacks)),
        row("visits committed", lambda way: way.committed),
        row("connections held in a freeze, at most", lambda way: way.frozen_connections),
        row("connections open after SHUTDOWN", lambda way: way.left_open),
        row("Aborted_clients at the database", lambda way: f"+{way.aborted}"),
        row("Init", lambda way: f"{way.init_ms:.0f} ms"),
        row("held after the answer, median", lambda way: f"{statistics.median(way.held_ms):.0f} ms"),
    ]
    return "\n".join(f"  {what:<38}{left:>12}{right:>20}" for what, left, right in rows)


def main() -> None:
    """Run both ways and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m sample_function.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--invocations", type=int, default=20, metavar="N")
    parser.add_argument("--freeze", type=float, default=0.25, metavar="SECONDS", help="after each invocation")
    parser.add_argument(
        "--distance", type=float, default=0.5, metavar="MS", help="added to each way to the database, rounded up by timers"
    )
    parser.add_argument("--database", choices=(*servers.FLAVORS, "stand-in"), help="default: the first that is there")
    options = parser.parse_args()
    if not LAYER.exists():
        sys.exit("dist/warmwire-layer.zip is not there: run `make build`")
    with contextlib.ExitStack() as resources:
        try:
            database = resources.enter_context(open_database(options.database))
        except servers.ServerError as problem:
            sys.exit(f"The database did not start: {problem}")
        if options.distance:
            far = distance.at(database.host, database.port, options.distance / 1000)
            database = dataclasses.replace(database, host="127.0.0.1", port=resources.enter_context(far))
        layer = resources.enter_context(unpacked(LAYER))
        scratch = pathlib.Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="warmwire-demo-")))
        say(f"""
Database  {database.label}
          A round trip to it takes {database.round_trip_ms():.1f} ms.
Function  sample_function/app.py: connect, insert a row, read CONNECTION_ID(), commit, close
Lambda    the emulator: {options.invocations} invocations each way, frozen for {options.freeze:g} s after each

The CONNECTION_ID() that each invocation saw; at * the handler forgets its transaction:
""")
        repeat = options.invocations, options.freeze
        direct = observe("directly", database, directly(database), None, *repeat)
        warm = observe("through Warmwire", database, through_warmwire(database, scratch / "socket"), layer, *repeat)
        say(f"\n{table(direct, warm)}\n\n{PRICE}\n")
        if warm.rollbacks:
            say(f"What Warmwire logged of the last forgotten transaction:\n\n  {warm.rollbacks[-1]}\n")


if __name__ == "__main__":
    main()
