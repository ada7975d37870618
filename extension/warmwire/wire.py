"""A non-blocking socket on the event loop, plain or TLS: bytes in, bytes out, back-pressure, an orderly end.

It replaces asyncio's transports because it is on the path of every byte: one ``recv`` and one ``send`` per read and
nothing between, and TLS straight on the socket instead of through memory buffers (docs/adr/0002-wire-and-login.md).
It knows nothing of packets.
"""

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any

from warmwire.loop import READABLE, WRITABLE, watch_on

READ_SIZE = 64 * 1024
"""Bytes per read; four TLS records."""
TLS_RECORD = 16 * 1024
"""Bytes of plain text in a full TLS record (RFC 8446 §5.1)."""
HIGH_WATER = 256 * 1024
"""Unsent bytes above which whoever feeds this wire should stop reading."""
LINGER = 1.0
"""Seconds that a closing wire waits for its peer to end too."""

_WANT = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Address = tuple[int, Any]
"""A socket's family, and an address of that family."""
OnData = Callable[[bytes], None]
OnLost = Callable[[OSError | None], None]
OnDrained = Callable[[], None]


class Wire:
    """One connected socket. All callbacks run on the loop's thread, never inside a call to this object.

    Args:
        loop: the running loop.
        sock: connected; a ``ssl.SSLSocket`` must have finished its handshake. It is made non-blocking.
    """

    __slots__ = (
        "_broken",
        "_closing",
        "_fd",
        "_loop",
        "_on_data",
        "_on_drained",
        "_on_lost",
        "_out",
        "_poll",
        "_reading",
        "_secure",
        "_socket",
        "_watch",
        "_writing",
        "closed",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._socket = sock
        self._secure = sock if isinstance(sock, ssl.SSLSocket) else None
        self._fd = sock.fileno()
        self._watch = watch_on(loop)
        self._out = bytearray()
        self._reading = False
        self._writing = False
        self._closing = False
        self._broken = False
        self._poll: select.poll | None = None
        self._on_data: OnData = _ignore
        self._on_lost: OnLost = _ignore
        self._on_drained: OnDrained = _nothing
        self.closed = loop.create_future()
        """Done when the socket is closed."""

    def listen(self, on_data: OnData, on_lost: OnLost, on_drained: OnDrained | None = None) -> None:
        """Say who gets what arrives from now on, and start reading.

        Args:
            on_data: gets each piece that arrives.
            on_lost: called once when the peer has ended (None) or the connection broke; the socket is closed then. Also
                if that was so before.
            on_drained: called when all unsent bytes went out after some had to wait.
        """
        if self._closing or self.closed.done():
            self._loop.call_soon(on_lost, None)  # it ended while nobody, or somebody else, listened
            return
        self._on_data, self._on_lost, self._on_drained = on_data, on_lost, on_drained or _nothing
        self.resume()

    @property
    def backlog(self) -> int:
        """Bytes that were written but could not be sent yet."""
        return len(self._out)

    @property
    def is_secure(self) -> bool:
        """Whether TLS is on."""
        return self._secure is not None

    @property
    def peer(self) -> Address:
        """Where the other end is. Raises OSError when the connection is gone."""
        return self._socket.family, self._socket.getpeername()

    def write(self, data: bytes) -> None:
        """Send bytes, keeping what the system does not take at once. After a failure they are dropped: reading tells."""
        if self._out:
            self._out += data
            return
        if self._broken or self._closing:
            return
        try:
            sent = self._socket.send(data)
        except _WANT:
            sent = 0
        except OSError:
            self._broken = True
            self.resume()
            return
        if sent < len(data):
            self._out += memoryview(data)[sent:]
            self._want_write()

    def pause(self) -> None:
        """Stop reading."""
        if self._reading:
            self._reading = False
            self._watch_anew()

    def resume(self) -> None:
        """Go on reading."""
        if not self._reading and not self.closed.done():
            self._reading = True
            self._watch_anew()
            if self._secure is not None and self._secure.pending():
                self._loop.call_soon(self._readable)  # decrypted already, so the descriptor will not say so

    def is_quiet(self) -> bool:
        """Whether nothing has arrived that was not read yet, the peer's end included. For a wire that should be idle.

        One system call. Needed because after a freeze the loop may see a command before it sees that its connection died.
        """
        if self.closed.done() or self._closing:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN | getattr(select, "POLLRDHUP", 0))
        if not self._poll.poll(0):
            return True
        try:
            data = self._socket.recv(1)  # TLS may only have to digest a session ticket
        except _WANT:
            return True
        except OSError as problem:
            self._loop.call_soon(self._lose, problem)
            return False
        self._loop.call_soon(self._lose, None if not data else OSError("unexpected bytes on an idle connection"))
        return False

    def detach(self) -> socket.socket:
        """Give the socket back, for instance to put TLS on it. This wire is of no use afterwards."""
        self._release()
        if not self.closed.done():
            self.closed.set_result(None)
        return self._socket

    def close(self) -> None:
        """Send what is unsent, end our side, wait up to LINGER seconds for the peer's end, and close.

        Closing at once would let the system answer unread bytes with a reset, which can overtake an error packet that
        the peer should still read. Returns immediately; await ``closed`` to know when it is done.
        """
        if self._closing or self.closed.done():
            return
        self._closing = True
        self._on_data, self._on_lost, self._on_drained = _ignore, _ignore, _nothing
        self.resume()
        if not self._out:
            self._end_our_side()
        self._loop.call_later(LINGER, self.abort)

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        if not self.closed.done():
            self._release()
            self._socket.close()
            self.closed.set_result(None)

    def _readable(self) -> None:
        secure = self._secure
        while self._reading:
            try:
                data = self._socket.recv(READ_SIZE)
                if len(data) == TLS_RECORD and secure is not None:
                    data = self._more_records(data)
            except _WANT:
                return
            except OSError as problem:
                self._lose(problem)
                return
            if not data:
                self._lose(None)
                return
            self._on_data(data)
            if secure is None or not (self._reading and secure.pending()):
                return

    def _more_records(self, first: bytes) -> bytes:
        """TLS gives one record at a time; behind a full one there are usually more, and one send serves for several."""
        records = [first]
        with contextlib.suppress(*_WANT, OSError):  # whatever ended the connection shows again at the next read
            while len(records) < READ_SIZE // TLS_RECORD and len(records[-1]) == TLS_RECORD:
                records.append(self._socket.recv(TLS_RECORD))
        return b"".join(records)

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._out)
        except _WANT:
            return
        except OSError:
            self._broken = True
            sent = len(self._out)
        del self._out[:sent]
        if not self._out:
            self._writing = False
            self._watch_anew()
            if self._broken:
                self.resume()
            if self._closing:
                self._end_our_side()
            else:
                self._on_drained()

    def _want_write(self) -> None:
        if not self._writing:
            self._writing = True
            self._watch_anew()

    def _end_our_side(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def _lose(self, problem: OSError | None) -> None:
        if not self.closed.done():
            on_lost = self._on_lost
            self.abort()
            on_lost(problem)

    def _release(self) -> None:
        if self._reading or self._writing:
            self._reading = self._writing = False
            self._watch_anew()
        self._out.clear()

    def _watch_anew(self) -> None:
        events = (READABLE if self._reading else 0) | (WRITABLE if self._writing else 0)
        self._watch(self._fd, events, self._happened)

    def _happened(self, events: int) -> None:
        """An error or hang-up counts as both: reading or writing then tells what it is."""
        if events & ~READABLE and self._writing:
            self._writable()
        if events & ~WRITABLE and self._reading:
            self._readable()


def _ignore(_: object) -> None:
    """The callback of a wire that nobody listens to."""


def _nothing() -> None:
    """Likewise."""


async def start_tls(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, context: ssl.SSLContext, host: str
) -> ssl.SSLSocket:
    """Put TLS on a connected socket, as its client. On cancellation or failure the socket is closed.

    Args:
        loop: the running loop.
        sock: connected and non-blocking; nothing may be unread on it.
        context: with the rules of verification.
        host: the name that the certificate has to show, if the context checks it.

    Raises:
        OSError: the handshake failed; ``ssl.SSLError`` and its kinds among them.
    """
    secure = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                await _ready(loop.add_reader, loop.remove_reader, secure.fileno())
            except ssl.SSLWantWriteError:
                await _ready(loop.add_writer, loop.remove_writer, secure.fileno())
    except BaseException:
        secure.close()
        raise


async def _ready(add: Callable[..., None], remove: Callable[[int], object], fd: int) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)
