import contextlib
import os
import socket
import stat

import pytest

from warmwire.relay.sockets import bind


@pytest.fixture
def port():
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def bound(port):
    """Binds, and closes what was bound."""
    sockets = []

    def run(path="", port=port):
        found, problems = bind(port, str(path))
        sockets.extend(found)
        return found, problems

    yield run
    for sock in sockets:
        sock.close()


def answers(sock, address):
    """Whether somebody who connects to the address is queued at the socket."""
    with socket.socket(sock.family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(address)
        accepted, _ = sock.accept()
        accepted.close()
        return True


def test_both_sockets_listen_and_do_not_block(bound, port, tmp_path):
    path = tmp_path / "w.sock"
    (tcp, unix), problems = bound(path)
    assert problems == []
    assert tcp.getsockname() == ("127.0.0.1", port)
    assert not tcp.getblocking() and not unix.getblocking()
    assert answers(tcp, ("127.0.0.1", port)) and answers(unix, str(path))


def test_only_its_owner_may_use_the_unix_socket_and_the_umask_is_as_before(bound, tmp_path):
    path = tmp_path / "w.sock"
    before = os.umask(0o022)
    try:
        bound(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_an_empty_path_is_no_unix_socket(bound):
    sockets, problems = bound("")
    assert [sock.family for sock in sockets] == [socket.AF_INET] and problems == []


def test_a_socket_that_a_killed_process_left_behind_is_replaced(bound, tmp_path):
    path = tmp_path / "w.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
    (_, unix), problems = bound(path)
    assert problems == [] and answers(unix, str(path))


def test_a_socket_that_is_in_use_is_left_alone(bound, tmp_path):
    path = tmp_path / "w.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        sockets, problems = bound(path)
        assert [sock.family for sock in sockets] == [socket.AF_INET]
        assert problems == [
            f"cannot listen on {path}: another process listens on it; set WARMWIRE_SOCKET to another path, or to nothing"
        ]
        live.accept()[0].close()  # the probe
        assert answers(live, str(path))


def test_a_socket_in_use_that_has_no_room_for_a_probe_does_not_hold_up_the_start(bound, tmp_path):
    path = tmp_path / "w.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        waiting = []
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        sockets, problems = bound(path)
        for client in waiting:
            client.close()
    assert [sock.family for sock in sockets] == [socket.AF_INET]
    assert problems == [
        f"cannot listen on {path}: another process listens on it; set WARMWIRE_SOCKET to another path, or to nothing"
    ]


@pytest.mark.parametrize("make", [lambda path: path.write_text("precious"), lambda path: path.mkdir()])
def test_a_file_that_is_no_socket_is_never_removed(bound, tmp_path, make):
    path = tmp_path / "w.sock"
    make(path)
    _, problems = bound(path)
    assert problems == [
        f"cannot listen on {path}: a file that is no socket is in its place; set WARMWIRE_SOCKET to another path, or to nothing"
    ]
    assert path.exists()


def test_a_folder_that_does_not_exist_is_named(bound, tmp_path):
    path = tmp_path / "nowhere" / "w.sock"
    sockets, problems = bound(path)
    assert len(sockets) == 1
    assert problems == [
        f"cannot listen on {path}: No such file or directory; set WARMWIRE_SOCKET to another path, or to nothing"
    ]


def test_a_port_that_is_taken_is_named_and_the_unix_socket_comes_up_all_the_same(bound, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sockets, problems = bound(tmp_path / "w.sock", port=port)
    assert [sock.family for sock in sockets] == [socket.AF_UNIX]
    assert problems == [f"cannot listen on 127.0.0.1:{port}: Address already in use; set WARMWIRE_PORT to a free port"]


def test_a_port_whose_last_connections_are_still_dying_is_free(bound, port):
    (tcp,), _ = bound()
    client = socket.create_connection(("127.0.0.1", port), timeout=5)
    tcp.setblocking(True)
    accepted, _ = tcp.accept()
    accepted.close()  # our end first: TIME_WAIT stays with the port
    client.close()
    tcp.close()
    _, problems = bound()
    assert problems == []
