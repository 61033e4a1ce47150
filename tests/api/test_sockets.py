"""Unix sockets: a stale one is taken over, one that is alive is left alone."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from netplug.api.sockets import listen
from netplug.errors import Conflict, StoreUnavailable


def test_listen_makes_the_folder_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "run" / "pynet" / "pynet.sock"

    with listen(path, 0o660) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert not listener.getblocking()


def test_listen_takes_over_a_socket_that_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "pynet.sock"
    listen(path, 0o600).close()
    assert path.exists()

    with listen(path, 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_listen_leaves_a_socket_alone_that_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "pynet.sock"

    with listen(path, 0o600), pytest.raises(Conflict, match="is in use by another process"):
        listen(path, 0o600)

    assert path.exists()


def test_listen_where_no_folder_can_be_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match=r"file/pynet\.sock"):
        listen(tmp_path / "file" / "pynet.sock", 0o600)


def test_listen_for_a_group_that_is_not_there_keeps_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "pynet.sock"
    before = tmp_path.stat().st_gid

    with listen(path, 0o660, "no-such-group-here"):
        assert path.stat().st_gid == before
