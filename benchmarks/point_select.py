"""One row by its primary key, again and again over one connection: what a relay adds, in time and processor time."""

import os
import random
import struct

from benchmarks.client import EXECUTE, PREPARE, QUERY, Link, packet
from benchmarks.figures import Section
from benchmarks.processes import pin
from benchmarks.routes import DIRECT, Route, Routes
from tests.servers import Server

ROWS = 10_000
BLOCK = 150
"""Exchanges of one route before it is the next one's turn."""
WARM_UP = 15
ROUNDS = 40
KINDS = ("text", "prepared")
ENCRYPTIONS = {"plain": "nothing encrypted", "secure": "TLS to the database"}
PLACEMENTS = {"free": "on all cores", "one_core": "on one core"}


def prepare(server: Server) -> None:
    """Make the table: an id and 120 characters that look random."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE points (id INT PRIMARY KEY, c CHAR(120) NOT NULL) CHARACTER SET latin1")
        cursor.execute(
            "INSERT INTO points WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)"
            " SELECT a.i * 100 + b.i, RPAD(SHA2(a.i * 100 + b.i, 256), 120, 'warmwire') FROM n a CROSS JOIN n b"
        )


def measure(routes: list[Route], rounds: int) -> Section:
    """Time blocks of exchanges on each route in turns; all connections stay open meanwhile."""
    section = Section("", "")
    lanes = [_Lane(route) for route in routes]
    try:
        for number in range(rounds):
            shift = number % len(lanes)
            for lane in lanes[shift:] + lanes[:shift]:
                for kind in KINDS:
                    lane.run_block(kind)
    finally:
        for lane in lanes:
            lane.link.close()
    direct = next(lane for lane in lanes if lane.route.name == DIRECT)
    for lane in lanes:
        for kind in KINDS:
            section.add(lane.route.name, f"{kind}, µs", lane.medians[kind])
            if lane is not direct:
                added = [mine - its for mine, its in zip(lane.medians[kind], direct.medians[kind], strict=True)]
                section.add(lane.route.name, f"{kind}, added, µs", added)
        if lane.route.process is not None:
            section.add(lane.route.name, "processor time of the relay, µs", lane.cpu)
    return section


def run(routes: Routes, server: Server, rounds: int = ROUNDS) -> dict[str, Section]:
    """Four sections: nothing encrypted or TLS to the database, cores as the system chooses or one for everybody."""
    every = os.sched_getaffinity(0)
    pids = [os.getpid(), *(route.process.pid for route in (*routes.plain, *routes.secure) if route.process)]
    if (server_pid := getattr(server, "pid", None)) is not None:
        pids.append(server_pid)
    sections = {}
    for placement, cores in (("free", every), ("one_core", {max(every)})):
        try:
            for pid in pids:
                pin(pid, cores)
            for encryption, chosen in (("plain", routes.plain), ("secure", [*routes.secure, routes.unix])):
                section = measure(chosen, rounds)
                section.title = f"Point select, {ENCRYPTIONS[encryption]}, {PLACEMENTS[placement]}"
                sections[f"point_select_{encryption}_{placement}"] = section
        finally:
            for pid in pids:
                pin(pid, every)
    texts = [
        f"`SELECT c FROM points WHERE id = …` over one connection, {ROWS} rows of 120 characters; {rounds} rounds in which "
        f"each route in turn makes {BLOCK} exchanges of each kind. A round gives a median, the table the median of those; "
        "*added* is the difference to the direct route in the same round.",
        "The same with TLS. HAProxy and the passthrough carry the client's own TLS; towards Router's sharing and Warmwire "
        "the client speaks plain, and they encrypt.",
        "Client, relay and database share one core: what a relay adds is then its work alone, wherever the system would "
        "have placed it. A small Lambda function has less than one core for itself and its extensions.",
        "The same with TLS.",
    ]
    for section, text in zip(sections.values(), texts, strict=True):
        section.text = text
    return sections


class _Lane:
    """One route with its connection and what was measured on it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.link: Link = route.connect()
        self.medians: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.cpu: list[float] = []
        self._random = random.Random(1)
        self.link.ask(packet(PREPARE, b"SELECT c FROM points WHERE id = ?"))
        self._sizes = {kind: self.link.ask(self._request(kind)) for kind in KINDS}

    def run_block(self, kind: str) -> None:
        requests = [self._request(kind) for _ in range(BLOCK)]
        self.link.time(requests[:WARM_UP], self._sizes[kind])
        process = self.route.process
        before = process.cpu() if process else 0.0
        took = sorted(self.link.time(requests, self._sizes[kind]))
        if process:
            self.cpu.append((process.cpu() - before) / len(requests))
        self.medians[kind].append(took[len(took) // 2])

    def _request(self, kind: str) -> bytes:
        number = self._random.randrange(ROWS)
        if kind == "text":
            return packet(QUERY, b"SELECT c FROM points WHERE id = %d" % number)
        # Statement, no cursor, one iteration, no NULL among the parameters, their types follow: one LONG.
        return packet(EXECUTE, struct.pack("<IBIBBHi", self.link.statement_id, 0, 1, 0, 1, 3, number))
