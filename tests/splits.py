"""The ways in which a network may deliver the same bytes."""

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and cut in two at every place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]


@st.composite
def any_split(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut at any set of places."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=12)))
    edges = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def packet(payload: bytes, sequence: int = 0) -> bytes:
    """One physical packet."""
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload


def packets(*payloads: bytes, first: int = 1) -> bytes:
    """Physical packets with ascending sequence ids."""
    return b"".join(packet(payload, first + number) for number, payload in enumerate(payloads))
