"""OK and EOF packets: the status they carry, and the session-state block that only some clients may see.

The upstream always reports session changes (CLIENT_SESSION_TRACK), because Warmwire needs to know them. A client that
did not ask for them gets the packet that the server would have sent it directly: the same one without the block and its
flag. Source: MySQL internals manual, "OK_Packet" and "Session State Information"; both servers send ``info`` as a
length-encoded string whether or not session tracking was negotiated.
"""

from enum import Enum
from typing import NamedTuple

from warmwire.errors import ProtocolError
from warmwire.protocol.codec import read_int, read_string, write_string
from warmwire.protocol.constants import Status, Track

Change = tuple[int, bytes]
"""One entry of the block: its type (see :class:`Track`) and its data."""


class Visibility(Enum):
    """Which changes a client is shown."""

    NOTHING = "nothing"
    """It did not negotiate session tracking."""
    DEFAULTS = "defaults"
    """It did: it sees what the server reports unless told otherwise, not the transaction state that we switched on."""
    EVERYTHING = "everything"
    """It set the session's trackers itself."""


_OURS = (Track.TRANSACTION_STATE, Track.TRANSACTION_CHARACTERISTICS)


class Ok(NamedTuple):
    """What an OK packet says, as far as Warmwire needs it."""

    status: int
    changes: tuple[Change, ...]
    shown: bytes
    """The payload as the client gets it; the very object that was passed in if nothing had to be removed."""


def read_ok(payload: bytes, visibility: Visibility) -> Ok:
    """Parse an OK packet, or the OK with header 0xFE at the end of rows.

    Raises:
        ProtocolError: it is cut off.
    """
    _, at = read_int(payload, 1)
    _, at = read_int(payload, at)
    if at + 4 > len(payload):
        raise ProtocolError("an OK packet is cut off")
    status = payload[at] | payload[at + 1] << 8
    if not status & Status.SESSION_STATE_CHANGED:
        return Ok(status, (), payload)
    fixed = at + 4
    info, block = b"", b""
    if fixed < len(payload):
        info, end = read_string(payload, fixed)
        if end < len(payload):
            block, _ = read_string(payload, end)
    changes = tuple(_entries(block))
    if visibility is Visibility.EVERYTHING:
        return Ok(status, changes, payload)
    kept = [] if visibility is Visibility.NOTHING else [change for change in changes if change[0] not in _OURS]
    if len(kept) == len(changes) and visibility is Visibility.DEFAULTS:
        return Ok(status, changes, payload)
    shown = payload[:at]
    if kept:
        shown += payload[at:fixed] + write_string(info) + write_string(b"".join(map(_write_entry, kept)))
    else:
        shown += (status & ~Status.SESSION_STATE_CHANGED).to_bytes(2, "little") + payload[at + 2 : fixed]
        shown += write_string(info) if info else b""
    return Ok(status, changes, shown)


def write_ok(status: int, changes: tuple[Change, ...] = ()) -> bytes:
    """An OK packet of our own, with nothing affected and no warnings."""
    if not changes:
        return b"\x00\x00\x00" + status.to_bytes(2, "little") + b"\x00\x00"
    head = b"\x00\x00\x00" + (status | Status.SESSION_STATE_CHANGED).to_bytes(2, "little") + b"\x00\x00\x00"
    return head + write_string(b"".join(map(_write_entry, changes)))


def transaction_state_of(changes: tuple[Change, ...]) -> bytes | None:
    """The last reported transaction state: eight flags, for example ``T___W___``; None if none was reported."""
    state = None
    for kind, data in changes:
        if kind == Track.TRANSACTION_STATE:
            state, _ = read_string(data, 0)
    return state


def last_of_each(changes: list[Change]) -> list[Change]:
    """What remains of changes when later reports replace earlier ones on the same variable, or of the same type."""
    last: dict[tuple[int, bytes], Change] = {}
    for change in changes:
        kind, data = change
        subject = kind, read_string(data, 0)[0] if kind == Track.SYSTEM_VARIABLES else b""
        last.pop(subject, None)
        last[subject] = change
    return list(last.values())


def _entries(block: bytes) -> list[Change]:
    entries, at = [], 0
    while at < len(block):
        kind = block[at]
        data, at = read_string(block, at + 1)
        if kind in (Track.SYSTEM_VARIABLES, Track.TRANSACTION_STATE):
            read_string(data, 0)  # whoever looks into them later need not be prepared for errors
        entries.append((kind, data))
    return entries


def _write_entry(change: Change) -> bytes:
    return bytes((change[0],)) + write_string(change[1])
