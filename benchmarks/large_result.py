"""A result set of 200 MB: how fast it passes through a relay, and how much of it the relay holds."""

from benchmarks.client import QUERY, packet
from benchmarks.figures import Section
from benchmarks.point_select import ENCRYPTIONS
from benchmarks.routes import PASSTHROUGH, WARMWIRE, Route, Routes
from tests.servers import Server

ROW_BYTES = 2000
STORED = 100
REPEATED = 1000
ROUNDS = 5
PAUSE = 0.5
"""Seconds for which the client of the memory figure does not read."""
_SELECT = packet(
    QUERY, b"SELECT a.id, a.c FROM wide a CROSS JOIN wide b CROSS JOIN wide d WHERE d.id < %d" % (REPEATED // STORED)
)


def prepare(server: Server) -> None:
    """Make the table: few rows, which a join repeats, so that the server reads them from its cache."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE wide (id INT PRIMARY KEY, c VARCHAR({ROW_BYTES}) NOT NULL) CHARACTER SET latin1")
        cursor.execute(
            f"INSERT INTO wide WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {STORED - 1})"
            f" SELECT i, RPAD(SHA2(i, 256), {ROW_BYTES}, 'warmwire') FROM n"
        )


def run(routes: Routes, rounds: int = ROUNDS) -> dict[str, Section]:
    """Both sections: nothing encrypted, and TLS to the database."""
    text = (
        f"{STORED * REPEATED:,} rows of {ROW_BYTES} characters, {rounds} times on each route in turn; the client throws them "
        "away. *RSS growth* is the relay's highest RSS during all of it over its RSS before; *stalled* is a transfer whose "
        f"client does not read for {PAUSE:g} s."
    )
    plain, secure = _measure(routes.plain, rounds), _measure(routes.secure, rounds)
    plain.title, plain.text = f"Result set of 200 MB, {ENCRYPTIONS['plain']}", text
    secure.title, secure.text = f"Result set of 200 MB, {ENCRYPTIONS['secure']}", "The same with TLS, as above."
    return {"large_result_plain": plain, "large_result_secure": secure}


def _measure(routes: list[Route], rounds: int) -> Section:
    section = Section("", "")
    chosen = [route for route in routes if route.name != PASSTHROUGH]
    links = {route.name: route.connect() for route in chosen}
    try:
        size = links[chosen[0].name].ask(_SELECT)
        before: dict[str, int] = {}
        rates: dict[str, list[float]] = {route.name: [] for route in chosen}
        for route in chosen:
            links[route.name].ask(packet(QUERY, b"SELECT 1"))
            if route.process is not None:
                route.process.forget_peak()
                before[route.name] = route.process.memory()["Rss"]
        for number in range(rounds):
            shift = number % len(chosen)
            for route in chosen[shift:] + chosen[:shift]:
                rates[route.name].append(size / 1e6 / links[route.name].drain(_SELECT, size))
        for route in chosen:
            section.add(route.name, "MB/s", rates[route.name])
            if route.process is not None:
                section.add(route.name, "RSS growth, MB", [(route.process.peak() - before[route.name]) * 1024 / 1e6])
        relay = next(route for route in chosen if route.name == WARMWIRE)
        if relay.process is not None:
            links[WARMWIRE].drain(_SELECT, size, PAUSE)
            section.add(WARMWIRE, "RSS growth, stalled, MB", [(relay.process.peak() - before[WARMWIRE]) * 1024 / 1e6])
    finally:
        for link in links.values():
            link.close()
    return section
