"""What may differ between a conversation held directly and the same one held through Warmwire: the whole list.

====================  =======================================================================================
 where                 what is masked, and why
====================  =======================================================================================
 greeting              connection id and nonce are each connection's own; flags: Warmwire offers a subset, and
                       LONG_PASSWORD; plugin: always caching_sha2_password, whose fast path needs no round trip
 login, CHANGE_USER    everything but the final OK packet, and its sequence id: the plugin differs
 refused CHANGE_USER   whatever follows: MySQL closes the connection, MariaDB leaves it half changed
 PREPARE-OK            the statement's id: the server counts on over the life of a connection (MySQL) or of
                       itself (MariaDB); ids inside error texts alike
 COM_STATISTICS        its numbers
 COM_PROCESS_INFO      its rows: the sessions that exist
 SHOW VARIABLES        values of ``VARIABLES``
 errors 1044, 1045     the client's host, which the server sees as the connection came to it
 errors "at row"       the number: where there is no row, MariaDB leaves it from an earlier statement of whatever
                       connection its thread had before
 tracked state         entries about transactions (types 4 and 5): Warmwire asks the server for them. Only for
                       clients with SESSION_TRACK; others must not see a trace
 tracked state in EOF  the flag that says there is some, which has no place there: the transactions' again; and
                       MariaDB sets it for clients without SESSION_TRACK too, where Warmwire never does
 tracked schema        not in the answer to USE and the like, but later: MariaDB takes a statement that was
                       prepared in another schema for a change of schema, and what it could not say in an EOF
                       or ERR packet it says when there is something else to say, or never
====================  =======================================================================================
"""

import re
from dataclasses import dataclass

from tests.integration.conversation import Step
from tests.wire_packets import (
    SESSION_CHANGED,
    Command,
    Flag,
    Packet,
    Role,
    lenenc,
    parse_error,
    read_lenenc,
    read_string,
    text_row,
)

VARIABLES = frozenset({
    b"wait_timeout",  # WARMWIRE_IDLE_TIMEOUT
    b"session_track_transaction_info",  # how Warmwire knows of open transactions
    b"timestamp",
    b"pseudo_thread_id",
    b"rand_seed1",
    b"rand_seed2",
    b"last_insert_id",
    b"identity",
    b"statement_id",
    b"gtid_executed",
    b"innodb_buffer_pool_load_status",
})  # fmt: skip
"""Session variables that each connection or each moment has its own value of."""

TRANSACTION_ENTRIES = (4, 5)
WITH_SCHEMA = (1, *TRANSACTION_ENTRIES)
"""Types of tracked state: 1 is the schema."""


@dataclass(frozen=True)
class Masks:
    """The masks for one connection."""

    flags: Flag
    version: bytes
    direct: bool

    def canonical(self, step: Step, packets: list[Packet]) -> list[Packet]:
        """The packets of a response with everything masked that may differ."""
        if step.command == Command.PROCESS_INFO:
            packets = [packet._replace(seq=0) for packet in packets if packet.role is not Role.ROW]
        if step.command == Command.CHANGE_USER:
            packets = [packet._replace(seq=0) for packet in packets if packet.role is not Role.AUTHENTICATION]
        return [packet._replace(payload=self._masked(step, packet)) for packet in packets]

    def canonical_login(self, packets: list[Packet]) -> list[Packet]:
        """The same for the packets of a login."""
        return self.canonical(Step(Command.CHANGE_USER), packets)

    def _masked(self, step: Step, packet: Packet) -> bytes:
        payload = packet.payload
        if step.command == Command.STATISTICS:
            return re.sub(rb"[\d.]+", b"0", payload)
        if packet.role is Role.PREPARED:
            return payload[:1] + bytes(4) + payload[5:]
        if packet.role is Role.ERROR:
            if parse_error(payload)[0] in (1044, 1045):
                return re.sub(rb"'@'[^']*'", b"'@'host'", payload)
            return _without_numbers(payload)
        if packet.role is Role.ROW and step.argument == b"SHOW SESSION VARIABLES":
            name = text_row(payload)[0]
            return b"masked " + name if name in VARIABLES else payload
        if packet.role is Role.ROW and step.argument in (b"SHOW WARNINGS", b"SHOW ERRORS"):
            return b"|".join(_without_numbers(field or b"") for field in text_row(payload))
        if packet.role is Role.OK and self.flags & Flag.SESSION_TRACK:
            return without_entries(payload, TRANSACTION_ENTRIES if self._tells_of_schema(step) else WITH_SCHEMA)
        if packet.role is Role.EOF and (self.direct or self.flags & Flag.SESSION_TRACK):
            return payload[:4] + bytes([payload[4] & ~(SESSION_CHANGED >> 8)])
        return payload

    def _tells_of_schema(self, step: Step) -> bool:
        """False where it is up to chance whether the server tells of a change of schema."""
        chosen = step.command in (Command.INIT_DB, Command.CHANGE_USER) or step.argument.startswith(b"USE")
        return chosen or b"MariaDB" not in self.version


def _without_numbers(text: bytes) -> bytes:
    """The text of an error without what is masked in it."""
    return re.sub(rb"(handler|statement) \(\d+\)|(at row) \d+", rb"\1\2 (0)", text)


def without_entries(payload: bytes, types: tuple[int, ...]) -> bytes:
    """An OK packet without the tracked state of these types; without any trace of tracking if there was nothing else."""
    _, at = read_lenenc(payload, 1)
    _, at = read_lenenc(payload, at)
    status = int.from_bytes(payload[at : at + 2], "little")
    if not status & SESSION_CHANGED:
        return payload
    info, start = read_string(payload, at + 4)
    block, _ = read_string(payload, start)
    kept, place = b"", 0
    while place < len(block):
        _, end = read_string(block, place + 1)
        if block[place] not in types:
            kept += block[place:end]
        place = end
    if kept:
        return payload[:start] + lenenc(len(kept)) + kept
    bare = payload[:at] + (status & ~SESSION_CHANGED).to_bytes(2, "little") + payload[at + 2 : at + 4]
    return bare + payload[at + 4 : start] if info else bare
