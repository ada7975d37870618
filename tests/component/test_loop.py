import asyncio
import socket
import threading

import pytest

from warmwire.loop import READABLE, WRITABLE, DirectLoop, new_loop, watch_on


@pytest.fixture(params=["direct", "asyncio"])
def loop(request):
    """Both loops: what is watched is told in the same way."""
    made = DirectLoop() if request.param == "direct" else asyncio.SelectorEventLoop()
    yield made
    made.close()


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    for sock in (left, right):
        sock.setblocking(False)
    yield left, right
    left.close()
    right.close()


def run(loop, seconds=5.0):
    """Until somebody stops the loop; that nobody does is a failure."""
    late = loop.call_later(seconds, lambda: pytest.fail("nothing happened"))
    loop.run_forever()
    late.cancel()


def test_on_linux_the_loop_is_the_direct_one():
    loop = new_loop()
    assert isinstance(loop, DirectLoop)
    loop.close()


def test_what_arrives_is_told_until_nobody_watches(loop, pair):
    left, right = pair
    told, watch = [], watch_on(loop)

    def happened(events):
        told.append((events, left.recv(10)))
        if len(told) == 2:
            watch(left.fileno(), 0, happened)
            right.send(b"three")
            loop.call_soon(loop.call_soon, loop.stop)

    watch(left.fileno(), READABLE, happened)
    right.send(b"one")
    loop.call_soon(lambda: loop.call_later(0.01, right.send, b"two"))
    run(loop)
    assert told == [(READABLE, b"one"), (READABLE, b"two")]
    assert left.recv(10) == b"three"


def test_room_to_write_is_told_and_the_end_of_the_other_side_too(loop, pair):
    left, right = pair
    told, watch = [], watch_on(loop)

    def happened(events):
        told.append(bool(events & ~READABLE))
        watch(left.fileno(), READABLE, happened)
        right.close()
        if len(told) == 2:
            watch(left.fileno(), 0, happened)
            loop.stop()

    watch(left.fileno(), READABLE | WRITABLE, happened)
    run(loop)
    assert told[0] is True
    assert left.recv(10) == b""


def test_timers_tasks_and_threads_get_their_turn_while_a_socket_never_rests(loop, pair):
    left, right = pair
    watch = watch_on(loop)
    seen = set()

    def happened(_):
        left.recv(1)
        right.send(b"x")  # there is always something to read

    async def work():
        await asyncio.sleep(0.02)
        seen.add("task")
        await asyncio.to_thread(seen.add, "thread")
        threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,)).start()

    loop.call_later(0.01, seen.add, "timer")
    watch(left.fileno(), READABLE, happened)
    right.send(b"x")
    task = loop.create_task(work())
    run(loop)
    watch(left.fileno(), 0, happened)
    assert seen == {"timer", "task", "thread"} and task.done()


def test_a_callback_that_fails_is_logged_and_harms_nobody_else(pair, caplog):
    loop = DirectLoop()
    left, right = pair
    told = []

    def fails(_):
        left.recv(1)
        raise ValueError("oh")

    def works(_):
        told.append(right.recv(1))
        loop.stop()

    loop.watch(left.fileno(), READABLE, fails)
    loop.watch(right.fileno(), READABLE, works)
    right.send(b"l")
    loop.call_later(0.02, left.send, b"r")
    run(loop)
    loop.close()
    assert told == [b"r"]
    assert "this is a bug" in caplog.text


def test_a_descriptor_that_was_let_go_in_the_same_round_is_not_told(pair):
    loop = DirectLoop()
    left, right = pair
    told = []

    def first(name, other):
        def happened(_):
            told.append(name)
            loop.watch(other.fileno(), 0, happened)
            loop.stop()

        return happened

    loop.watch(left.fileno(), READABLE, first("left", right))
    loop.watch(right.fileno(), READABLE, first("right", left))
    left.send(b"x")
    right.send(b"x")
    run(loop)
    loop.close()
    assert len(told) == 1
