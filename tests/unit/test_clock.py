import time

import pytest

from tests.fakes.clock import ManualClock
from warmwire.clock import Instant, SystemClock


@pytest.mark.parametrize(
    ("later", "age"),
    [
        (Instant(1003.0, 53.0), 3.0),
        (Instant(4600.0, 50.1), 3600.0),  # a freeze stops the monotonic clock
        (Instant(900.0, 57.0), 7.0),  # somebody has set the wall clock back
        (Instant(900.0, 40.0), 0.0),  # never negative
        (Instant(1000.0, 50.0), 0.0),
    ],
)
def test_an_age_is_the_larger_of_the_two_differences(later, age):
    assert Instant(1000.0, 50.0).age(later) == pytest.approx(age)


def test_the_clock_for_tests_tells_a_freeze_from_a_wait():
    clock = ManualClock()
    start = clock.now()
    clock.advance(2)
    assert clock.now() == Instant(start.wall + 2, start.monotonic + 2)
    clock.freeze(3600)
    assert clock.now() == Instant(start.wall + 3602, start.monotonic + 2)
    assert start.age(clock.now()) == 3602


def test_the_machines_clocks_are_the_wall_clock_and_the_monotonic_one():
    before = time.time(), time.monotonic()
    now = SystemClock().now()
    assert before[0] <= now.wall <= time.time()
    assert before[1] <= now.monotonic <= time.monotonic()
