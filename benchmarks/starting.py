"""Cold start: from exec to registered, which the function's start waits for, and to the first query's answer."""

import subprocess
import time
from pathlib import Path

from benchmarks.client import QUERY, packet
from benchmarks.extension import Layer, start_extension
from benchmarks.figures import Section
from benchmarks.processes import await_end
from tests.servers import Server

ROUNDS = 20
BASELINE = "import asyncio, http.client"
EXTENSION = "Warmwire, from the layer"
BARE = f"python3 -I -c '{BASELINE}', to its end"
IMPORTED = "the same, to the end of its imports"


def run(server: Server, layer: Layer, directory: Path, rounds: int = ROUNDS) -> Section:
    """Start the extension and, in turns, an interpreter that only imports what no extension in asyncio can do without."""
    figures: dict[str, list[float]] = {name: [] for name in ("bare", "imported", "registered", "ready", "answered", "query")}
    for number in range(rounds + 1):
        bare, imported = _bare(layer)
        with start_extension(layer, server, directory) as extension:
            started = extension.process.started
            registered = extension.service.await_registered()
            link = extension.route.connect()
            link.ask(packet(QUERY, b"SELECT 1"))
            answered = time.perf_counter()
            extension.service.await_ready()
            link.close()
            extension.end()
        if number:  # the first one read the files
            figures["bare"].append(bare)
            figures["imported"].append(imported)
            figures["registered"].append(registered - started)
            figures["answered"].append(answered - started)
            figures["query"].append(answered - registered)
    section = Section(
        "Start",
        f"{rounds} starts in turns, from compiled files in the page cache; the service that is registered with is a few lines "
        "in the measuring process. The first query comes from a client that connects when the extension has registered; "
        "it waits for TLS and login at the database, as it would directly.",
    )
    for row, column, name in (
        (BARE, "exec to end, ms", "bare"),
        (IMPORTED, "exec to end, ms", "imported"),
        (EXTENSION, "exec to registered, ms", "registered"),
        (EXTENSION, "exec to first query answered, ms", "answered"),
        (EXTENSION, "registered to first query answered, ms", "query"),
    ):
        section.add(row, column, [seconds * 1000 for seconds in figures[name]])
    return section


def _bare(layer: Layer) -> tuple[float, float]:
    """Seconds to the end of the process, and to the end of its imports in another one that says so."""
    variables = layer.variables()
    command = [str(layer.python), "-I", "-c"]
    began = time.perf_counter()
    with subprocess.Popen([*command, BASELINE], env=variables) as process:
        ended = await_end(process) - began
    began = time.perf_counter()
    with subprocess.Popen([*command, f"{BASELINE}, os; os.write(1, b'.')"], env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        imported = time.perf_counter() - began
    return ended, imported
