"""An event loop whose time costs nothing: where it would sleep it sets its clock forward instead.

For coroutines without sockets. What would take minutes takes no time, and happens in the same order every time.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from warmwire.clock import Instant


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everything waits for something that will never come")
        # A turn of the loop takes a moment too: what spins would otherwise spin for ever.
        self.loop.now += max(timeout or 0, 1e-6) if not ready else 1e-6
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class LoopClock:
    """Both clocks are the loop's."""

    def now(self) -> Instant:
        moment = asyncio.get_running_loop().time()
        return Instant(moment, moment)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a VirtualLoop."""

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*arguments, **keywords))

    return run
