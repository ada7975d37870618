"""The wire over socket pairs whose other end is in the test's hands."""

import asyncio
import contextlib
import socket
import ssl
import struct

import pytest

from tests.fakes.authority import Authority
from tests.fakes.proxy import until
from warmwire import wire as module
from warmwire.wire import HIGH_WATER, Wire, start_tls


class Ear:
    """Listens to a wire and remembers."""

    def __init__(self, wire):
        self.wire = wire
        self.heard = b""
        self.pieces = 0
        self.lost = []
        self.drained = 0
        wire.listen(self.on_data, self.lost.append, self.on_drained)

    def on_data(self, data):
        self.heard += data
        self.pieces += 1

    def on_drained(self):
        self.drained += 1


@pytest.fixture
async def pair():
    """A wire and the blocking socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    wire = Wire(asyncio.get_running_loop(), ours)
    yield wire, theirs
    wire.abort()
    theirs.close()


async def connected():
    """Two ends of a TCP connection on localhost, for what socket pairs cannot show."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname(), timeout=5)
        ours, _ = listening.accept()
    return ours, theirs


def fill(wire):
    """Write until the system takes no more."""
    sent = 0
    while not wire.backlog:
        wire.write(b"x" * 65536)
        sent += 65536
    return sent


class TestReading:
    async def test_what_arrives_is_handed_over_in_order(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        for piece in (b"one ", b"two ", b"three"):
            theirs.sendall(piece)
            await asyncio.sleep(0)
        await until(lambda: ear.heard == b"one two three")

    async def test_nothing_is_read_before_somebody_listens(self, pair):
        wire, theirs = pair
        theirs.sendall(b"early")
        await asyncio.sleep(0.01)
        ear = Ear(wire)
        await until(lambda: ear.heard == b"early")

    async def test_while_it_is_paused_nothing_is_read_and_the_sender_is_held_up(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        wire.pause()
        theirs.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += theirs.send(b"x" * 65536)
        await asyncio.sleep(0.02)
        assert ear.heard == b""
        wire.resume()
        await until(lambda: len(ear.heard) == sent)

    async def test_a_listener_that_pauses_in_its_callback_gets_no_further_piece(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        wire.listen(lambda data: (ear.on_data(data), wire.pause()), ear.lost.append)
        theirs.sendall(b"x" * 3 * module.READ_SIZE)
        await asyncio.sleep(0.02)
        assert ear.pieces == 1
        wire.resume()
        await until(lambda: ear.pieces == 2)

    async def test_another_listener_takes_over_in_the_middle(self, pair):
        wire, theirs = pair
        first = Ear(wire)
        theirs.sendall(b"one")
        await until(lambda: first.heard == b"one")
        second = Ear(wire)
        theirs.sendall(b"two")
        await until(lambda: second.heard == b"two")
        assert first.heard == b"one"


class TestTheEnd:
    async def test_the_peers_end_is_told_once_and_the_socket_is_closed(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        theirs.sendall(b"last words")
        theirs.shutdown(socket.SHUT_WR)  # a half-close is an end too: nobody in this protocol goes on after it
        await until(lambda: ear.lost)
        assert (ear.heard, ear.lost) == (b"last words", [None])
        assert wire.closed.done()
        assert theirs.recv(1) == b""

    async def test_a_reset_is_told_with_its_reason(self):
        ours, theirs = await connected()
        wire = Wire(asyncio.get_running_loop(), ours)
        ear = Ear(wire)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        await until(lambda: ear.lost)
        assert isinstance(ear.lost[0], ConnectionResetError)
        assert len(ear.lost) == 1

    async def test_who_begins_to_listen_after_the_end_is_told_too(self, pair):
        wire, theirs = pair
        Ear(wire)
        theirs.close()
        await wire.closed
        late = Ear(wire)
        await until(lambda: late.lost == [None])

    async def test_writing_to_a_dead_peer_raises_nothing_and_reading_tells(self):
        ours, theirs = await connected()
        wire = Wire(asyncio.get_running_loop(), ours)
        ear = Ear(wire)
        wire.pause()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        await asyncio.sleep(0.01)
        wire.write(b"hello?")
        wire.write(b"hello?")
        await until(lambda: ear.lost)
        assert wire.backlog == 0

    async def test_abort_closes_at_once_and_tells_nobody(self, pair):
        wire, _ = pair
        ear = Ear(wire)
        fill(wire)
        wire.abort()
        wire.abort()
        assert wire.closed.done() and wire.backlog == 0
        wire.write(b"into the void")
        wire.close()
        wire.resume()
        await asyncio.sleep(0.01)
        assert ear.lost == []

    async def test_detach_gives_the_socket_back_open_and_unwatched(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        sock = wire.detach()
        theirs.sendall(b"for the next owner")
        await asyncio.sleep(0.01)
        assert ear.heard == b""
        assert sock.recv(100) == b"for the next owner"
        assert wire.closed.done()
        sock.close()


class TestWriting:
    async def test_what_the_system_does_not_take_is_sent_later_in_order(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        total = fill(wire)
        wire.write(b"the end")
        assert wire.backlog > 0
        received = await asyncio.to_thread(read_exactly, theirs, total + 7)
        assert received == b"x" * total + b"the end"
        await until(lambda: ear.drained == 1)
        assert wire.backlog == 0

    async def test_it_says_drained_only_after_something_had_to_wait(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        wire.write(b"short")
        assert theirs.recv(10) == b"short"
        await asyncio.sleep(0.01)
        assert ear.drained == 0

    async def test_a_peer_that_goes_away_with_unsent_bytes_leaves_none_behind(self, pair):
        wire, theirs = pair
        ear = Ear(wire)
        fill(wire)
        theirs.close()
        await until(lambda: ear.lost)
        assert wire.backlog == 0

    async def test_the_high_water_mark_is_reached_before_much_is_kept(self, pair):
        wire, _ = pair
        Ear(wire)
        fill(wire)
        while wire.backlog <= HIGH_WATER:
            wire.write(b"x" * module.READ_SIZE)
        assert wire.backlog <= HIGH_WATER + module.READ_SIZE


class TestClosing:
    @pytest.fixture(autouse=True)
    def patience(self, monkeypatch):
        """Whatever closes here does so because it should, not because its time is up."""
        monkeypatch.setattr(module, "LINGER", 1000)

    async def test_what_is_unsent_is_sent_before_our_end(self, pair):
        wire, theirs = pair
        Ear(wire)
        total = fill(wire)
        wire.write(b"sorry")
        wire.close()
        received = await asyncio.to_thread(read_exactly, theirs, total + 5)
        assert received.endswith(b"xsorry")
        assert await asyncio.to_thread(theirs.recv, 1) == b""
        theirs.close()
        await asyncio.wait_for(wire.closed, 5)

    async def test_an_error_is_still_read_by_a_peer_that_was_in_the_middle_of_sending(self):
        ours, theirs = await connected()
        wire = Wire(asyncio.get_running_loop(), ours)
        ear = Ear(wire)
        theirs.sendall(b"x" * 100_000)  # some of it unread when we close: an ordinary close would answer with a reset
        wire.write(b"ERR: too much")
        wire.close()
        await asyncio.to_thread(theirs.sendall, b"x" * 500_000)
        assert await asyncio.to_thread(read_exactly, theirs, 13) == b"ERR: too much"
        assert await asyncio.to_thread(theirs.recv, 1) == b""
        assert ear.heard == b"" and ear.lost == []
        theirs.close()
        await asyncio.wait_for(wire.closed, 5)

    async def test_a_peer_that_does_not_end_is_waited_for_only_so_long(self, pair, monkeypatch):
        monkeypatch.setattr(module, "LINGER", 0.05)
        wire, theirs = pair
        Ear(wire)
        wire.close()
        await asyncio.wait_for(wire.closed, 5)
        with pytest.raises(OSError):
            for _ in range(100):
                theirs.send(b"still here")

    async def test_closing_twice_or_writing_afterwards_does_no_harm(self, pair):
        wire, theirs = pair
        Ear(wire)
        wire.close()
        wire.write(b"too late")
        wire.close()
        assert theirs.recv(100) == b""
        theirs.close()
        await asyncio.wait_for(wire.closed, 5)

    async def test_who_begins_to_listen_while_it_closes_is_told_that_it_has_ended(self, pair):
        wire, theirs = pair
        wire.close()
        late = Ear(wire)
        await until(lambda: late.lost == [None])
        theirs.sendall(b"nobody reads this")
        theirs.close()
        await asyncio.wait_for(wire.closed, 5)
        assert late.heard == b""

    async def test_a_wire_that_was_paused_closes_too(self, pair):
        wire, theirs = pair
        Ear(wire)
        wire.pause()
        wire.close()
        theirs.close()
        await asyncio.wait_for(wire.closed, 5)


class TestQuiet:
    async def test_an_idle_wire_is_quiet(self, pair):
        wire, _ = pair
        assert wire.is_quiet()

    @pytest.mark.parametrize("how", ["bytes", "end", "half-close"])
    async def test_what_has_arrived_is_noticed_before_the_loop_has_seen_it(self, pair, how):
        wire, theirs = pair
        ear = Ear(wire)
        if how == "bytes":
            theirs.sendall(b"4031")
        elif how == "end":
            theirs.close()
        else:
            theirs.shutdown(socket.SHUT_WR)
        assert not wire.is_quiet()
        assert ear.lost == []  # never inside the call
        await until(lambda: ear.lost)
        assert wire.closed.done()
        assert not wire.is_quiet()

    async def test_a_reset_is_noticed(self):
        ours, theirs = await connected()
        wire = Wire(asyncio.get_running_loop(), ours)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        assert not wire.is_quiet()
        await asyncio.wait_for(wire.closed, 5)

    async def test_a_wire_that_we_close_ourselves_is_not_quiet(self, pair):
        wire, _ = pair
        wire.close()
        assert not wire.is_quiet()


class Peer:
    """The server's end of a TLS connection, without a socket of its own: bytes in, bytes out."""

    def __init__(self, context, sock):
        self.inbound, self.outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.inbound, self.outbound, server_side=True)
        self.sock = sock
        sock.setblocking(False)

    async def _more(self):
        self.flush()
        data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        if data:
            self.inbound.write(data)
        else:
            self.inbound.write_eof()

    def flush(self):
        while data := self.outbound.read():
            self.sock.setblocking(True)
            self.sock.sendall(data)
            self.sock.setblocking(False)

    async def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._more()
        self.flush()

    def write(self, data):
        self.tls.write(data)
        self.flush()

    async def read(self, size):
        received = b""
        while len(received) < size:
            try:
                received += self.tls.read(size - len(received))
            except ssl.SSLWantReadError:
                await self._more()
        return received


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def secure(authority):
    """A wire with TLS and its peer."""
    ours, theirs = await connected()
    ours.setblocking(False)
    peer = Peer(authority.server_context("db.example"), theirs)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        sock, _ = await asyncio.gather(start_tls(loop, ours, authority.client_context(), "db.example"), peer.handshake())
    wire = Wire(loop, sock)
    yield wire, peer
    wire.abort()
    theirs.close()


class TestTls:
    async def test_bytes_go_both_ways(self, secure):
        wire, peer = secure
        assert wire.is_secure
        ear = Ear(wire)
        wire.write(b"question")
        assert await peer.read(8) == b"question"
        peer.write(b"answer")
        await until(lambda: ear.heard == b"answer")

    async def test_session_tickets_do_not_make_an_idle_wire_loud(self, secure):
        wire, _ = secure
        for _ in range(3):
            assert wire.is_quiet()
            await asyncio.sleep(0.005)

    async def test_a_large_answer_arrives_whole_although_the_descriptor_falls_silent_before(self, secure):
        wire, peer = secure
        ear = Ear(wire)
        answer = bytes(range(256)) * 2000
        await asyncio.to_thread(peer.write, answer)
        await until(lambda: ear.heard == answer)

    async def test_what_was_decrypted_while_paused_is_handed_over_after_resuming(self, secure):
        wire, peer = secure
        ear = Ear(wire)
        heard = []

        def once(data):
            heard.append(data)
            wire.pause()

        wire.listen(once, ear.lost.append)
        await asyncio.to_thread(peer.write, b"x" * 40_000)
        for _ in range(1000):
            if sum(map(len, heard)) == 40_000:
                break
            await asyncio.sleep(0.002)
            wire.resume()
        assert b"".join(heard) == b"x" * 40_000

    async def test_unsent_bytes_are_sent_later_in_order(self, secure):
        wire, peer = secure
        ear = Ear(wire)
        total = 0
        while not wire.backlog or total < 1 << 20:
            wire.write(bytes((total // 65536 % 256,)) * 65536)
            total += 65536
        received = await peer.read(total)
        assert received == b"".join(bytes((number % 256,)) * 65536 for number in range(total // 65536))
        await until(lambda: ear.drained == 1)

    async def test_the_peers_end_is_told(self, secure):
        wire, peer = secure
        ear = Ear(wire)
        peer.sock.close()
        await until(lambda: ear.lost)
        assert wire.closed.done()

    async def test_garbage_instead_of_a_record_is_told_as_an_error(self, secure):
        wire, peer = secure
        ear = Ear(wire)
        peer.sock.send(b"this is no TLS record, whatever it may be")
        await until(lambda: ear.lost)
        assert isinstance(ear.lost[0], ssl.SSLError)

    async def test_closing_sends_what_is_unsent_and_ends(self, secure):
        wire, peer = secure
        Ear(wire)
        wire.write(b"\x01\x00\x00\x00\x01")
        wire.close()
        assert await peer.read(5) == b"\x01\x00\x00\x00\x01"
        peer.sock.close()
        await asyncio.wait_for(wire.closed, 5)

    async def test_a_wire_that_ended_while_idle_is_not_quiet(self, secure):
        wire, peer = secure
        peer.sock.close()
        assert not wire.is_quiet()


class TestStartTls:
    async def test_a_certificate_for_another_name_is_refused_and_the_socket_closed(self, authority):
        ours, theirs = await connected()
        ours.setblocking(False)
        peer = Peer(authority.server_context("other.example"), theirs)
        loop = asyncio.get_running_loop()
        shaking = asyncio.gather(peer.handshake(), return_exceptions=True)
        with pytest.raises(ssl.SSLCertVerificationError):
            await start_tls(loop, ours, authority.client_context(), "db.example")
        await shaking
        assert ours.fileno() == -1
        theirs.close()

    async def test_a_cancelled_handshake_closes_the_socket_and_watches_it_no_more(self, authority):
        ours, theirs = await connected()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await start_tls(loop, ours, authority.client_context(), "db.example")
        theirs.settimeout(5)
        while theirs.recv(65536):  # the ClientHello, then our end
            pass
        theirs.close()

    async def test_a_peer_that_ends_during_the_handshake_is_an_os_error(self, authority):
        ours, theirs = await connected()
        ours.setblocking(False)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError):
            await start_tls(asyncio.get_running_loop(), ours, authority.client_context(), "db.example")
        theirs.close()


def read_exactly(sock, size):
    received = bytearray()
    while len(received) < size and (data := sock.recv(1 << 20)):
        received += data
    return bytes(received)
