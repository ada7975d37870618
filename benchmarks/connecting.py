"""Connect, SELECT 1, close: what a function does that opens its connection in the handler."""

import time

from benchmarks.client import QUERY, packet
from benchmarks.figures import Section
from benchmarks.routes import DIRECT, Route, Routes

ROUNDS = 120
GAP = 0.004
"""Seconds between two connects. Invocations leave more."""
_SELECT = packet(QUERY, b"SELECT 1")
CLIENTS = ("PyMySQL", "bare client")


def run(routes: Routes, rounds: int = ROUNDS) -> Section:
    """Each route in turn, with a driver and with the bare client."""
    named = dict.fromkeys(routes.secure)
    candidates = {**{f"{route.name}, TLS": route for route in named}, routes.unix.name: routes.unix}
    candidates[f"{DIRECT}, not encrypted"] = routes.plain[0]
    took: dict[str, dict[str, list[float]]] = {name: {client: [] for client in CLIENTS} for name in candidates}
    order = list(candidates)
    for client in CLIENTS:  # one after the other, since an upstream has to be reset for a client of another kind
        for number in range(rounds + 2):
            shift = number % len(order)
            for name in order[shift:] + order[:shift]:
                time.sleep(GAP)
                seconds = _once(candidates[name], client)
                if number >= 2:  # by then every upstream is there
                    took[name][client].append(seconds * 1000)
    section = Section(
        "Connect, SELECT 1, close",
        f"{rounds} rounds of one connection each, {GAP * 1000:g} ms apart; TLS is verified and its context shared, as a "
        "function does that makes it once. HAProxy and the passthrough hold no upstream, Router's sharing and Warmwire do.",
    )
    for name, by_client in took.items():
        for client, values in by_client.items():
            section.add(name, f"{client}, ms", values)
    return section


def _once(route: Route, client: str) -> float:
    began = time.perf_counter()
    if client == "PyMySQL":
        connection = route.connect_driver()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        connection.close()
    else:
        link = route.connect()
        link.ask(_SELECT)
        link.close()
    return time.perf_counter() - began
