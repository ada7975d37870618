import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from warmwire.errors import WarmwireError
from warmwire.pool.state import LEGAL, Open, PoolState, Slot, SlotState, Use, Wait

S = SlotState
KEY, OTHER = 1, 2

# Written out by hand, from the picture in the module's description; a set taken from the code would agree with any mistake.
ALLOWED = {
    (S.OPENING, S.ACTIVE),
    (S.OPENING, S.CLOSING),
    (S.ACTIVE, S.RESETTING),
    (S.ACTIVE, S.IDLE),
    (S.ACTIVE, S.ABANDONED),
    (S.ACTIVE, S.CLOSING),
    (S.RESETTING, S.IDLE),
    (S.RESETTING, S.CLOSING),
    (S.IDLE, S.ACTIVE),
    (S.IDLE, S.CLOSING),
    (S.ABANDONED, S.CLOSING),
}


def test_the_legal_moves_are_the_ones_of_the_picture():
    assert LEGAL == ALLOWED


@pytest.mark.parametrize(("before", "after"), list(itertools.product(SlotState, SlotState)))
def test_a_slot_moves_only_where_the_picture_says(before, after):
    pool = PoolState(1, 1)
    slot = Slot(1, KEY)
    pool.slots[1] = slot
    ways = {  # the legal way to each state
        S.OPENING: [], S.ACTIVE: [S.ACTIVE], S.RESETTING: [S.ACTIVE, S.RESETTING], S.IDLE: [S.ACTIVE, S.IDLE],
        S.ABANDONED: [S.ACTIVE, S.ABANDONED], S.CLOSING: [S.CLOSING],
    }  # fmt: skip
    for state in ways[before]:
        pool.move(slot, state)
    if (before, after) in ALLOWED:
        pool.move(slot, after)
        assert slot.state is after
    else:
        with pytest.raises(WarmwireError, match=f"slot 1 cannot go from {before.value} to {after.value}"):
            pool.move(slot, after)
        assert slot.state is before
    pool.check_invariants()


def opened(pool, key=KEY, baseline="a", state=S.IDLE):
    decision = pool.request(key, baseline)
    assert isinstance(decision, Open)
    slot = decision.slot
    slot.baseline = baseline
    pool.move(slot, S.ACTIVE)
    if state is not S.ACTIVE:
        pool.move(slot, state)
    return slot


class TestRequest:
    def test_the_first_client_opens(self):
        pool = PoolState(1, 2)
        decision = pool.request(KEY, "a")
        assert isinstance(decision, Open) and decision.instead is None
        assert (decision.slot.state, decision.slot.key) == (S.OPENING, KEY)

    def test_an_idle_one_at_the_same_baseline_comes_first_and_of_those_the_last_used(self):
        pool = PoolState(3, 3)
        slots = [opened(pool, baseline=baseline, state=S.ACTIVE) for baseline in ("a", "b", "a")]
        for slot in slots:
            pool.move(slot, S.IDLE)
        assert pool.request(KEY, "b") == Use(slots[1])
        assert pool.request(KEY, "a") == Use(slots[2])
        assert pool.request(KEY, "b") == Use(slots[0])  # needs a reset, and is better than opening
        assert [slot.state for slot in slots] == [S.ACTIVE] * 3

    def test_one_of_another_key_is_left_alone_while_there_is_room(self):
        pool = PoolState(1, 2)
        first = opened(pool)
        decision = pool.request(OTHER, "a")
        assert isinstance(decision, Open) and decision.instead is None
        assert first.state is S.IDLE

    def test_in_a_full_pool_the_longest_unused_idle_one_gives_way(self):
        pool = PoolState(1, 2)
        first, second = opened(pool, state=S.ACTIVE), opened(pool, state=S.ACTIVE)
        pool.move(second, S.IDLE)
        pool.move(first, S.IDLE)
        decision = pool.request(OTHER, "a")
        assert isinstance(decision, Open) and decision.instead is second
        assert second.state is S.CLOSING
        pool.check_invariants()

    def test_when_nothing_is_idle_in_a_full_pool_a_client_waits(self):
        pool = PoolState(1, 1)
        opened(pool, state=S.ACTIVE)
        assert pool.request(KEY, "a") == Wait(is_soon=False)

    def test_one_that_is_closing_makes_room_at_once(self):
        pool = PoolState(1, 1)
        pool.move(opened(pool), S.CLOSING)
        assert pool.open_count == 0
        assert isinstance(pool.request(KEY, "a"), Open)
        pool.check_invariants()

    def test_one_that_is_abandoned_still_counts(self):
        pool = PoolState(1, 1)
        opened(pool, state=S.ABANDONED)
        assert pool.request(KEY, "a") == Wait(is_soon=False)

    def test_a_patient_client_waits_for_one_that_is_being_reset_unless_others_do(self):
        pool = PoolState(1, 3)
        opened(pool, state=S.RESETTING)
        assert pool.request(KEY, "a", ahead=0, patient=True) == Wait(is_soon=True)
        assert isinstance(pool.request(KEY, "a", ahead=1, patient=True), Open)
        assert isinstance(pool.request(KEY, "a", ahead=0, patient=False), Open)

    def test_nobody_waits_for_the_reset_of_another_kind(self):
        pool = PoolState(1, 2)
        opened(pool, state=S.RESETTING)
        assert isinstance(pool.request(OTHER, "a", patient=True), Open)

    def test_one_that_was_opened_ahead_and_never_used_gives_way_even_if_there_is_room(self):
        pool = PoolState(1, 5)
        ahead = opened(pool)
        ahead.is_used = False
        decision = pool.request(OTHER, "a")
        assert isinstance(decision, Open) and decision.instead is ahead

    def test_once_used_it_does_not(self):
        pool = PoolState(1, 5)
        ahead = opened(pool)
        ahead.is_used = False
        assert pool.request(KEY, "a") == Use(ahead)
        pool.move(ahead, S.IDLE)
        decision = pool.request(OTHER, "a")
        assert isinstance(decision, Open) and decision.instead is None


class TestSurplus:
    @pytest.mark.parametrize(
        ("size", "idle", "active", "closes"),
        [(1, 0, 0, 0), (1, 1, 0, 0), (1, 3, 0, 2), (2, 3, 0, 1), (2, 3, 1, 2), (1, 2, 1, 2), (0, 2, 0, 2), (5, 3, 1, 0)],
    )
    def test_what_is_idle_above_the_size_goes_the_longest_unused_first(self, size, idle, active, closes):
        pool = PoolState(size, 10)
        slots = [opened(pool, state=S.ACTIVE) for _ in range(idle + active)]
        for slot in slots[:idle]:
            pool.move(slot, S.IDLE)
        assert pool.surplus() == slots[:closes]
        assert all(slot.state is S.CLOSING for slot in slots[:closes])
        pool.check_invariants()


def test_the_state_in_words():
    pool = PoolState(1, 5)
    assert pool.describe() == "0 of 5 upstreams open"
    for state in (S.ACTIVE, S.ACTIVE, S.RESETTING, S.ABANDONED):
        opened(pool, state=state)
    assert pool.describe() == "4 of 5 upstreams open: 2 active, 1 resetting, 1 abandoned"
    pool.request(OTHER, "a")
    assert pool.describe() == "5 of 5 upstreams open: 1 opening, 2 active, 1 resetting, 1 abandoned"
    assert repr(pool.slots[1]) == "<Slot 1 active>"


def test_a_closed_slot_is_forgotten_and_closing_it_again_does_no_harm():
    pool = PoolState(1, 1)
    slot = opened(pool)
    pool.closed(slot)
    pool.closed(slot)
    assert not pool.slots
    pool.check_invariants()


class TestInvariants:
    def test_too_many_open_slots_are_noticed(self):
        pool = PoolState(1, 1)
        opened(pool)
        pool.slots[99] = Slot(99, KEY)
        with pytest.raises(AssertionError, match="2 upstreams open, 1 allowed"):
            pool.check_invariants()

    def test_a_state_that_was_changed_by_hand_is_noticed(self):
        pool = PoolState(1, 1)
        opened(pool).state = S.ACTIVE
        with pytest.raises(AssertionError, match="the idle list and the slots disagree"):
            pool.check_invariants()


class PoolMachine(RuleBasedStateMachine):
    """Clients and networks doing whatever they like to one pool, in any order."""

    def __init__(self):
        super().__init__()
        self.pool = PoolState(1, 3)

    @rule(key=st.sampled_from([KEY, OTHER]), baseline=st.sampled_from("ab"), ahead=st.integers(0, 2), patient=st.booleans())
    def request(self, key, baseline, ahead, patient):
        before = self.pool.open_count
        idle = [slot for slot in self.pool.slots.values() if slot.state is S.IDLE]
        fitting = [slot for slot in idle if slot.key == key]
        resetting = sum(slot.key == key and slot.state is S.RESETTING for slot in self.pool.slots.values())
        match self.pool.request(key, baseline, ahead=ahead, patient=patient):
            case Use(slot):
                assert slot in fitting
                assert slot.baseline == baseline or all(other.baseline != baseline for other in fitting)
            case Open(slot, instead):
                assert not fitting and slot.state is S.OPENING and slot.key == key
                assert (instead is None) == (before < 3)
                if instead is not None:
                    assert instead in idle
            case Wait(is_soon):
                assert not fitting
                assert (patient and ahead < resetting) if is_soon else (before == 3 and not idle)

    def _take(self, state, index):
        slots = [slot for slot in self.pool.slots.values() if slot.state is state]
        return slots[index % len(slots)] if slots else None

    @rule(index=st.integers(0, 2), baseline=st.sampled_from("ab"))
    def has_opened(self, index, baseline):
        if (slot := self._take(S.OPENING, index)) is not None:
            slot.baseline = baseline
            self.pool.move(slot, S.ACTIVE)

    @rule(index=st.integers(0, 2), fate=st.sampled_from([S.RESETTING, S.IDLE, S.ABANDONED, S.CLOSING]))
    def client_leaves(self, index, fate):
        if (slot := self._take(S.ACTIVE, index)) is not None:
            self.pool.move(slot, fate)

    @rule(index=st.integers(0, 2), baseline=st.sampled_from(["a", "b", None]))
    def has_been_reset(self, index, baseline):
        if (slot := self._take(S.RESETTING, index)) is not None:
            slot.baseline = baseline
            self.pool.move(slot, S.IDLE)

    @rule(state=st.sampled_from(SlotState), index=st.integers(0, 2))
    def dies(self, state, index):
        if (slot := self._take(state, index)) is not None:
            self.pool.closed(slot)
            assert slot.number not in self.pool.slots

    @rule()
    def invocation_ends(self):
        busy = sum(slot.state not in (S.IDLE, S.CLOSING) for slot in self.pool.slots.values())
        self.pool.surplus()
        idle = sum(slot.state is S.IDLE for slot in self.pool.slots.values())
        assert idle <= max(0, 1 - busy)

    @invariant()
    def books_balance(self):
        self.pool.check_invariants()
        assert self.pool.open_count <= 3
        numbers = [slot.number for slot in self.pool.slots.values()]
        assert len(set(numbers)) == len(numbers)


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
