"""The only module that reads clocks.

A Lambda freeze stops the monotonic clock but not the wall clock, SIGSTOP stops neither, and the wall clock can be set
back. So an age is the larger of the two differences: too old costs a ping, too young costs a statement.
"""

import time
from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One moment on both clocks, in seconds. ``wall`` counts from the epoch, ``monotonic`` from an arbitrary point."""

    wall: float
    monotonic: float

    def age(self, now: "Instant") -> float:
        """Seconds from this moment to ``now``, never negative."""
        return max(now.wall - self.wall, now.monotonic - self.monotonic, 0.0)


class Clock(Protocol):
    """Where time comes from; tests hand in their own."""

    def now(self) -> Instant:
        """The present moment."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Instant:
        """The present moment."""
        return Instant(time.time(), time.monotonic())
