"""The client: errors rebuilt, silence and nonsense named, events as they happen."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netplug.api.client import AdminClient, AdminError, _reason
from netplug.errors import DaemonUnreachable, DeadlineExceeded
from tests.cli.conftest import CannedDaemon


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens, and answers what a test writes to it."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "raw.sock"))
        listening.listen()
        yield listening


def _answer(listener: socket.socket, content: bytes) -> threading.Thread:
    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(65536)
            accepted.sendall(content)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_refusal_is_rebuilt_with_everything_it_carried(daemon: CannedDaemon) -> None:
    daemon.refuse(
        "GET /v1/plan",
        400,
        kind="InvalidOptions",
        message="invalid options: a; b",
        problems=["a", "b"],
        exit_code=3,
    )

    with pytest.raises(AdminError, match="invalid options: a; b") as caught:
        AdminClient(daemon.path).plan()

    error = caught.value
    assert (error.kind, error.problems, error.exit_code) == ("InvalidOptions", ("a", "b"), 3)


def test_refusal_that_is_not_ours_names_status_and_call(daemon: CannedDaemon) -> None:
    with pytest.raises(AdminError, match="answered 404 Not Found to GET /plan") as caught:
        AdminClient(daemon.path).plan()

    assert caught.value.exit_code == 70


def test_no_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="there is no such socket"):
        AdminClient(str(tmp_path / "none.sock")).status()


def test_a_socket_that_nobody_serves_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(tmp_path / "old.sock"))

    with pytest.raises(DaemonUnreachable, match="nothing listens there any more"):
        AdminClient(str(tmp_path / "old.sock")).status()


def test_a_socket_that_may_not_be_opened_says_who_may() -> None:
    # Asked of the wording alone: the tests may run as root, whom no socket refuses.
    assert "run as root, or join the group pynet" in _reason(PermissionError())


def test_a_path_too_long_for_a_socket_says_so() -> None:
    with pytest.raises(DaemonUnreachable, match="path too long"):
        AdminClient("/run/" + 120 * "x").status()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "hung up before it had answered"),
        (b"SSH-2.0-OpenSSH\r\n", "not pynet, or broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "not pynet, or broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "not pynet"),
    ],
)
def test_an_answer_that_is_none_is_no_daemon(
    listener: socket.socket, content: bytes, reason: str
) -> None:
    thread = _answer(listener, content)

    with pytest.raises(DaemonUnreachable, match=reason):
        AdminClient(listener.getsockname()).status()

    thread.join()


def test_silence_is_given_up(listener: socket.socket) -> None:
    with pytest.raises(DeadlineExceeded, match=r"GET /status did not finish within 0\.05 s"):
        AdminClient(listener.getsockname(), patience_s=0.05).status()


def test_events_arrive_while_the_stream_is_open_and_empty_lines_are_none(
    listener: socket.socket,
) -> None:
    may_end = threading.Event()

    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(65536)
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            accepted.sendall(head + b'1\r\n\n\r\n10\r\n{"kind": "one"}\n\r\n')
            may_end.wait()

    thread = threading.Thread(target=serve)
    thread.start()
    events = AdminClient(listener.getsockname(), patience_s=0.05).events(follow=True)

    first = next(events)
    may_end.set()

    assert first == {"kind": "one"}
    with pytest.raises(DaemonUnreachable):
        next(events)
    thread.join()
