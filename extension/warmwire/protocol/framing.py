"""Where packets, and a client's commands, begin and end. Bytes may arrive in any pieces.

:class:`PacketBuffer` gives whole payloads, for the connection phase and for what Warmwire asks the server itself.
:class:`CommandFramer` only walks headers, so that commands of any size can be passed on as they come.
"""

from warmwire.errors import PacketTooLarge
from warmwire.protocol.constants import MAX_PAYLOAD, Command


class PacketBuffer:
    """Collects bytes and gives back whole payloads with their sequence ids.

    Args:
        limit: the longest payload to accept, in bytes. It is checked as soon as the header is there.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._data += data

    def next_packet(self) -> tuple[int, bytes] | None:
        """The next ``(sequence id, payload)``, or None until more bytes come.

        Raises:
            PacketTooLarge: the payload is over the limit, or is continued in a further packet.
        """
        data = self._data
        if len(data) < 4:
            return None
        length = data[0] | data[1] << 8 | data[2] << 16
        if length > self.limit or length == MAX_PAYLOAD:
            raise PacketTooLarge(f"a packet of {length} bytes came where at most {self.limit} are accepted")
        if len(data) < 4 + length:
            return None
        packet = data[3], bytes(data[4 : 4 + length])
        del data[: 4 + length]
        return packet

    def take_rest(self) -> bytes:
        """Hand over the bytes that belong to no finished packet, and forget them."""
        rest = bytes(self._data)
        self._data.clear()
        return rest


class CommandFramer:
    """Finds the end of a client's command, or of one data packet of a LOAD DATA LOCAL, without holding its bytes.

    Both are one *logical* packet: physical packets of 16 MiB - 1 bytes and a last, shorter one.
    """

    __slots__ = ("_continued", "_header", "_left", "sequence", "size")

    def __init__(self) -> None:
        self._header = b""  # an incomplete header
        self._left = -1  # bytes of the current physical packet still to come; -1: a header comes next
        self._continued = False
        self.sequence = 0
        """Sequence id of the last header."""
        self.size = 0
        """Payload bytes of the current logical packet so far, by its headers."""

    def feed(self, data: bytes, at: int = 0) -> tuple[int, bool]:
        """Walk on from ``data[at]``.

        Returns:
            The position behind the last byte that belongs to this logical packet, and whether the packet ends there.
            After an end the next call starts the next packet.
        """
        if self._left < 0 and not self._header and not self._continued:
            self.size = 0
        end = len(data)
        while True:
            if self._left < 0:
                need = 4 - len(self._header)
                if end - at < need:
                    self._header += data[at:end]
                    return end, False
                header = self._header + data[at : at + need]
                at += need
                self._header = b""
                length = header[0] | header[1] << 8 | header[2] << 16
                self.sequence = header[3]
                self.size += length
                self._left = length
                self._continued = length == MAX_PAYLOAD
            step = min(self._left, end - at)
            at += step
            self._left -= step
            if self._left:
                return at, False
            self._left = -1
            if not self._continued:
                return at, True


def payload_length(data: bytes, at: int) -> int:
    """The payload length in the packet header at ``data[at]``."""
    return data[at] | data[at + 1] << 8 | data[at + 2] << 16


def is_whole_command(data: bytes) -> bool:
    """Whether the bytes are exactly one command in one physical packet, and not an empty one."""
    size = len(data) - 4
    return 0 < size < MAX_PAYLOAD and payload_length(data, 0) == size


def command_of(data: bytes, at: int = 0) -> int | None:
    """The command byte of the packet that starts at ``data[at]``, or None until its first five bytes are there.

    Servers take an empty packet for COM_SLEEP (and refuse it), so it is that here too.
    """
    if len(data) - at > 4:
        return data[at + 4] if data[at] or data[at + 1] or data[at + 2] else Command.SLEEP
    if len(data) - at == 4 and data[at : at + 3] == b"\0\0\0":
        return Command.SLEEP
    return None
