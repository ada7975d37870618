"""What a process of ours uses, and whether it has complained."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMPLAINTS = ("this is a bug", "Traceback", "Exception in callback", "was never ")
"""What must never be in a log."""


class Vitals:
    """Watches `warmwire serve` (a ``Proxy`` of conftest.py).

    Args:
        proxy: the process.
        growth: bytes by which its memory may grow from now on.
    """

    def __init__(self, proxy: Any, growth: int = 24 << 20) -> None:
        self._proxy = proxy
        self.files_before = self.files
        self._limit = self.memory + growth

    @property
    def memory(self) -> int:
        """Bytes of its memory that are resident."""
        pid = self._proxy.process.pid
        if sys.platform == "linux":
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.partition("VmRSS:")[2].split()[0]) * 1024
        return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024

    @property
    def files(self) -> int:
        """How many files and sockets it has open."""
        pid = self._proxy.process.pid
        if sys.platform == "linux":
            return len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return len(subprocess.check_output(["lsof", "-p", str(pid)]).splitlines())

    def check(self, about: str = "", more_files: int = 0, seconds: float = 5) -> None:
        """Assert that it lives, uses no more than it may, and has not complained.

        Args:
            about: for the message of a failure.
            more_files: files that it may have open beyond those at the beginning, once it had ``seconds`` to close others.
        """
        assert self._proxy.process.poll() is None, f"it ended with {self._proxy.process.returncode} {about}\n{self.log_end}"
        assert self.memory <= self._limit, f"{self.memory >> 20} MB of memory {about}"
        most = self.files_before + more_files
        assert wait_until(lambda: self.files <= most, seconds), f"{self.files} files, {most} expected at most {about}"
        found = [word for word in COMPLAINTS if word in self._proxy.log]
        assert not found, f"the log says {found} {about}\n{self.log_end}"

    @property
    def log_end(self) -> str:
        """The log from its first complaint on, or its end."""
        log: str = self._proxy.log
        starts = [log.index(word) for word in COMPLAINTS if word in log]
        return log[max(0, min(starts) - 500) :][:5000] if starts else log[-2000:]


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
