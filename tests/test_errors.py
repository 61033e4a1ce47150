"""The error tree: what each error is worth to HTTP and to a shell, in one table."""

from __future__ import annotations

import inspect
import re

import pytest

from netplug import errors
from netplug.errors import PynetError

STATUS_AND_EXIT = {
    "PynetError": (500, 70),
    "InvalidInput": (400, 3),
    "InvalidOptions": (400, 3),
    "InvalidRequest": (400, 3),
    "InvalidSettings": (400, 3),
    "NotFound": (404, 4),
    "Conflict": (409, 5),
    "PortTaken": (409, 5),
    "PortRefused": (409, 5),
    "PoolExhausted": (503, 6),
    "Unsupported": (501, 7),
    "KernelRefused": (500, 8),
    "StoreUnavailable": (503, 9),
    "DaemonUnreachable": (503, 9),
    "EngineUnreachable": (503, 9),
    "DeadlineExceeded": (504, 10),
    "Drift": (500, 11),
}
TREE = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PynetError)
]
EXAMPLES: list[tuple[PynetError, str]] = [
    (errors.InvalidOptions(["a", "b"]), "invalid options: a; b"),
    (errors.InvalidRequest(["a"]), "invalid request: a"),
    (errors.InvalidSettings(["a"]), "invalid settings: a"),
    (errors.NotFound("network", "web"), "no network 'web'"),
    (errors.NotFound("network", "web", "look"), "no network 'web'; look"),
    (errors.Conflict("network web", "exists"), "network web exists"),
    (errors.Conflict("network web", "exists", "rename"), "network web exists; rename"),
    (errors.PortTaken("80/tcp", "nginx"), "host port 80/tcp is in use by nginx"),
    (
        errors.PortRefused("80:80/tcp", "it is taken"),
        "port mapping 80:80/tcp cannot be published: it is taken",
    ),
    (errors.PoolExhausted("10.9.0.0/30", "all leased"), "nothing free in 10.9.0.0/30: all leased"),
    (errors.Unsupported("ipset", "no such type"), "ipset is not supported: no such type"),
    (errors.KernelRefused("add a", "no"), "the kernel refused to add a: no"),
    (errors.StoreUnavailable("/x", "full"), "state /x: full"),
    (errors.StoreUnavailable("/x", "full", "free some"), "state /x: full; free some"),
    (errors.EngineUnreachable("/x", "gone"), "no Docker Engine answers at /x: gone"),
    (errors.DeadlineExceeded("it", 0.5), "it did not finish within 0.5 s"),
    (errors.Drift(["a", "b"]), "the kernel differs from the plan: a; b"),
]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_error_has_the_status_and_exit_code_that_are_documented(kind: type[PynetError]) -> None:
    assert (kind.http_status, kind.exit_code) == STATUS_AND_EXIT[kind.__name__]


def test_errors_are_all_in_the_table_and_in_the_tree_of_the_docstring() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", str(errors.__doc__))) | {"PynetError"}

    assert {kind.__name__ for kind in TREE} == set(STATUS_AND_EXIT) == drawn


def test_errors_of_one_family_share_an_exit_code_and_no_other_family_has_it() -> None:
    families: dict[int, set[int]] = {}
    for kind in TREE:
        families.setdefault(kind.exit_code, set()).add(kind.http_status)

    assert all(len(statuses) == 1 for statuses in families.values())
    assert not {0, 1, 2, 20} & set(families)


def test_docstring_of_the_tree_says_what_the_classes_say() -> None:
    rows = re.findall(r"── (\w+) +(\d+)  exit (\d+)", str(errors.__doc__))

    assert len(rows) > 8
    for name, status, code in rows:
        kind = getattr(errors, name)
        assert (kind.http_status, kind.exit_code) == (int(status), int(code))


@pytest.mark.parametrize(("error", "sentence"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_error_says_its_sentence(error: PynetError, sentence: str) -> None:
    assert str(error) == sentence


def test_daemon_unreachable_names_the_socket_and_the_next_step() -> None:
    sentence = str(errors.DaemonUnreachable("/run/x.sock", "refused"))

    assert "/run/x.sock" in sentence
    assert "pynet daemon" in sentence
