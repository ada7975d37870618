"""The extension's memory, which the function pays for: after Init, and after 10,000 queries over TLS."""

import struct
import time
from pathlib import Path

from benchmarks.client import EXECUTE, PREPARE, QUERY, packet
from benchmarks.extension import Layer, start_extension
from benchmarks.figures import Section
from tests.servers import Server

ROUNDS = 3
QUERIES = 10_000
STAGES = ("after Init", "after one query", f"after {QUERIES:,} queries")


def run(server: Server, layer: Layer, directory: Path, rounds: int = ROUNDS) -> Section:
    """One process per round; half of the queries are prepared statements."""
    found: dict[str, list[dict[str, int]]] = {stage: [] for stage in STAGES}
    for _ in range(rounds):
        with start_extension(layer, server, directory) as extension:
            extension.service.await_ready()
            time.sleep(0.2)  # the eager login may still be going on
            found[STAGES[0]].append(extension.process.memory())
            link = extension.route.connect()
            text = packet(QUERY, b"SELECT c FROM points WHERE id = 4711")
            size = link.ask(text)
            found[STAGES[1]].append(extension.process.memory())
            link.ask(packet(PREPARE, b"SELECT c FROM points WHERE id = ?"))
            prepared = packet(EXECUTE, struct.pack("<IBIBBHi", link.statement_id, 0, 1, 0, 1, 3, 4711))
            link.time([text] * (QUERIES // 2), size)
            link.time([prepared] * (QUERIES // 2), link.ask(prepared))
            found[STAGES[2]].append(extension.process.memory())
            link.close()
            extension.end()
    section = Section(
        "Memory of the extension",
        f"{rounds} processes, MB of 1,048,576 bytes. *Private* is what would be free again without it; PSS shares the "
        "interpreter's own pages with whatever else runs it.",
    )
    for stage, values in found.items():
        for name in ("Rss", "Pss", "Private"):
            section.add(stage, f"{name.upper() if name != 'Private' else name}, MB", [value[name] / 1024 for value in values])
    return section
