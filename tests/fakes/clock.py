"""Time that moves only when a test says so."""

from warmwire.clock import Instant


class ManualClock:
    """Both clocks stand still until they are set."""

    def __init__(self, wall: float = 1_000_000.0, monotonic: float = 50.0) -> None:
        self.wall = wall
        self.monotonic = monotonic

    def now(self) -> Instant:
        return Instant(self.wall, self.monotonic)

    def advance(self, seconds: float) -> None:
        """Both clocks go on."""
        self.wall += seconds
        self.monotonic += seconds

    def freeze(self, seconds: float) -> None:
        """Only the wall clock goes on, as in a frozen environment."""
        self.wall += seconds
