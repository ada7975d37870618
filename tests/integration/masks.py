"""What may differ between a conversation held directly and the same one held through Warmwire: the whole list.

===================  =======================================================================================
 where                what is masked, and why
===================  =======================================================================================
 greeting             connection id and nonce are each connection's own; flags: Warmwire offers a subset, and
                      LONG_PASSWORD; plugin: always caching_sha2_password, whose fast path needs no round trip
 login, CHANGE_USER   everything but the final OK packet, and its sequence id: the plugin differs
 PREPARE-OK           the statement's id: the server counts on over the life of a connection (MySQL) or of
                      itself (MariaDB); ids inside error texts alike
 error 1366           the row number where there is no row: MariaDB leaves it from an earlier statement of
                      whatever connection its thread had before
 COM_STATISTICS       its numbers
 COM_PROCESS_INFO     its rows: the sessions that exist
 tracked state        entries about transactions (types 4 and 5): Warmwire asks the server for them. Only for
                      clients with SESSION_TRACK; others must not see a trace. In EOF packets, where the
                      entries themselves have no place: the flag that says there are some
 SHOW VARIABLES       values of ``VARIABLES``
 errors 1044, 1045    the client's host, which the server sees as the connection came to it
===================  =======================================================================================
"""

import re

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


def canonical(step: Step, packets: list[Packet], flags: Flag) -> list[Packet]:
    """The packets of a response with everything masked that may differ. ``flags``: those of the connection."""
    if step.command == Command.PROCESS_INFO:
        packets = [packet._replace(seq=0) for packet in packets if packet.role is not Role.ROW]
    if step.command == Command.CHANGE_USER:
        packets = [packet._replace(seq=0) for packet in packets if packet.role is not Role.AUTHENTICATION]
    return [packet._replace(payload=_masked(step, packet, flags)) for packet in packets]


def canonical_login(packets: list[Packet], flags: Flag) -> list[Packet]:
    """The same for the packets of a login."""
    return canonical(Step(Command.CHANGE_USER), packets, flags)


def _masked(step: Step, packet: Packet, flags: Flag) -> bytes:
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
    if packet.role is Role.OK and flags & Flag.SESSION_TRACK:
        return without_transaction_entries(payload)
    if packet.role is Role.EOF and flags & Flag.SESSION_TRACK:
        return payload[:4] + bytes([payload[4] & ~(SESSION_CHANGED >> 8)])
    return payload


def _without_numbers(text: bytes) -> bytes:
    """The text of an error without what is masked in it."""
    return re.sub(rb"(handler|statement) \(\d+\)|(for column ``.``.`\w+` at row) \d+", rb"\1\2 (0)", text)


def without_transaction_entries(payload: bytes) -> bytes:
    """An OK packet without what it says about transactions; without any trace of tracking if it said nothing else."""
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
        if block[place] not in TRANSACTION_ENTRIES:
            kept += block[place:end]
        place = end
    if kept:
        return payload[:start] + lenenc(len(kept)) + kept
    bare = payload[:at] + (status & ~SESSION_CHANGED).to_bytes(2, "little") + payload[at + 2 : at + 4]
    return bare + payload[at + 4 : start] if info else bare
