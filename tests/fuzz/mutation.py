"""Bytes that are nearly right: valid ones with something wrong in them."""

import random

TELLING = b"\x00\x01\x02\x03\x04\x05\x08\x09\x20\x7f\x80\xfa\xfb\xfc\xfd\xfe\xff"
"""Bytes that mean something in the protocol: headers, prefixes of integers, commands, edges."""
LONGEST = 4096


def mutate(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """``data`` with one to four changes; ``others`` are where foreign pieces are taken from."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(_CHANGES)(rng, data, others)[:LONGEST]
    return data


def chunks(rng: random.Random, data: bytes) -> list[bytes]:
    """``data`` in the pieces in which a network might deliver it: mostly whole, sometimes single bytes."""
    way = rng.random()
    if way < 0.5 or len(data) < 2:
        return [data]
    if way < 0.6 and len(data) < 300:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.sample(range(1, len(data)), min(len(data) - 1, rng.randrange(1, 6))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _overwrite(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    if not data:
        return bytes((rng.choice(TELLING),))
    at = rng.randrange(len(data))
    return data[:at] + bytes((rng.choice(TELLING) if rng.random() < 0.7 else rng.randrange(256),)) + data[at + 1 :]


def _flip(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]


def _insert(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + bytes(rng.choice(TELLING) for _ in range(rng.choice((1, 1, 2, 4, 9)))) + data[at:]


def _delete(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 1, 2, 4, 16)) :]


def _cut_off(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _repeat(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.randrange(1, 40)]
    return data[:start] + piece * rng.choice((2, 3, 20)) + data[start + len(piece) :]


def _splice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


def _append(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    return data + rng.choice(others)


def _packet_length(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """A wrong length in what may be a packet's header."""
    starts = _packet_starts(data)
    at = rng.choice(starts)
    length = rng.choice((0, 1, 4, 5, 0xFFFF, 0xFFFFFE, 0xFFFFFF, len(data), max(0, len(data) - at - 5)))
    return data[:at] + length.to_bytes(3, "little") + data[at + 3 :]


def _packet_swap(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """A packet left out, sent twice, or moved to the end."""
    starts = _packet_starts(data)
    at = rng.randrange(len(starts))
    start, end = starts[at], starts[at + 1] if at + 1 < len(starts) else len(data)
    piece = data[start:end]
    return data[:start] + rng.choice((b"", piece + piece, data[end:] + piece)) + data[end:]


def _packet_starts(data: bytes) -> list[int]:
    starts, at = [0], 0
    while at + 4 <= len(data) and len(starts) < 64:
        at += 4 + int.from_bytes(data[at : at + 3], "little")
        if at >= len(data):
            break
        starts.append(at)
    return starts


_CHANGES = (
    _overwrite, _overwrite, _flip, _insert, _delete, _cut_off, _repeat, _splice, _append, _packet_length, _packet_swap,
)  # fmt: skip
