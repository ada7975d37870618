"""Plays a conversation against a server and records what comes back."""

import struct
from dataclasses import dataclass, field, replace

from tests.integration.conversation import Conversation, Step
from tests.integration.masks import Masks
from tests.wire import Wire
from tests.wire_packets import LOCAL_INFILE, Closed, Command, Flag, Packet, Refused, Role, frame

NO_STATEMENT = 0x7FFF0000
"""Used for statements that could not be prepared: no server has an id like that."""

Address = tuple[str, int] | str


@dataclass
class Recording:
    """What came back, masked. A login or step that ended in a closed connection is recorded as no packets at all."""

    flags: Flag
    login: list[Packet] = field(default_factory=list)
    exchanges: list[tuple[Step, list[Packet]]] = field(default_factory=list)


class Player:
    """One side of the comparison."""

    def __init__(self, address: Address, conversation: Conversation, flags: Flag, *, direct: bool) -> None:
        """``flags`` are sent as they are, instead of those of the conversation. ``direct``: without Warmwire."""
        self.wire = Wire(address)
        self.conversation = conversation
        self.login = replace(conversation.login, flags=flags)
        self.ids: list[int] = []
        """Ids that the server gave to the prepared statements, by ordinal."""
        self.recording = Recording(flags)
        self.direct = direct

    def play(self) -> Recording:
        """Play everything, unless the server ends the connection before."""
        try:
            packets = self.wire.login(self.login)
            self.masks = Masks(self.wire.flags, self.wire.greeting.version, self.direct)
            self.recording.login = self.masks.canonical_login(packets)
            if self._steps():
                self._leave()
        except Refused as error:
            self.recording.login = [Packet(0, f"{error.errno} {error.sqlstate}".encode(), Role.ERROR)]
        except TimeoutError as error:
            place = len(self.recording.exchanges)
            step = self.conversation.steps[place] if place < len(self.conversation.steps) else self.conversation.farewell
            raise AssertionError(f"seed {self.conversation.seed}: no answer to step {place}, {step}") from error
        finally:
            self.wire.close()
        return self.recording

    def _steps(self) -> bool:
        """All steps; False if the connection is of no further use before that."""
        steps = iter(self.conversation.steps)
        for step in steps:
            together = [step, next(steps)] if step.with_next else [step]
            try:
                if step.login:
                    packets = self._change_user(step)
                    self._record(step, packets)
                    if packets[-1].role is Role.ERROR:
                        return False
                    continue
                frames = b"".join(frame(self._payload(each)) for each in together)
                self.wire.send_raw(frames, chunks=step.chunks)
                for each in together:
                    self._record(each, list(self.wire.response(each.command, uploads=each.uploads)))
            except Closed:
                self.recording.exchanges.append((step, []))
                return False
        return True

    def _payload(self, step: Step) -> bytes:
        if step.statement is None:
            return bytes([step.command]) + step.argument
        known = 0 <= step.statement < len(self.ids)
        return bytes([step.command]) + struct.pack("<I", self.ids[step.statement] if known else NO_STATEMENT) + step.argument

    def _change_user(self, step: Step) -> list[Packet]:
        assert step.login is not None
        try:
            return self.wire.change_user(step.login)
        except Refused as error:
            return [Packet(0, error.payload, Role.ERROR)]

    def _record(self, step: Step, packets: list[Packet]) -> None:
        if step.command == Command.STMT_PREPARE:
            made = packets[0].role is Role.PREPARED
            self.ids.append(struct.unpack_from("<I", packets[0].payload, 1)[0] if made else NO_STATEMENT)
        self.recording.exchanges.append((step, self.masks.canonical(step, packets)))

    def _leave(self) -> None:
        match self.conversation.farewell:
            case "quit":
                self.wire.quit()
            case "half":
                self.wire.send_raw(frame(b"\x03SELECT 'never finished'")[:-5])
            case "unread":
                self._begin(Step(Command.QUERY, b"SELECT seq, pad FROM wire.many"))
            case "upload":
                if self._begin(Step(Command.QUERY, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE wire.loaded")) == LOCAL_INFILE:
                    self.wire.send(b"1\tone\n", 2)

    def _begin(self, step: Step) -> int:
        """Send a command and read no more than the first packet of its response; returns its first byte."""
        packets = []
        try:
            self.wire.send(self._payload(step))
            packets = self.wire.read_logical()
        except Closed:
            pass
        self.recording.exchanges.append((step, packets))
        return packets[0].payload[0] if packets else -1
