"""Processes of an environment: each in its own process group, with its output read line by line.

A group is stopped (freeze), continued (thaw) and killed as a whole, so children of an extension are caught as well.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

READ_SIZE = 65_536
LONGEST_LINE = 262_144
"""Bytes; CloudWatch cuts a log event there."""


class Output:
    """The read end of a pipe that a process writes to. ``on_line`` gets each line, from one thread at a time."""

    def __init__(self, descriptor: int, on_line: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._on_line = on_line
        self._lock = threading.Lock()
        self._rest = b""
        self._ended = False
        os.set_blocking(descriptor, False)

    def read_until_end(self) -> None:
        """Block until every writer has closed the pipe; then close this end."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._ended:
            poll.poll()
            self.drain()
        os.close(self._descriptor)

    def drain(self) -> None:
        """Pass on all lines that are in the pipe by now."""
        with self._lock:
            while not self._ended:
                try:
                    data = os.read(self._descriptor, READ_SIZE)
                except BlockingIOError:
                    return
                self._ended = not data
                *lines, self._rest = (self._rest + data).split(b"\n")
                if self._rest and (self._ended or len(self._rest) > LONGEST_LINE):
                    lines.append(self._rest)
                    self._rest = b""
                for line in lines:
                    self._on_line(line.decode(errors="replace"))


class ProcessGroup:
    """One started program and its children. ``on_exit`` is called once, after the last of its output was passed on.

    When the program itself ends, what is left of its group is killed.

    Raises:
        OSError: The program cannot be executed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        variables: Mapping[str, str],
        directory: Path,
        *,
        on_line: Callable[[str], None],
        on_exit: Callable[[str], None],
    ) -> None:
        self.name = name
        self.killed = False
        self._on_exit = on_exit
        self._exited = threading.Event()
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                command,
                env=variables,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                process_group=0,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._output = Output(reading, on_line)
        threading.Thread(target=self._watch, name=f"watch {name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The program's process id, which is its group's too."""
        return self._process.pid

    @property
    def status(self) -> str | None:
        """How it ended, in AWS's words (``exit status 1``, ``signal: killed``); None while it runs."""
        code = self._process.returncode
        if code is None:
            return None
        return f"exit status {code}" if code >= 0 else f"signal: {signal.strsignal(-code) or -code}".lower()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the program's end; says whether it has ended."""
        return self._exited.wait(max(timeout, 0.0))

    def drain(self) -> None:
        """Pass on the lines printed so far."""
        with contextlib.suppress(OSError):  # closed: everything has been passed on
            self._output.drain()

    def freeze(self) -> None:
        """Stop the group where it is."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the group go on."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask the group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the group now, and wait until the program is gone."""
        if not self._exited.is_set():
            self.killed = True
            self._signal(signal.SIGKILL)
            self._exited.wait()

    def _signal(self, number: signal.Signals) -> None:
        if not self._exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _watch(self) -> None:
        reader = threading.Thread(target=self._output.read_until_end, name=f"read {self.name}", daemon=True)
        reader.start()
        # The dead leader stays a zombie until its group is dealt with, so its id cannot belong to anyone else yet.
        if sys.platform != "darwin":
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        reader.join(timeout=1.0)  # a child that left the group may keep the pipe open
        self._exited.set()
        self._on_exit(self.status or "")
