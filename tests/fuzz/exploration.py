"""A search for inputs that break a function, guided by the lines they reach.

An input that makes the code under test go from one line to another in a way not seen before is kept and varied further;
so the search works its way into the parser instead of failing at its first check for ever. The tracing is Python's own.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import warmwire
from tests.fuzz import SEED, replay
from tests.fuzz.mutation import mutate

_PACKAGE = str(Path(warmwire.__file__).parent)
_MOST_LINES = 1_000_000
"""Lines that one input may make the code run through; all of them are of a few kilobytes at most."""

Step = tuple[CodeType, int, int]


class Endless(BaseException):
    """An input made the code run for too long. Not an Exception, so that nothing under test catches it."""


class Explored(NamedTuple):
    """How far a search came."""

    inputs: int
    steps: int
    """Different steps from line to line."""
    kept: int


def explore(name: str, target: Callable[[bytes], object], corpus: list[bytes], seconds: float) -> Explored:
    """Call ``target`` with the corpus and then with mutations of it until the time is over.

    ``target`` raises only if it found something. The order of inputs depends on nothing but the seed.

    Raises:
        AssertionError: it did; the message holds the input.
    """
    rng = random.Random(f"{SEED} {name}")
    tracer = _Tracer()
    kept = list(corpus)
    inputs = 0
    deadline = time.monotonic() + seconds
    while inputs < len(corpus) or time.monotonic() < deadline:
        data = corpus[inputs] if inputs < len(corpus) else mutate(rng, _choose(rng, kept), kept)
        inputs += 1
        try:
            is_new = tracer.run(target, data)
        except (Exception, Endless) as found:
            raise AssertionError(
                f"{name}: {type(found).__name__}: {found}\nwith {data.hex()}\n({replay()}, input {inputs})"
            ) from found
        if is_new and inputs > len(corpus):
            kept.append(data)
    return Explored(inputs, len(tracer.seen), len(kept))


def _choose(rng: random.Random, kept: list[bytes]) -> bytes:
    """Mostly one of the latest finds: they are the deepest."""
    return kept[-1 - int(len(kept) * rng.random() ** 2)]


class _Tracer:
    def __init__(self) -> None:
        self.seen: set[Step] = set()
        self._lines = 0

    def run(self, target: Callable[[bytes], object], data: bytes) -> bool:
        """Call the target; whether it took a step that none took before."""
        before = len(self.seen)
        self._lines = 0
        previous = sys.gettrace()
        sys.settrace(self._enter)
        try:
            target(data)
        finally:
            sys.settrace(previous)
        return len(self.seen) > before

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            return None
        last = 0
        seen = self.seen

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                seen.add((code, last, frame.f_lineno))
                last = frame.f_lineno
                self._lines += 1
                if self._lines > _MOST_LINES:
                    raise Endless(f"more than {_MOST_LINES} lines were run")
            return line

        return line
