"""What a workload gives back: medians with their spread, in sections that a reader and a program can both take."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """The median of several values and the quartiles around it."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """The figure of at least one value."""
        ordered = sorted(values)
        if len(ordered) == 1:
            return cls(ordered[0], ordered[0], ordered[0], 1)
        low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(median, low, high, len(ordered))

    def __str__(self) -> str:
        if self.count == 1:
            return _short(self.median)
        return f"{_short(self.median)} ({_short(self.low)}…{_short(self.high)})"

    def as_json(self) -> dict[str, float]:
        """For the JSON file; `low` and `high` are the quartiles."""
        rounded = {name: round(getattr(self, name), 4) for name in ("median", "low", "high")}
        return {**rounded, "count": self.count}


def _short(value: float) -> str:
    """Three digits, at most two of them behind the point."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


@dataclass
class Section:
    """One workload's outcome.

    Attributes:
        title: its heading.
        text: how it was measured, in a sentence or two.
        figures: route or variant -> what was measured, with its unit -> figure.
    """

    title: str
    text: str
    figures: dict[str, dict[str, Figure]] = field(default_factory=dict)

    def add(self, row: str, column: str, values: Iterable[float]) -> None:
        """Enter one cell."""
        self.figures.setdefault(row, {})[column] = Figure.of(values)

    def median(self, row: str, column: str) -> float:
        """One cell's median."""
        return self.figures[row][column].median

    def as_json(self) -> dict[str, object]:
        """For the JSON file."""
        cells = {row: {name: figure.as_json() for name, figure in cells.items()} for row, cells in self.figures.items()}
        return {"title": self.title, "text": self.text, "figures": cells}

    def as_markdown(self) -> str:
        """Heading, text and table."""
        columns = list(dict.fromkeys(column for cells in self.figures.values() for column in cells))
        lines = [f"## {self.title}", "", self.text, "", table_row(["", *columns]), table_row(["---"] + ["---:"] * len(columns))]
        for row, cells in self.figures.items():
            lines.append(table_row([row, *(str(cells[column]) if column in cells else "" for column in columns)]))
        return "\n".join(lines) + "\n"


def table_row(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
