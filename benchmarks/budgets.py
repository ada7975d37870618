"""The budgets of the project, each with how it is read from the figures."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks import connecting, memory, starting, stopping
from benchmarks.figures import Section
from benchmarks.point_select import ENCRYPTIONS, KINDS, PLACEMENTS
from benchmarks.routes import HAPROXY, SHARING, WARMWIRE

Sections = dict[str, Section]


class Reading(NamedTuple):
    """What was measured, in words, and whether it is within the budget."""

    text: str
    is_met: bool


class Budget(NamedTuple):
    """One row of the table. `read` needs the sections in `needs`."""

    what: str
    limit: str
    needs: tuple[str, ...]
    read: Callable[[Sections], Reading]


def _added(section: str, peer: str, limit: float) -> Callable[[Sections], Reading]:
    def read(sections: Sections) -> Reading:
        parts, is_met = [], True
        for kind in KINDS:
            ours, its = (sections[section].median(name, f"{kind}, added, µs") for name in (WARMWIRE, peer))
            is_met = is_met and ours <= limit * its
            parts.append(f"{kind} {ours:.1f} µs of {its:.1f} µs: {ours / its:.2f}")
        return Reading("; ".join(parts), is_met)

    return read


def _connect(client: str) -> Callable[[Sections], Reading]:
    def read(sections: Sections) -> Reading:
        ours, its = (sections["connecting"].median(f"{name}, TLS", f"{client}, ms") for name in (WARMWIRE, "direct"))
        return Reading(f"{ours:.2f} ms of {its:.2f} ms: {ours / its:.2f}", ours / its <= 0.25)

    return read


def _throughput(section: str) -> Callable[[Sections], Reading]:
    def read(sections: Sections) -> Reading:
        ours, its = (sections[section].median(name, "MB/s") for name in (WARMWIRE, HAPROXY))
        return Reading(f"{ours:.0f} MB/s of {its:.0f} MB/s: {ours / its:.2f}", ours / its >= 0.9)

    return read


def _growth(sections: Sections) -> Reading:
    worst = max(
        sections[section].median(WARMWIRE, column)
        for section in _LARGE
        for column in ("RSS growth, MB", "RSS growth, stalled, MB")
    )
    return Reading(f"{worst:.1f} MB", worst <= 8)


def _start(sections: Sections) -> Reading:
    section = sections["starting"]
    ours, bare = section.median(starting.EXTENSION, "exec to registered, ms"), section.median(starting.BARE, "exec to end, ms")
    return Reading(f"{ours:.1f} ms of {bare:.1f} ms: {ours / bare:.2f}", ours / bare <= 1.6)


def _memory(sections: Sections) -> Reading:
    rss = sections["memory"].median(memory.STAGES[-1], "RSS, MB")
    return Reading(f"{rss:.1f} MB", rss <= 32)


def _stop(sections: Sections) -> Reading:
    took = sections["stopping"].figures[stopping.ROW]["ms"]
    return Reading(f"{took.median:.1f} ms", took.median <= 100)


def _size(sections: Sections) -> Reading:
    size = sections["layer"].median("dist/warmwire-layer.zip", "MB")
    return Reading(f"{size:.2f} MB", size <= 5)


_POINT = {
    f"point_select_{encryption}_{placement}": f"{ENCRYPTIONS[encryption]}, {PLACEMENTS[placement]}"
    for placement in PLACEMENTS
    for encryption in ENCRYPTIONS
}
_LARGE = {f"large_result_{encryption}": words for encryption, words in ENCRYPTIONS.items()}
BUDGETS = (
    *(
        Budget(f"added latency of a point select, {words}", limit, (name,), _added(name, peer, factor))
        for name, words in _POINT.items()
        for limit, peer, factor in (("that of HAProxy", HAPROXY, 1.0), ("0.5 of MySQL Router's with sharing", SHARING, 0.5))
    ),
    *(
        Budget(f"connect, SELECT 1, close ({client})", "0.25 of the same directly over TLS", ("connecting",), _connect(client))
        for client in connecting.CLIENTS
    ),
    *(
        Budget(f"throughput of 200 MB, {words}", "not under 0.9 of HAProxy", (name,), _throughput(name))
        for name, words in _LARGE.items()
    ),
    Budget("RSS growth during it", "8 MB", tuple(_LARGE), _growth),
    Budget("exec to registered", f"1.6 × `python3 -I -c '{starting.BASELINE}'`", ("starting",), _start),
    Budget(f"RSS after {memory.QUERIES:,} queries over TLS", "32 MB", ("memory",), _memory),
    Budget(f"SHUTDOWN to exit, {stopping.UPSTREAMS} upstreams", "100 ms", ("stopping",), _stop),
    Budget("layer zip", "5 MB", ("layer",), _size),
)
