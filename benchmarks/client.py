"""A client that costs as little as Python allows, so that what is measured is on the other side of its socket.

It can log in, send prepared packets and count the bytes that come back; it understands nothing of them.
"""

import socket
import ssl
import struct
import time
from collections.abc import Sequence

from pymysql import _auth

# LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, MULTI_RESULTS, PS_MULTI_RESULTS,
# PLUGIN_AUTH, DEPRECATE_EOF: what libmysqlclient asks for, without multi-statements and session tracking.
_FLAGS = 1 | 4 | 8 | 0x200 | 0x2000 | 0x8000 | 0x20000 | 0x40000 | 0x80000 | 0x1000000
_SSL = 0x800
_UTF8MB4 = 45
_PLUGIN = b"caching_sha2_password"
_READ_SIZE = 1 << 14
_VIEW = memoryview(bytearray(1 << 18))
"""Where the bytes go that nobody looks at."""
QUERY, QUIT, PREPARE, EXECUTE = 3, 1, 22, 23


def packet(command: int, body: bytes) -> bytes:
    """A command of less than 16 MiB as one packet."""
    return struct.pack("<I", len(body) + 1)[:3] + b"\0" + bytes((command,)) + body


class Link:
    """One connection, logged in.

    Args:
        address: (host, port), or a unix socket's path.
        user, password, database: the account; its plugin is caching_sha2_password.
        context: for TLS; None for a plain connection.
    """

    def __init__(
        self, address: tuple[str, int] | str, user: str, password: str, database: str, context: ssl.SSLContext | None
    ) -> None:
        self.socket: socket.socket
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=20)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(20)
        self._unread = b""
        self._sequence = 0
        try:
            self._log_in(user.encode(), password.encode(), database.encode(), context)
            # A socket with a timeout is a non-blocking one and costs a poll more per read; the relays' figures are small.
            self.socket.settimeout(None)
        except BaseException:
            self.socket.close()
            raise

    def ask(self, request: bytes) -> int:
        """Send one command packet and read its whole response; gives the response's size in bytes.

        Raises:
            ConnectionError: an ERR packet came, or the end.
        """
        self.socket.sendall(request)
        first = self._read()
        size = 4 + len(first)
        if request[4] == PREPARE:
            columns, parameters = struct.unpack_from("<HH", first, 5)
            self.statement_id = struct.unpack_from("<I", first, 1)[0]
            return size + sum(4 + len(self._read()) for _ in range(columns + parameters))
        if first[0] == 0:
            return size
        size += sum(4 + len(self._read()) for _ in range(first[0]))
        while True:
            row = self._read()
            size += 4 + len(row)
            if row[0] == 0xFE and len(row) < 0xFFFFFF:
                return size

    def time(self, requests: Sequence[bytes], size: int) -> list[float]:
        """Send commands one after the other, each answered by `size` bytes; gives the microseconds that each took."""
        clock = time.perf_counter_ns
        send, receive, view = self.socket.sendall, self.socket.recv_into, _VIEW
        took = []
        for request in requests:
            began = clock()
            send(request)
            left = size
            while left > 0:
                count = receive(view)
                if not count:
                    raise ConnectionError("the connection ended")
                left -= count
            took.append((clock() - began) / 1000)
            if left:
                raise ConnectionError(f"a response had {-left} bytes more than the {size} expected")
        return took

    def drain(self, request: bytes, size: int, pause: float = 0.0) -> float:
        """Send one command answered by `size` bytes and throw those away; gives the seconds.

        Args:
            request: the command's packet.
            size: bytes of its response.
            pause: seconds for which nothing is read, after a quarter of it.
        """
        began = time.perf_counter()
        self.socket.sendall(request)
        left = size
        while left > 0:
            if pause and left < size * 3 // 4:
                time.sleep(pause)
                pause = 0.0
            count = self.socket.recv_into(_VIEW)
            if not count:
                raise ConnectionError("the connection ended")
            left -= count
        return time.perf_counter() - began

    def close(self) -> None:
        """COM_QUIT, then the end."""
        self.socket.sendall(packet(QUIT, b""))
        self.socket.close()

    def _log_in(self, user: bytes, password: bytes, database: bytes, context: ssl.SSLContext | None) -> None:
        greeting = self._read()
        nonce = _nonce(greeting)
        flags = _FLAGS | (_SSL if context else 0)
        head = struct.pack("<IIB23x", flags, 1 << 30, _UTF8MB4)
        if context is not None:
            self._write(head)
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        response = _auth.scramble_caching_sha2(password, nonce)
        self._write(head + user + b"\0" + bytes((len(response),)) + response + database + b"\0" + _PLUGIN + b"\0")
        while (answer := self._read())[0] != 0:
            if answer[0] == 0xFE:  # another nonce
                nonce = answer.split(b"\0", 2)[1][:20]
                self._write(_auth.scramble_caching_sha2(password, nonce))
            elif answer == b"\x01\x04":
                self._write(password + b"\0" if context or self.socket.family == socket.AF_UNIX else b"\x02")
            elif answer[0] == 1 and answer != b"\x01\x03":
                self._write(_auth.sha2_rsa_encrypt(password, nonce, answer[1:]))

    def _read(self) -> bytes:
        data = self._unread
        while len(data) < 4 or len(data) < 4 + (length := int.from_bytes(data[:3], "little")):
            more = self.socket.recv(_READ_SIZE)
            if not more:
                raise ConnectionError("the connection ended")
            data += more
        self._sequence = data[3]
        payload, self._unread = data[4 : 4 + length], data[4 + length :]
        if payload[:1] == b"\xff":
            raise ConnectionError(payload[3:].decode("utf-8", "replace"))
        return payload

    def _write(self, payload: bytes) -> None:
        self._sequence = self._sequence + 1 & 0xFF
        header = struct.pack("<I", len(payload))[:3] + bytes((self._sequence,))
        self.socket.sendall(header + payload)


def _nonce(greeting: bytes) -> bytes:
    """The 20 bytes of a protocol 10 greeting: 8 behind the version and the connection id, 12 further back."""
    at = greeting.index(b"\0", 1) + 5
    return greeting[at : at + 8] + greeting[at + 27 : at + 39]
