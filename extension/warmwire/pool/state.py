"""Who is where in the pool: pure accounting, one transition at a time.

Each upstream has a *slot* from the moment it is being opened until it is closed, so the number of slots is the number of
connections that the database sees from here. :meth:`PoolState.request` decides, the async pool carries out.

A slot's states, which are also the words in logs::

    (none) ─► OPENING ─► ACTIVE ─► RESETTING ─► IDLE ─► ACTIVE …
                 │          ├─► ABANDONED │        │
                 └──────────┴───────┴─────┴────────┴──► CLOSING ─► (none)
"""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from warmwire.errors import WarmwireError


class SlotState(Enum):
    """What an upstream is doing."""

    OPENING = "opening"
    ACTIVE = "active"
    RESETTING = "resetting"
    IDLE = "idle"
    ABANDONED = "abandoned"
    """Its client left in the middle of a response, which goes on."""
    CLOSING = "closing"


LEGAL = frozenset(
    (
        (SlotState.OPENING, SlotState.ACTIVE),
        (SlotState.OPENING, SlotState.CLOSING),
        (SlotState.ACTIVE, SlotState.RESETTING),
        (SlotState.ACTIVE, SlotState.IDLE),  # the client did nothing with it
        (SlotState.ACTIVE, SlotState.ABANDONED),
        (SlotState.ACTIVE, SlotState.CLOSING),
        (SlotState.ABANDONED, SlotState.CLOSING),
        (SlotState.RESETTING, SlotState.IDLE),
        (SlotState.RESETTING, SlotState.CLOSING),
        (SlotState.IDLE, SlotState.ACTIVE),
        (SlotState.IDLE, SlotState.CLOSING),
    )
)


class Slot:
    """One upstream's place. ``baseline`` is any value that compares equal when no reset is needed."""

    __slots__ = ("baseline", "is_used", "key", "number", "state")

    def __init__(self, number: int, key: int) -> None:
        self.number = number
        self.key = key
        self.state = SlotState.OPENING
        self.baseline: object = None
        self.is_used = True
        """False while it was opened ahead and no client has had it."""

    def __repr__(self) -> str:
        return f"<Slot {self.number} {self.state.value}>"


Rank = Callable[[Slot], int]


def _all_the_same(_: Slot) -> int:
    return 0


class Use(NamedTuple):
    """Take this idle upstream; its slot is ACTIVE now."""

    slot: Slot


class Open(NamedTuple):
    """Open a new upstream in this slot; close ``instead`` first, an idle one of another kind, if there is one."""

    slot: Slot
    instead: Slot | None


class Wait(NamedTuple):
    """Nothing is free: queue up."""

    is_soon: bool
    """Whether an upstream of this kind is just being reset: that takes less than opening another one."""


class PoolState:
    """The slots and how many waiters there are.

    Args:
        size: upstreams to keep when nobody needs more.
        maximum: upstreams at once.
    """

    def __init__(self, size: int, maximum: int) -> None:
        self.size = size
        self.maximum = maximum
        self.slots: dict[int, Slot] = {}
        self._next = 1
        self._idle: list[Slot] = []  # most recently used last

    @property
    def idle(self) -> tuple[Slot, ...]:
        """The idle slots, the most recently used first."""
        return tuple(reversed(self._idle))

    def request(
        self, key: int, baseline: object, *, ahead: int = 0, patient: bool = False, rank: Rank = _all_the_same
    ) -> Use | Open | Wait:
        """Decide for one client that needs an upstream of this kind.

        An idle one at the same baseline is best, then one that needs a reset, then one that is being reset, then a new
        one; an idle one of another kind gives way when the pool is full.

        Args:
            key: the pool key.
            baseline: the session state it should be in.
            ahead: clients that wait already and come first.
            patient: whether to wait for one that is being reset.
            rank: of equally good idle ones, which comes first: the one with the lowest number.
        """
        fitting = sorted((slot for slot in self.idle if slot.key == key), key=rank)
        if fitting:
            slot = next((slot for slot in fitting if slot.baseline == baseline), fitting[0])
            self.move(slot, SlotState.ACTIVE)
            return Use(slot)
        if patient and ahead < sum(s.key == key and s.state is SlotState.RESETTING for s in self.slots.values()):
            return Wait(is_soon=True)
        instead = next((slot for slot in self._idle if not slot.is_used), None)  # opened ahead, on a wrong guess
        if instead is None and self.open_count >= self.maximum:
            if not self._idle:
                return Wait(is_soon=False)
            instead = self._idle[0]
        if instead is not None:
            self.move(instead, SlotState.CLOSING)
        slot = Slot(self._next, key)
        self._next += 1
        self.slots[slot.number] = slot
        return Open(slot, instead)

    def move(self, slot: Slot, state: SlotState) -> None:
        """Change a slot's state; the only way to.

        Raises:
            WarmwireError: the change is not legal. That is a bug in the pool.
        """
        if (slot.state, state) not in LEGAL:
            raise WarmwireError(f"slot {slot.number} cannot go from {slot.state.value} to {state.value}")
        if slot.state is SlotState.IDLE:
            self._idle.remove(slot)
        if state is SlotState.IDLE:
            self._idle.append(slot)
        slot.is_used = slot.is_used or state is SlotState.ACTIVE
        slot.state = state

    def closed(self, slot: Slot) -> None:
        """The slot's connection is gone (or was never there)."""
        if slot.state is not SlotState.CLOSING:
            self.move(slot, SlotState.CLOSING)
        self.slots.pop(slot.number, None)

    def surplus(self) -> list[Slot]:
        """Idle slots above the size to keep, the longest unused first; they are CLOSING now."""
        chosen = self._idle[: max(0, len(self._idle) - max(0, self.size - self._busy))]
        for slot in chosen:
            self.move(slot, SlotState.CLOSING)
        return chosen

    @property
    def open_count(self) -> int:
        """Slots that hold, or are about to hold, a connection at the database. Those that are closing do not count."""
        return sum(slot.state is not SlotState.CLOSING for slot in self.slots.values())

    @property
    def _busy(self) -> int:
        return self.open_count - len(self._idle)

    def describe(self) -> str:
        """The slots in words, for messages: ``3 of 5 upstreams open: 2 active, 1 resetting``."""
        counts = dict.fromkeys(SlotState, 0)
        for slot in self.slots.values():
            counts[slot.state] += 1
        parts = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
        return f"{self.open_count} of {self.maximum} upstreams open" + (f": {parts}" if parts else "")

    def check_invariants(self) -> None:
        """For tests: raise AssertionError if the books do not balance."""
        if self.open_count > self.maximum:
            raise AssertionError(f"{self.open_count} upstreams open, {self.maximum} allowed")
        if sorted(s.number for s in self._idle) != sorted(n for n, s in self.slots.items() if s.state is SlotState.IDLE):
            raise AssertionError("the idle list and the slots disagree")
