"""Binds the local sockets. Light, because it runs before Warmwire registers with Lambda."""

import contextlib
import os
import socket
import stat

BACKLOG = 128


def bind(port: int, path: str) -> tuple[list[socket.socket], list[str]]:
    """Listen on 127.0.0.1 and on a unix socket.

    Args:
        port: the TCP port.
        path: the unix socket's path, or empty for none.

    Returns:
        The sockets that could be bound, non-blocking, and a sentence for each that could not.
    """
    sockets, problems = [], []
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a reset of the environment, TIME_WAIT is left
        tcp.bind(("127.0.0.1", port))
        tcp.listen(BACKLOG)
        sockets.append(tcp)
    except OSError as problem:
        tcp.close()
        problems.append(f"cannot listen on 127.0.0.1:{port}: {problem.strerror}; set WARMWIRE_PORT to a free port")
    if path:
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            mask = os.umask(0o177)
            try:
                unix.bind(path)
            finally:
                os.umask(mask)
            unix.listen(BACKLOG)
            sockets.append(unix)
        except OSError as problem:
            unix.close()
            reason = problem.strerror or problem
            problems.append(f"cannot listen on {path}: {reason}; set WARMWIRE_SOCKET to another path, or to nothing")
    for sock in sockets:
        sock.setblocking(False)
    return sockets, problems


def _remove_stale(path: str) -> None:
    """Remove the socket that a killed process left behind: /tmp outlives a reset of the environment.

    Raises:
        OSError: something is there that is no socket, or somebody listens on it.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError("a file that is no socket is in its place")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            pass  # its backlog is full
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
    raise OSError("another process listens on it")
