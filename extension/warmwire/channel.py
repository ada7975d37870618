"""Whole packets over a wire, for conversations that are awaited: logins, resets, pings.

The relay does not use it: there bytes pass as they come.
"""

import asyncio

from warmwire.errors import ProtocolError
from warmwire.protocol.codec import write_packet
from warmwire.protocol.framing import PacketBuffer
from warmwire.wire import Wire


class PacketChannel:
    """Reads and writes single packets and keeps count of their sequence ids.

    Args:
        wire: what to talk over; it listens to the wire from now on.
        limit: the longest payload to accept, in bytes.
        first: bytes that arrived already.
    """

    def __init__(self, wire: Wire, limit: int, first: bytes = b"") -> None:
        self.wire = wire
        self.sequence = 0
        """Sequence id of the next packet to be written."""
        self._buffer = PacketBuffer(limit)
        self._buffer.feed(first)
        self._lost: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.attach()

    def attach(self) -> None:
        """Listen to the wire (again)."""
        self.wire.listen(self._received, self._on_lost)

    async def read(self) -> bytes:
        """The next payload. Cancelling loses nothing.

        Raises:
            PacketTooLarge: it is over the limit.
            OSError: the connection ended or broke.
        """
        while (packet := self._buffer.next_packet()) is None:
            if self._lost is not None:
                raise self._lost
            self._waiter = asyncio.get_running_loop().create_future()
            self.wire.resume()
            self.wire.closed.add_done_callback(self._on_closed)  # whoever closes the wire on our side tells nobody else
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.wire.closed.remove_done_callback(self._on_closed)
        self.sequence = packet[0] + 1 & 0xFF
        return packet[1]

    def write(self, *payloads: bytes) -> None:
        """Send packets that belong to the conversation, in one go."""
        packets = []
        for payload in payloads:
            packets.append(write_packet(payload, self.sequence))
            self.sequence = self.sequence + 1 & 0xFF
        self.wire.write(b"".join(packets))

    async def request(self, *commands: bytes) -> list[bytes]:
        """Send commands at once and read their answers, for commands that are answered by exactly one packet.

        Raises:
            ProtocolError: more came, or came before, so nobody knows which packet answers what.
            Otherwise as :meth:`read`. The connection is then not between exchanges.
        """
        if len(self._buffer):
            raise ProtocolError("there was an answer before the question")
        self.wire.write(b"".join(write_packet(command, 0) for command in commands))
        answers = []
        for _ in commands:
            answers.append(await self.read())
            if self.sequence != 2:
                raise ProtocolError(f"an answer of one packet came with the sequence id {self.sequence - 1 & 0xFF}")
        if len(self._buffer):
            raise ProtocolError("there were more answers than questions")
        return answers

    def take_rest(self) -> bytes:
        """Hand over what arrived but was not read."""
        return self._buffer.take_rest()

    def _received(self, data: bytes) -> None:
        self._buffer.feed(data)
        if len(self._buffer) > self._buffer.limit + 4:
            self.wire.pause()
        self._wake()

    def _on_lost(self, problem: OSError | None) -> None:
        self._lost = self._lost or problem or ConnectionResetError("the connection was closed by its other end")
        self._wake()

    def _on_closed(self, _: object) -> None:
        self._on_lost(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
