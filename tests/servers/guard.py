"""Ends what a test process started, also when that process is killed and cannot do it itself."""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Sequence


class Guard:
    """A waiting shell, in its own session, that runs `commands` when this process is gone.

    It reads from a pipe of which only this process has the other end: when the process dies in whatever way, the
    read ends without a line. (PR_SET_PDEATHSIG would not do: it fires when the *thread* that forked ends.)
    """

    def __init__(self, *commands: Sequence[str]) -> None:
        script = "read -r done && exit 0; " + "; ".join(shlex.join(command) for command in commands)
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @classmethod
    def of(cls, pid: int, directory: str = "") -> "Guard":
        """Kills `pid` and then removes `directory`."""
        remove = [["rm", "-rf", directory]] if directory else []
        return cls(["kill", "-KILL", str(pid)], ["sleep", "0.2"], *remove)

    def dismiss(self) -> None:
        """There is nothing left to guard."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(stdin.fileno(), b"done\n")
        stdin.close()
        self._process.wait(10)
