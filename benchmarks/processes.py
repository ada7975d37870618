"""Starting what is measured, and what Linux's /proc tells of it: memory in KiB, processor time in microseconds."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.guard import Guard

_START_SECONDS = 20
_STOP_SECONDS = 5


class Process:
    """A program that is ended with this one, whatever happens.

    Args:
        command: what to run.
        directory: where its log goes, and where it runs.
        variables: its environment; by default ours without WARMWIRE_ and AWS_ variables.
    """

    def __init__(self, command: Sequence[str], directory: Path, variables: Mapping[str, str] | None = None) -> None:
        self._log = directory / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.started = time.perf_counter()
            """Just before it was started, on perf_counter's clock."""
            self._process = subprocess.Popen(
                command, cwd=directory, env=environment() if variables is None else dict(variables),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        self._guard = Guard.of(self.pid)

    def await_port(self, port: int) -> None:
        """Wait until somebody listens there.

        Raises:
            RuntimeError: it ended, or took too long. Its log is in the text.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"nothing listens on {port}:\n{self.log}") from None
                time.sleep(0.02)

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait(self) -> float:
        """Wait until it has ended; gives that moment on perf_counter's clock.

        Raises:
            RuntimeError: it did not end, or not with 0.
        """
        ended = await_end(self._process)
        code = self._process.returncode
        self._guard.dismiss()
        if code != 0:
            raise RuntimeError(f"it ended with {code}:\n{self.log}")
        return ended

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_STOP_SECONDS)
        self._guard.dismiss()

    def cpu(self) -> float:
        """Processor time of all its threads so far, in microseconds."""
        total = 0
        for task in os.scandir(f"/proc/{self.pid}/task"):
            total += int(Path(task.path, "schedstat").read_text().split()[0])
        return total / 1000

    def memory(self) -> dict[str, int]:
        """Rss, Pss and private memory now, in KiB."""
        fields = _fields(f"/proc/{self.pid}/smaps_rollup")
        return {"Rss": fields["Rss"], "Pss": fields["Pss"], "Private": fields["Private_Clean"] + fields["Private_Dirty"]}

    def forget_peak(self) -> None:
        """Count the peak of its RSS from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The highest RSS since then, in KiB."""
        return _fields(f"/proc/{self.pid}/status")["VmHWM"]


def await_end(process: "subprocess.Popen[bytes]") -> float:
    """Wait until a child has ended; gives that moment on perf_counter's clock. (Popen.wait with a timeout naps instead.)

    Raises:
        RuntimeError: it did not end in time, and still runs.
    """
    handle = os.pidfd_open(process.pid)
    try:
        gone, _, _ = select.select([handle], [], [], _STOP_SECONDS)
    finally:
        os.close(handle)
    ended = time.perf_counter()
    if not gone:
        raise RuntimeError(f"{process.args} did not end within {_STOP_SECONDS} s")
    process.wait()
    return ended


def pin(pid: int, cores: set[int]) -> None:
    """Have all threads of a process run on these cores only."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cores)


def environment(**variables: object) -> dict[str, str]:
    """Our environment, without settings that may be in it, and with those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WARMWIRE_", "AWS_"))}
    return kept | {name: str(value) for name, value in variables.items()}


def _fields(path: str) -> dict[str, int]:
    """The `Name:  123 kB` lines of a file in /proc."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}
