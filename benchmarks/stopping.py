"""SHUTDOWN: from the event to the end of the process, with five upstreams to be closed in order."""

import time
from pathlib import Path

from benchmarks.client import QUERY, packet
from benchmarks.extension import Layer, start_extension
from benchmarks.figures import Section
from tests.servers import Server

ROUNDS = 8
UPSTREAMS = 5
_SETTLE = 5.0
ROW = f"{UPSTREAMS} upstreams"
NONE = "none"


def run(server: Server, layer: Layer, directory: Path, rounds: int = ROUNDS) -> Section:
    """One process per round and number of upstreams.

    Raises:
        RuntimeError: the server was left with a connection, or counted one as aborted.
    """
    section = Section(
        "SHUTDOWN to exit",
        f"{rounds} processes each. The upstreams have been used, by clients that have left. At the server no connection "
        "stayed, and `Aborted_clients` did not move.",
    )
    aborted = server.status("Aborted_clients")
    took: dict[str, list[float]] = {ROW: [], NONE: []}
    for _ in range(rounds):
        for name, values in took.items():
            with start_extension(layer, server, directory, WARMWIRE_POOL_SIZE=UPSTREAMS, WARMWIRE_EAGER="off") as extension:
                extension.service.await_ready()
                if name == ROW:
                    links = [extension.route.connect() for _ in range(UPSTREAMS)]
                    for link in links:
                        link.ask(packet(QUERY, b"SELECT 1"))
                    for link in links:
                        link.close()
                _await_connections(server, UPSTREAMS if name == ROW else 0)
                time.sleep(0.05)  # their resets
                values.append(extension.end() * 1000)
                _await_connections(server, 0)
    if server.status("Aborted_clients") != aborted:
        raise RuntimeError("Aborted_clients moved: an upstream was not closed in order")
    for name, values in took.items():
        section.add(name, "ms", values)
    return section


def _await_connections(server: Server, wanted: int) -> None:
    deadline = time.monotonic() + _SETTLE
    while (count := len(server.connection_ids())) != wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server has {count} connections where there should be {wanted}")
        time.sleep(0.005)
