"""`python -m benchmarks`: measure, print, and after a whole run write docs/performance.md and docs/performance.json."""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import connecting, large_result, memory, point_select, report, starting, stopping
from benchmarks.budgets import Sections
from benchmarks.extension import Layer
from benchmarks.figures import Section
from benchmarks.routes import Routes, open_routes
from tests.servers import Server, ServerError, start
from tests.servers.programs import REPOSITORY

ARCHIVE = REPOSITORY / "dist/warmwire-layer.zip"
PAGE = REPOSITORY / "docs/performance.md"
DATA = REPOSITORY / "docs/performance.json"


def main() -> int:
    """Run what was asked for; 1 if something that it needs is missing."""
    arguments = _arguments()
    names = arguments.only.split(",") if arguments.only else list(WORKLOADS)
    if unknown := [name for name in names if name not in WORKLOADS]:
        print(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    subprocess.run([REPOSITORY / "build.sh"], check=True, stdout=subprocess.DEVNULL)
    try:
        about, sections = _measure(arguments, names)
    except (RuntimeError, ServerError) as problem:
        print(problem, file=sys.stderr)
        return 1
    text = report.as_markdown(about, sections)
    print(text)
    if names == list(WORKLOADS) and not arguments.dry:
        report.put_between_markers(PAGE, text)
        DATA.write_text(report.as_json(about, sections))
    return 0


class Stage:
    """What the workloads work on; the routes are opened by the first that needs them."""

    def __init__(self, server: Server, layer: Layer, directory: Path, stack: contextlib.ExitStack) -> None:
        self.server = server
        self.directory = directory
        self.layer = layer
        self._stack = stack
        self._routes: Routes | None = None

    @property
    def routes(self) -> Routes:
        """All ways to the server."""
        if self._routes is None:
            warmwire = [str(self.layer.python), "-I", str(self.layer.root / "warmwire"), "serve"]
            self._routes = self._stack.enter_context(open_routes(self.server, warmwire, self.directory))
        return self._routes


def _layer(_: Stage) -> Section:
    section = Section("Layer", "The zip as it is uploaded, compiled files for each Python on the building machine included.")
    section.add(str(ARCHIVE.relative_to(REPOSITORY)), "MB", [ARCHIVE.stat().st_size / 1e6])
    return section


# Those that need no peers come first, while nothing else runs.
WORKLOADS: dict[str, Callable[[Stage], Section | Sections]] = {
    "starting": lambda stage: starting.run(stage.server, stage.layer, stage.directory),
    "stopping": lambda stage: stopping.run(stage.server, stage.layer, stage.directory),
    "memory": lambda stage: memory.run(stage.server, stage.layer, stage.directory),
    "point_select": lambda stage: point_select.run(stage.routes, stage.server),
    "connecting": lambda stage: connecting.run(stage.routes),
    "large_result": lambda stage: large_result.run(stage.routes),
    "layer": _layer,
}


def _measure(arguments: argparse.Namespace, names: list[str]) -> tuple[dict[str, str], Sections]:
    sections: Sections = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warmwire-bench-")))
        layer = Layer.unpack(ARCHIVE, directory, arguments.python)
        about = report.machine(layer.python)
        server = stack.enter_context(start("mysql"))  # MySQL Router wants no other
        about |= {"mysql": server.version}
        point_select.prepare(server)
        large_result.prepare(server)
        stage = Stage(server, layer, directory, stack)
        for name in names:
            began = time.monotonic()
            outcome = WORKLOADS[name](stage)
            sections |= {name: outcome} if isinstance(outcome, Section) else outcome
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        if {"point_select", "connecting", "large_result"} & set(names):
            about |= stage.routes.versions
    return about, sections


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Warmwire against its alternatives.")
    parser.add_argument("--only", default="", metavar="A,B", help=f"some of: {', '.join(WORKLOADS)}; nothing is written then")
    parser.add_argument("--python", type=Path, default=_interpreter(), help="what runs Warmwire (%(default)s)")
    parser.add_argument("--dry", action="store_true", help="write nothing after a whole run either")
    return parser.parse_args()


def _interpreter() -> Path:
    """What the virtual environment was made of."""
    return Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")


if __name__ == "__main__":
    sys.exit(main())
