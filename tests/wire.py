"""A MySQL client made of bytes, the reference that Warmwire is judged against.

Written from the protocol's description with nothing but the standard library, and on purpose sharing no line with
``warmwire.protocol``: blocking, one packet after the other, never clever. Responses come back as the physical packets
that arrived (sequence id and payload), so that two servers can be compared byte by byte.

    wire = Wire(("127.0.0.1", 3306))          # or a unix socket's path; reads the greeting
    wire.login(Login("app", "secret", "app")) # raises Refused with errno and sqlstate
    packets = wire.command(Command.QUERY, b"SELECT 1")
    wire.quit()
"""

import io
import itertools
import socket
import struct
from collections.abc import Generator, Iterable, Iterator, Sequence

from tests.wire_packets import (
    CURSOR_EXISTS,
    EOF,
    ERR,
    LOCAL_INFILE,
    MAX_PAYLOAD,
    MORE_RESULTS,
    OK,
    OUT_PARAMETERS,
    SCRAMBLES,
    UNANSWERED,
    UNREADABLE,
    Closed,
    Command,
    Flag,
    Login,
    Packet,
    Refused,
    Role,
    encode_attributes,
    encrypt_password,
    eof_status,
    frame,
    lenenc,
    ok_status,
    parse_greeting,
    read_lenenc,
    scramble,
    text_row,
)

SINGLE = frozenset(
    {
        Command.INIT_DB,
        Command.STATISTICS,
        Command.PING,
        Command.DEBUG,
        Command.SET_OPTION,
        Command.STMT_RESET,
        Command.RESET_CONNECTION,
        Command.PROCESS_KILL,
        Command.REFRESH,
        Command.REGISTER_SLAVE,
    }
)
"""Commands answered by one packet whatever its first byte says."""


class Wire:
    """One client connection. Commands are answered with every physical packet of their response, in order."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        timeout: float = 30,
        recv_size: int = 65536,
        recv_window: int | None = None,
    ) -> None:
        """``recv_size``: bytes buffered at a time. ``recv_window``: SO_RCVBUF, to be a slow reader early."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if recv_window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, recv_window)
        self.socket.settimeout(timeout)
        self.flags = Flag(0)
        self._secure = family == socket.AF_UNIX
        self._next_seq = 0
        try:
            self.socket.connect(address)
            if family == socket.AF_INET:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._input = io.BufferedReader(socket.SocketIO(self.socket, "r"), recv_size)
            first = self.read_logical()[0].payload
            if first[0] == ERR:
                raise Refused(first)
            self.greeting = parse_greeting(first)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- login ---------------------------------------------------------------------------------------------------------

    def login(self, login: Login) -> list[Packet]:
        """Log in; returns what the server sent after its greeting, up to its OK. Raises ``Refused``, ``Closed``."""
        flags = login.flags
        if login.database is not None:
            flags |= Flag.CONNECT_WITH_DB
        if login.attributes:
            flags |= Flag.CONNECT_ATTRS
        # MariaDB's greeting leaves LONG_PASSWORD clear to say "MariaDB"; asking for it keeps its extensions off.
        self.flags = flags & (self.greeting.flags | Flag.LONG_PASSWORD)
        assert not self.flags & UNREADABLE, f"this client does not speak {self.flags & UNREADABLE!r}"
        plugin, answer = self._first_answer(login)
        body = struct.pack("<IIB23x", flags, 1 << 30, login.collation) + login.user.encode() + b"\0"
        if flags & Flag.PLUGIN_AUTH_LENENC:
            body += lenenc(len(answer)) + answer
        elif flags & Flag.SECURE_CONNECTION:
            body += bytes([len(answer)]) + answer
        else:
            body += answer + b"\0"
        if login.database is not None:
            body += login.database.encode() + b"\0"
        if flags & Flag.PLUGIN_AUTH:
            body += plugin + b"\0"
        if login.attributes:
            body += encode_attributes(login.attributes)
        self.send(body, self._next_seq)
        return self._authenticate(login, plugin, self.greeting.nonce)

    def change_user(self, login: Login) -> list[Packet]:
        """COM_CHANGE_USER; returns the packets of the exchange, ending with the OK. Raises ``Refused``, ``Closed``."""
        plugin, answer = self._first_answer(login)
        body = bytes([Command.CHANGE_USER]) + login.user.encode() + b"\0" + bytes([len(answer)]) + answer
        body += (login.database or "").encode() + b"\0" + struct.pack("<H", login.collation)
        if self.flags & Flag.PLUGIN_AUTH:
            body += plugin + b"\0"
        if self.flags & Flag.CONNECT_ATTRS:
            body += encode_attributes(login.attributes)
        self.send(body)
        return self._authenticate(login, plugin, self.greeting.nonce)

    def _first_answer(self, login: Login) -> tuple[bytes, bytes]:
        plugin = login.plugin
        if plugin is None:
            offered = self.greeting.plugin
            plugin = offered if offered in SCRAMBLES and self.flags & Flag.PLUGIN_AUTH else b"mysql_native_password"
        if login.first_answer is not None:
            return plugin, login.first_answer
        return plugin, scramble(plugin, login.password.encode(), self.greeting.nonce)

    def _authenticate(self, login: Login, plugin: bytes, nonce: bytes) -> list[Packet]:
        password = login.password.encode()
        seen: list[Packet] = []
        while True:
            parts = self.read_logical()
            payload = parts[0].payload
            seen += cast(parts, Role.OK if payload[0] == OK else Role.AUTHENTICATION)
            if payload[0] == OK:
                return seen
            if payload[0] == ERR:
                raise Refused(payload)
            if payload[0] == EOF:
                plugin, _, rest = payload[1:].partition(b"\0")
                nonce = rest[:20]
                self.send(scramble(plugin, password, nonce), self._next_seq)
            elif payload == b"\x01\x04" and self._secure:
                self.send(password + b"\0", self._next_seq)
            elif payload == b"\x01\x04":
                self.send(b"\x02", self._next_seq)
            elif payload[:1] == b"\x01" and payload != b"\x01\x03":
                self.send(encrypt_password(password, nonce, payload[1:]), self._next_seq)

    # -- commands ------------------------------------------------------------------------------------------------------

    def command(
        self, command: int, argument: bytes = b"", *, chunks: Sequence[int] = (), uploads: Iterable[bytes] = ()
    ) -> list[Packet]:
        """Send one command and return its whole response.

        ``chunks``: sizes of the writes, over and over. ``uploads``: packets for LOAD DATA LOCAL; without, it is refused.
        """
        self.send(bytes([command]) + argument, chunks=chunks)
        return list(self.response(command, uploads=uploads))

    def query(self, sql: str, *, uploads: Iterable[bytes] = ()) -> list[Packet]:
        """COM_QUERY; raises ``Refused`` if the response ends in an error."""
        packets = self.command(Command.QUERY, sql.encode(), uploads=uploads)
        if packets[-1].role is Role.ERROR:
            raise Refused(packets[-1].payload)
        return packets

    def rows(self, sql: str) -> list[tuple[bytes | None, ...]]:
        """The text rows of a query with one result set."""
        return [text_row(packet.payload) for packet in self.query(sql) if packet.role is Role.ROW]

    def send(self, payload: bytes, seq: int = 0, *, chunks: Sequence[int] = ()) -> None:
        """Send ``payload`` as one logical packet whose first sequence id is ``seq``."""
        self.send_raw(frame(payload, seq), chunks=chunks)
        self._next_seq = (seq + len(payload) // MAX_PAYLOAD + 1) & 0xFF

    def send_raw(self, data: bytes, *, chunks: Sequence[int] = ()) -> None:
        """Send bytes as they are, in writes of the sizes in ``chunks``, over and over."""
        sizes = itertools.cycle(chunks or (len(data) or 1,))
        view, start = memoryview(data), 0
        try:
            while start < len(data):
                size = next(sizes)
                self.socket.sendall(view[start : start + size])
                start += size
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def response(self, command: int, *, uploads: Iterable[bytes] = ()) -> Iterator[Packet]:
        """Read the response to ``command``, which has been sent, packet by packet; stops where it ends."""
        if command in UNANSWERED:
            return iter(())
        if command == Command.STMT_PREPARE:
            return self._prepared()
        if command == Command.STMT_FETCH:
            return self._rows_alone()
        if command == Command.FIELD_LIST:
            return self._rows_alone()
        if command in SINGLE:
            return self._single(command)
        return self._results(command, uploads)

    # The readers below are generators of physical packets; what they yield carries the role that they read it in.

    def _results(self, command: int, uploads: Iterable[bytes]) -> Generator[Packet, None, None]:
        status = MORE_RESULTS
        while status & MORE_RESULTS:
            head = self.read_logical()
            first = head[0].payload[0]
            if first == ERR:
                yield from cast(head, Role.ERROR)
                return
            if first == OK:
                yield from cast(head, Role.OK)
                status = ok_status(head[0].payload)
            elif first == LOCAL_INFILE:
                yield from cast(head, Role.UPLOAD_WANTED)
                self._upload(uploads)
            elif first == EOF:
                yield from self._end(head)
                return
            else:
                yield from cast(head, Role.COUNT)
                opened = yield from self._definitions(read_lenenc(head[0].payload)[0])
                # A procedure that has a cursor of its own open sends both flags, and rows; a cursor for us is the first alone.
                cursor = command == Command.STMT_EXECUTE and (opened or 0) & (CURSOR_EXISTS | MORE_RESULTS) == CURSOR_EXISTS
                if opened is None or cursor:
                    return
                status = yield from self._rows()
                if opened & OUT_PARAMETERS:
                    status |= MORE_RESULTS  # MySQL does not say so after the row, but the OK of the CALL always follows

    def _definitions(self, count: int) -> Generator[Packet, None, int | None]:
        """Column definitions and the EOF after them; returns its status (0 without an EOF), None for an error."""
        for _ in range(count):
            parts = self.read_logical()
            if parts[0].payload[0] == ERR:
                yield from cast(parts, Role.ERROR)
                return None
            yield from cast(parts, Role.DEFINITION)
        if self.flags & Flag.DEPRECATE_EOF:
            return 0
        parts = self.read_logical()
        if parts[0].payload[0] == ERR:
            yield from cast(parts, Role.ERROR)
            return None
        return (yield from self._end(parts))

    def _rows(self) -> Generator[Packet, None, int]:
        """Rows up to their end; returns the status of the end, 0 for an error."""
        long_end = self.flags & Flag.DEPRECATE_EOF
        while True:
            parts = self.read_logical()
            head = parts[0].payload
            if head[0] == ERR:
                yield from cast(parts, Role.ERROR)
                return 0
            if head[0] == EOF and len(head) < (MAX_PAYLOAD if long_end else 9):
                return (yield from self._end(parts))
            yield from cast(parts, Role.ROW)

    def _rows_alone(self) -> Generator[Packet, None, None]:
        yield from self._rows()

    def _end(self, parts: list[Packet]) -> Generator[Packet, None, int]:
        """An EOF packet or the OK that replaces it; returns its status."""
        old = len(parts[0].payload) == 5
        yield from cast(parts, Role.EOF if old else Role.OK)
        return eof_status(parts[0].payload) if old else ok_status(parts[0].payload)

    def _prepared(self) -> Generator[Packet, None, None]:
        head = self.read_logical()
        failed = head[0].payload[0] == ERR
        yield from cast(head, Role.ERROR if failed else Role.PREPARED)
        if failed:
            return
        columns, parameters = struct.unpack_from("<HH", head[0].payload, 5)
        for count in (parameters, columns):
            if count:
                yield from self._definitions(count)

    def _single(self, command: int) -> Generator[Packet, None, None]:
        parts = self.read_logical()
        first = parts[0].payload[0]
        if command == Command.STATISTICS:
            yield from cast(parts, Role.OPAQUE)
        elif first == EOF:
            yield from self._end(parts)
        else:
            yield from cast(parts, Role.ERROR if first == ERR else Role.OK)

    def _upload(self, packets: Iterable[bytes]) -> None:
        for payload in packets:
            self.send(payload, self._next_seq)
        self.send(b"", self._next_seq)

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read_logical(self) -> list[Packet]:
        """The next logical packet, as the physical packets it came in. Raises ``Closed`` at the end of the stream."""
        parts = []
        while True:
            header = self._read(4)
            payload = self._read(header[0] | header[1] << 8 | header[2] << 16)
            self._next_seq = (header[3] + 1) & 0xFF
            parts.append(Packet(header[3], payload, Role.OPAQUE))
            if len(payload) < MAX_PAYLOAD:
                return parts

    def _read(self, size: int) -> bytes:
        try:
            data = self._input.read(size)
        except ConnectionResetError as error:
            raise Closed(str(error)) from error
        if len(data) < size:
            raise Closed(f"end of stream after {len(data)} of {size} bytes")
        return data

    def at_end(self) -> bool:
        """Wait until the server closes; False if it says something first, or nothing within the socket's timeout."""
        try:
            return self._input.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def quit(self) -> None:
        """COM_QUIT, then wait for the server's end of the connection and close."""
        try:
            self.send(bytes([Command.QUIT]))
            self.at_end()
        except Closed:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close without a word, as a client that was killed does."""
        self._input.close()
        self.socket.close()


def cast(parts: list[Packet], role: Role) -> list[Packet]:
    """The packets with their role."""
    return [Packet(part.seq, part.payload, role) for part in parts]
