"""The event loop: asyncio's, with a shorter way for the relay's sockets.

What asyncio adds to an exchange is not its system calls but the way of each event from the selector through a handle, a
queue and a context to its callback. Here the selector calls a wire's callback itself, and looks for more events at once
unless something was scheduled meanwhile. Everything else (accepting, timers, tasks, threads) goes asyncio's way. Needs
epoll, so Linux; elsewhere asyncio's own loop serves.
"""

import asyncio
import logging
import select
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

logger = logging.getLogger("warmwire.loop")

READABLE, WRITABLE = 0x001, 0x004
"""What to watch a descriptor for, and what is told; the values of EPOLLIN and EPOLLOUT. An error or hang-up is told as
some other bit."""

Callback = Callable[[int], None]
"""Gets what has happened to its descriptor."""

Watch = Callable[[int, int, Callback], None]
"""Watch a descriptor for this from now on: ``watch(descriptor, READABLE | WRITABLE, callback)``; 0 ends it."""


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop with the shorter way, where that is possible."""
    return DirectLoop() if hasattr(select, "epoll") else asyncio.new_event_loop()


def watch_on(loop: asyncio.AbstractEventLoop) -> Watch:
    """How one descriptor is watched on this loop, whichever it is."""
    watch: Watch | None = getattr(loop, "watch", None)
    return watch or _AsyncioWatch(loop)


class _AsyncioWatch:
    """Watches one descriptor in asyncio's own way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched = 0

    def __call__(self, descriptor: int, events: int, callback: Callback) -> None:
        changed = events ^ self._watched
        self._watched = events
        if changed & READABLE:
            if events & READABLE:
                self._loop.add_reader(descriptor, callback, READABLE)
            else:
                self._loop.remove_reader(descriptor)
        if changed & WRITABLE:
            if events & WRITABLE:
                self._loop.add_writer(descriptor, callback, WRITABLE)
            else:
                self._loop.remove_writer(descriptor)


if hasattr(select, "epoll"):

    class _DirectSelector(selectors.EpollSelector):
        """Waits for the watched descriptors and, as one more of them, for asyncio's own epoll."""

        def __init__(self, time: Callable[[], float]) -> None:
            super().__init__()
            self.callbacks: dict[int, Callback] = {}
            self.has_work = False  # asyncio has something to do
            self._time = time
            self._epoll = select.epoll()
            self._epoll.register(super().fileno(), select.EPOLLIN)

        def watch(self, descriptor: int, events: int, callback: Callback) -> None:
            if not events:
                if self.callbacks.pop(descriptor, None) is not None:
                    self._epoll.unregister(descriptor)
            elif descriptor in self.callbacks:
                self._epoll.modify(descriptor, events)
            else:
                self._epoll.register(descriptor, events)
                self.callbacks[descriptor] = callback

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            until = None if timeout is None else self._time() + timeout
            left = -1.0 if timeout is None else max(timeout, 0.0)
            self.has_work = False
            while True:
                for descriptor, events in self._epoll.poll(left):
                    callback = self.callbacks.get(descriptor)
                    if callback is None:
                        self.has_work = True  # asyncio's epoll; or a descriptor that was let go in this very round
                        continue
                    try:
                        callback(events)
                    except Exception:
                        logger.exception("a socket's callback failed; this is a bug")
                if self.has_work:
                    return super().select(0)
                if until is not None:
                    left = until - self._time()
                    if left <= 0:
                        return []

        def close(self) -> None:
            self._epoll.close()
            super().close()

    class DirectLoop(asyncio.SelectorEventLoop):
        """asyncio's loop on a selector that calls the relay's sockets itself."""

        def __init__(self) -> None:
            self._direct = _DirectSelector(self.time)
            super().__init__(self._direct)
            self.watch: Watch = self._direct.watch

        def call_soon(
            self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
        ) -> asyncio.Handle:
            """As asyncio's; tells the selector to come back."""
            self._direct.has_work = True
            return super().call_soon(callback, *args, context=context)

        def call_at(
            self,
            when: float,
            callback: Callable[[Unpack[Ts]], object],
            *args: *Ts,
            context: Context | None = None,
        ) -> asyncio.TimerHandle:
            """As asyncio's; tells the selector to come back."""
            self._direct.has_work = True
            return super().call_at(when, callback, *args, context=context)

        def stop(self) -> None:
            """As asyncio's; tells the selector to come back."""
            self._direct.has_work = True
            super().stop()
