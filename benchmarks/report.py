"""Where the figures go: docs/performance.json for programs, docs/performance.md for people."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.budgets import BUDGETS, Sections
from benchmarks.figures import table_row

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def machine(python: Path) -> dict[str, str]:
    """When and where this was measured, and with what interpreter."""
    version = subprocess.run([python, "-V"], capture_output=True, text=True, timeout=30, check=True).stdout.split()[-1]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": version,
    }


def as_json(about: dict[str, str], sections: Sections) -> str:
    """Everything, for programs."""
    budgets = [
        {"what": budget.what, "limit": budget.limit, "measured": reading.text, "is_met": reading.is_met}
        for budget in BUDGETS
        if sections.keys() >= set(budget.needs)
        for reading in (budget.read(sections),)
    ]
    document = {"machine": about, "budgets": budgets, "sections": {name: s.as_json() for name, s in sections.items()}}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_markdown(about: dict[str, str], sections: Sections) -> str:
    """Everything that was measured, for people."""
    parts = ["; ".join(f"{name} {value}" for name, value in about.items()) + ".", ""]
    parts += ["Each figure is a median; in brackets the quartiles around it.", ""]
    rows = [(budget, budget.read(sections)) for budget in BUDGETS if sections.keys() >= set(budget.needs)]
    if rows:
        parts += ["## Budgets", "", table_row(["budget", "at most", "measured", "met?"]), table_row(["---"] * 4)]
        parts += [table_row([b.what, b.limit, reading.text, "yes" if reading.is_met else "**no**"]) for b, reading in rows]
        parts.append("")
    parts += [section.as_markdown() for section in sections.values()]
    return "\n".join(parts)


def put_between_markers(path: Path, text: str) -> None:
    """Replace what is between the markers of a file by `text`.

    Raises:
        ValueError: the markers are not there.
    """
    head, begin, rest = path.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for the figures: {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{text}{END}{tail}")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
