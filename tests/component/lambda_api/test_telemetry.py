"""The telemetry listener, posted to by the platform, and by anybody else in the sandbox."""

import asyncio
import contextlib
import json

import pytest

from warmwire.lambda_api import telemetry as module
from warmwire.lambda_api.telemetry import TelemetryListener


def done(request_id):
    return json.dumps([{"time": "t", "type": "platform.runtimeDone", "record": {"requestId": request_id}}]).encode()


def post(body, *, head=b"POST / HTTP/1.1\r\nHost: sandbox.localdomain\r\n"):
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture
async def listener():
    """A listener, and a way to connect to it."""
    telemetry = TelemetryListener()
    uri = await telemetry.start()
    writers = []

    async def connect():
        port = int(uri.rsplit(":", 1)[1].strip("/"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    telemetry.connect = connect
    yield telemetry
    telemetry.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    await asyncio.sleep(0.01)


async def say(listener, data):
    """Send bytes on a connection of their own and give the first line of the answer; empty if there is none."""
    reader, writer = await listener.connect()
    writer.write(data)
    async with asyncio.timeout(5):
        return await reader.readline()


async def ended(listener, request_id, timeout=5.0):
    return await listener.wait_for_end(request_id, timeout)


async def test_the_uri_names_the_host_as_the_platform_wants_it():
    telemetry = TelemetryListener()
    uri = await telemetry.start()
    telemetry.close()
    assert uri.startswith("http://sandbox.localdomain:") and uri.endswith("/")


class TestPosts:
    async def test_an_end_is_reported_and_who_waits_is_told(self, listener):
        waiting = asyncio.create_task(ended(listener, "r1"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        assert await say(listener, post(done("r1"))) == b"HTTP/1.1 200 OK\r\n"
        assert await waiting is True

    async def test_an_end_that_was_reported_before_the_invocation_was_seen_is_known(self, listener):
        await say(listener, post(done("r1")))
        assert await ended(listener, "r1", 0.0) is True

    async def test_the_end_of_another_invocation_is_not_taken_for_it(self, listener):
        await say(listener, post(done("old")))
        assert await ended(listener, "new", 0.05) is False

    async def test_an_end_that_is_not_reported_is_waited_for_only_so_long(self, listener):
        assert await ended(listener, "r1", 0.05) is False

    async def test_several_posts_come_over_one_connection(self, listener):
        reader, writer = await listener.connect()
        for number in range(3):
            writer.write(post(done(f"r{number}")))
            async with asyncio.timeout(5):
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        assert [await ended(listener, f"r{number}", 0.0) for number in range(3)] == [True] * 3

    async def test_a_post_may_come_in_any_pieces(self, listener):
        _, writer = await listener.connect()
        for byte in post(done("r1")):
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert await ended(listener, "r1") is True

    @pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-LENGTH", b"Content-Length "])
    async def test_the_names_of_headers_have_no_case(self, listener, name):
        body = done("r1")
        await say(listener, b"POST /x HTTP/1.1\r\nX: y\r\n" + name + b":%d\r\n\r\n" % len(body) + body)
        assert await ended(listener, "r1") is True

    async def test_a_large_post_is_read_whole(self, listener):
        filler = {"time": "t", "type": "platform.report", "record": {"x": "y" * 1000}}
        body = json.dumps([filler] * 1000 + json.loads(done("r1"))).encode()
        assert len(body) > 1_000_000
        assert await say(listener, post(body)) == b"HTTP/1.1 200 OK\r\n"
        assert await ended(listener, "r1") is True


class TestWhoeverElsePosts:
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"null", b"7", b'"platform.runtimeDone"', b"{}", b"[]", b"[[]]", b"\xff\xfe\x00", b"[" * 100_000,
         b'[{"type":"platform.runtimeDone","record":{"requestId":{}}}]', b'{"type":"platform.runtimeDone"}'],
    )  # fmt: skip
    async def test_a_body_that_makes_no_sense_is_taken_and_forgotten(self, listener, body):
        assert await say(listener, post(body)) == b"HTTP/1.1 200 OK\r\n"
        await say(listener, post(done("r1")))
        assert await ended(listener, "r1") is True

    @pytest.mark.parametrize(
        "head",
        [
            b"GET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            b"post / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            b"\r\n\r\n",
        ],
    )
    async def test_a_request_that_is_no_post_of_the_platform_is_refused(self, listener, head):
        assert await say(listener, head) == b"HTTP/1.1 400 Bad Request\r\n"
        await say(listener, post(done("r1")))
        assert await ended(listener, "r1") is True

    async def test_a_head_without_end_is_cut_off(self, listener):
        assert await say(listener, b"POST / HTTP/1.1\r\nX: " + b"y" * 100_000) == b""
        await say(listener, post(done("r1")))
        assert await ended(listener, "r1") is True

    async def test_who_posts_slowly_or_stops_halfway_holds_nobody_up(self, listener):
        for _ in range(20):
            _, writer = await listener.connect()
            writer.write(post(done("never"))[:-5])
        for _ in range(5):
            _, writer = await listener.connect()
            writer.write(b"POS")
            writer.close()
        await say(listener, post(done("r1")))
        assert await ended(listener, "r1") is True
        assert await ended(listener, "never", 0.0) is False


async def test_closing_stops_listening_and_may_be_done_before_starting(listener):
    TelemetryListener().close()
    listener.close()
    with pytest.raises(OSError):
        await listener.connect()


async def test_a_name_that_takes_long_to_look_up_does_not_hold_up_the_start(monkeypatch):
    monkeypatch.setattr(module, "_LOOKUP_TIMEOUT", 0.05)

    async def never(*_: object, **__: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    telemetry = TelemetryListener()
    try:
        async with asyncio.timeout(5):
            assert (await telemetry.start()).startswith("http://sandbox.localdomain:")
    finally:
        telemetry.close()
