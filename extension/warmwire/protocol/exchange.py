"""One command's response: where it ends, what it says about the session, and what of it the client sees.

An exchange is one command and its whole response. This module answers the question on which everything above rests:
*is the connection between exchanges?* Nothing may be reset or reused unless it is.

Theory of operation. A response is a series of packets, and only *control* packets (OK, ERR, EOF, the column count, the
answer to a PREPARE) decide how it goes on; column definitions and rows are passed over by the lengths in their headers,
never copied, never looked at beyond their first byte. A control packet is held back until it is whole, so that
what the client must not see can be taken out of it. States::

    FIRST ──OK──► done, or FIRST again if more results follow          ──ERR──► done, from every state
      │ ├──LOCAL INFILE──► UPLOAD ──(client's empty packet)──► FIRST
      │ └──column count──► DEFINITIONS ──EOF (unless deprecated)──► ROWS ──EOF/OK──► done, or FIRST
      ├ COM_STMT_PREPARE ─► PREPARED ──► definitions of parameters, then of columns ──► done
      ├ COM_STMT_FETCH ───► ROWS ──► done
      ├ COM_FIELD_LIST ───► FIELDS ──EOF──► done
      └ COM_STATISTICS ───► TEXT (one packet without any header byte) ──► done

Sources: MySQL internals manual, "Command Phase" and "Text/Binary Resultset"; with CLIENT_DEPRECATE_EOF the EOF after the
definitions is gone and the last one is an OK packet with the header 0xFE.
"""

from enum import Enum

from warmwire.errors import ProtocolError
from warmwire.protocol.codec import read_int
from warmwire.protocol.constants import MAX_PAYLOAD, Command, Status
from warmwire.protocol.tracking import Change, Ok, Visibility, last_of_each, read_ok

CONTROL_LIMIT = 1 << 20
"""Longest control packet, in bytes; only a list of GTIDs makes one longer than a few hundred."""
CHANGES_LIMIT = 4096
"""Session changes kept of one exchange; no server has so many variables, but a command may hold a million statements."""
NO_RESPONSE = frozenset((Command.QUIT, Command.STMT_SEND_LONG_DATA, Command.STMT_CLOSE))


_CURSOR = Status.CURSOR_EXISTS | Status.MORE_RESULTS_EXISTS
"""A result of a procedure in which a cursor of its own is open has both flags, and its rows follow. An open cursor of the
client has only the first."""


class State(Enum):
    """Where in a response the exchange is."""

    DONE = "between exchanges"
    FIRST = "expecting the first packet of a result"
    UPLOAD = "waiting for the client's LOCAL INFILE data"
    DEFINITIONS = "reading column definitions"
    ROWS = "reading rows"
    PREPARED = "expecting the answer to a prepare"
    FIELDS = "reading a field list"
    TEXT = "expecting a text"
    BROKEN = "broken: the upstream left the protocol"


_STARTS = {
    Command.STATISTICS: State.TEXT,
    Command.FIELD_LIST: State.FIELDS,
    Command.STMT_PREPARE: State.PREPARED,
    Command.STMT_FETCH: State.ROWS,
}


class Exchange:
    """Follows the exchanges of one upstream connection, one at a time.

    Args:
        deprecate_eof: whether CLIENT_DEPRECATE_EOF was negotiated, on both legs.
        visibility: which session changes the present client may see; may be set anew between exchanges.
    """

    __slots__ = (
        "_columns_after",
        "_continued",
        "_eofs",
        "_held",
        "_left",
        "_out_parameters",
        "_skip",
        "_wanted",
        "changes",
        "command",
        "deprecate_eof",
        "error",
        "first_sequence",
        "has_status",
        "rows_seen",
        "state",
        "statement_id",
        "status",
        "visibility",
    )

    def __init__(self, deprecate_eof: bool, visibility: Visibility = Visibility.NOTHING) -> None:
        self.deprecate_eof = deprecate_eof
        self.visibility = visibility
        self.state = State.DONE
        self.command = Command.PING
        self._held = bytearray()  # bytes that decide something but are not all there yet
        self._wanted = 0  # how many of them there have to be
        self._skip = 0  # bytes of the current packet that are passed on unseen
        self._continued = False  # the next physical packet continues the present one
        self._left = 0  # column definitions still to come in this group
        self._columns_after = 0  # definitions in the second group of a prepared statement
        self._eofs = 0  # groups of definitions still to come, this one included (PREPARED)
        self._out_parameters = False  # the rows are a procedure's OUT parameters, so its OK follows
        self.status = 0
        """Status flags of the last OK or EOF packet, of this exchange or an earlier one."""
        self.has_status = False
        """Whether they are of this exchange: an error, the answer to a prepare and a text tell none."""
        self.error: bytes | None = None
        """Payload of the ERR packet that ended this exchange. Its session state is unknown then."""
        self.changes: list[Change] = []
        """Session changes that the server reported in this exchange; where there are many, the last of each."""
        self.first_sequence: int | None = None
        """Sequence id of the first packet; 0 means that the server spoke without having read the command."""
        self.rows_seen = False
        """Whether a result set came: where EOFs are not deprecated its session changes get lost."""
        self.statement_id = 0
        """Id in the answer to the last COM_STMT_PREPARE."""

    @property
    def done(self) -> bool:
        """Whether the connection is between exchanges."""
        return self.state is State.DONE

    @property
    def in_rows(self) -> bool:
        """Whether rows are being read, or the end of them comes next."""
        return self.state is State.ROWS

    @property
    def uploading(self) -> bool:
        """Whether the server waits for the client's LOCAL INFILE data."""
        return self.state is State.UPLOAD

    def begin(self, command: int) -> None:
        """A command is being sent.

        Raises:
            ProtocolError: the last exchange has not ended.
        """
        if self.state is not State.DONE:
            raise ProtocolError(f"a command while {self.state.value}")
        self.command = command
        if command in NO_RESPONSE:
            return
        self.error = None
        self.first_sequence = None
        self.rows_seen = False
        self.has_status = False
        self._left = self._eofs = 0
        self._out_parameters = False
        if self.changes:
            self.changes = []
        self.state = _STARTS.get(command, State.FIRST)

    def upload_ended(self) -> None:
        """The client's LOCAL INFILE data ended with its empty packet; the server answers now."""
        if self.state is not State.UPLOAD:
            raise ProtocolError(f"the end of an upload while {self.state.value}")
        self.state = State.FIRST

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the upstream; return the bytes that go to the client.

        Raises:
            ProtocolError: they are no response to this command, or go on after its end. The exchange is BROKEN for
                good: discard the upstream.
        """
        try:
            return self._feed(data)
        except ProtocolError:
            self.state = State.BROKEN
            raise

    def _feed(self, data: bytes) -> bytes:
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return b""
            data = bytes(self._held)
            self._held.clear()
        end = len(data)
        at = 0
        shown: list[bytes] | None = None  # pieces, once anything differs from what came
        copied = 0  # up to here `data` is in `shown`
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                at += step
                self._skip -= step
                if self._skip:
                    break
                if self._left == 0 and self.state is State.DEFINITIONS:
                    self._definitions_ended()
                continue
            state = self.state
            if state is State.DONE or state is State.UPLOAD or state is State.BROKEN:
                raise ProtocolError(f"{end - at} bytes from the upstream while {state.value}")
            if end - at < 5 and not (self._continued and end - at == 4):
                self._hold(data, at, 4 if self._continued else 5)
                break
            length = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            if self._continued:
                self._continued = length == MAX_PAYLOAD
                at += 4
                self._skip = length
                continue
            first = data[at + 4]
            if self.first_sequence is None:
                self.first_sequence = data[at + 3]
            # Rows and definitions: over them by their length. A row starts with 0xFE only if its first column has
            # 16 MiB or more, and then the packet is a full one.
            if state is State.ROWS:
                while first < 0xFE and 0 < length < MAX_PAYLOAD:
                    at += 4 + length
                    if at + 5 > end:
                        break
                    length = data[at] | data[at + 1] << 8 | data[at + 2] << 16
                    first = data[at + 4]
                if at + 5 > end:  # the last of them ends these bytes, or goes on in the next ones
                    if at > end:
                        self._skip = at - end
                        at = end
                    continue
                if length == MAX_PAYLOAD and first < 0xFF:
                    self._continued = True
                    self._skip = length
                    at += 4
                    continue
            if length == 0 or length == MAX_PAYLOAD:
                raise ProtocolError(f"a packet of {length} bytes while {state.value}")
            if state is State.DEFINITIONS and self._left and first != 0xFF:
                self._left -= 1
                at += 4
                self._skip = length
                if end - at >= length:
                    at += length
                    self._skip = 0
                    if self._left == 0:
                        self._definitions_ended()
                continue
            if state is State.FIELDS and first < 0xFE:
                at += 4
                self._skip = length
                continue
            taken = self._control(data, at, length)
            if taken is None:
                self._hold(data, at, 4 + length)
                break
            if taken is not data:
                shown = [] if shown is None else shown
                shown += (data[copied:at], taken)
                copied = at + 4 + length
            at += 4 + length
        if self._held:
            end -= len(self._held)
        if shown is None:
            return data if end == len(data) else data[:end]
        shown.append(data[copied:end])
        return b"".join(shown)

    def _hold(self, data: bytes, at: int, wanted: int) -> None:
        """Keep the end of the data until more has come; in one piece of memory, lest many small pieces cost much time."""
        self._held += memoryview(data)[at:]
        self._wanted = wanted

    def _control(self, data: bytes, at: int, length: int) -> bytes | None:
        """Act on the control packet at ``data[at]``.

        Returns:
            None if it is not all there; ``data`` itself if it goes on to the client as it is; else the packet to show.
        """
        if length > CONTROL_LIMIT:
            raise ProtocolError(f"a packet of {length} bytes while {self.state.value}")
        if len(data) - at - 4 < length:
            return None
        payload = data[at + 4 : at + 4 + length]
        first = payload[0]
        state = self.state
        if state is State.TEXT:
            self.state = State.DONE
            return data
        if first == 0xFF:
            self.error = payload
            self.state = State.DONE
            return data
        if state is State.FIRST:
            if first == 0x00:
                return self._ok(payload, data, at)
            if first == 0xFB:
                self.state = State.UPLOAD
                return data
            if first == 0xFE:
                return self._end_of_rows(payload, data, at)
            self._left, _ = read_int(payload, 0)
            self.rows_seen = True
            self.state = State.DEFINITIONS
            return data
        if state is State.DEFINITIONS and first == 0xFE and length < 9:
            if self._eofs:
                self._prepared_group_ended()
                return data
            status = self._eof_status(payload)
            if self.command == Command.STMT_EXECUTE and status & _CURSOR == Status.CURSOR_EXISTS:
                self.state = State.DONE  # the rows are fetched later
            else:
                self.state = State.ROWS
                self._out_parameters = bool(status & Status.PS_OUT_PARAMS)
            return self._show_eof(payload, data, at)
        if state in (State.ROWS, State.FIELDS) and first == 0xFE and (self.deprecate_eof or length < 9):
            return self._end_of_rows(payload, data, at)
        if state is State.PREPARED and first == 0x00 and length >= 12:
            self.statement_id = int.from_bytes(payload[1:5], "little")
            columns = payload[5] | payload[6] << 8
            parameters = payload[7] | payload[8] << 8
            self._begin_prepared(parameters, columns)
            return data
        raise ProtocolError(f"a packet with header 0x{first:02x} while {state.value}")

    def _ok(self, payload: bytes, data: bytes, at: int) -> bytes:
        ok = read_ok(payload, self.visibility)
        self._after(ok)
        return data if ok.shown is payload else _packet_like(data, at, ok.shown)

    def _after(self, ok: Ok) -> None:
        self.status = ok.status
        self.has_status = True
        if ok.changes:
            self.changes += ok.changes
            if len(self.changes) > CHANGES_LIMIT:
                self.changes = last_of_each(self.changes)
                if len(self.changes) > CHANGES_LIMIT // 2:
                    raise ProtocolError("more variables were reported as changed than there are")
        more = ok.status & Status.MORE_RESULTS_EXISTS and self.command not in (Command.STMT_FETCH, Command.FIELD_LIST)
        if self._out_parameters:  # MySQL does not say so in the EOF, only in the one before the row
            self._out_parameters, more = False, True
        self.state = State.FIRST if more else State.DONE

    def _end_of_rows(self, payload: bytes, data: bytes, at: int) -> bytes:
        if self.deprecate_eof and len(payload) >= 7:
            return self._ok(payload, data, at)
        self._after(Ok(self._eof_status(payload), (), payload))
        return self._show_eof(payload, data, at)

    def _eof_status(self, payload: bytes) -> int:
        if len(payload) < 5:
            raise ProtocolError("an EOF packet is cut off")
        self.status = payload[3] | payload[4] << 8
        return self.status

    def _show_eof(self, payload: bytes, data: bytes, at: int) -> bytes:
        """An EOF carries the flag of session changes, but has no room for them."""
        if not self.status & Status.SESSION_STATE_CHANGED or self.visibility is Visibility.EVERYTHING:
            return data
        shown = self.status & ~Status.SESSION_STATE_CHANGED
        return _packet_like(data, at, payload[:3] + shown.to_bytes(2, "little") + payload[5:])

    def _definitions_ended(self) -> None:
        """The last definition of a group has passed; without deprecation its EOF comes next."""
        if not self.deprecate_eof:
            return
        if self._eofs:
            self._eofs = 0
            self.state = State.DONE
        else:
            self.state = State.ROWS

    def _begin_prepared(self, parameters: int, columns: int) -> None:
        groups = [count for count in (parameters, columns) if count]
        if not groups:
            self.state = State.DONE
            return
        self.state = State.DEFINITIONS
        self._eofs = len(groups)
        if self.deprecate_eof:
            self._left = sum(groups)
        else:
            self._left = groups[0]
            self._columns_after = groups[1] if len(groups) > 1 else 0

    def _prepared_group_ended(self) -> None:
        self._eofs -= 1
        if self._eofs:
            self._left = self._columns_after
        else:
            self.state = State.DONE


def _packet_like(data: bytes, at: int, payload: bytes) -> bytes:
    """A packet with another payload but the sequence id of the one at ``data[at]``."""
    return len(payload).to_bytes(3, "little") + data[at + 3 : at + 4] + payload
