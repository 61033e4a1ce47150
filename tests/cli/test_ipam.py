"""`pynet ipam`: what it asks of the daemon, what it prints, and how it ends."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from netplug.cli import main
from tests.cli import replies
from tests.cli.conftest import CannedDaemon, Pynet

LEAK = replies.FINDINGS[0]
REPAIR = ("POST /v1/ipam/audit", {"findings": [LEAK["id"]]})


def answer(monkeypatch: pytest.MonkeyPatch, daemon: CannedDaemon, text: str, *words: str) -> Result:
    """Run a command that asks, and answer it."""
    monkeypatch.setenv("PYNET_ADMIN_SOCKET", daemon.path)
    return CliRunner().invoke(main, words, prog_name="pynet", input=text)


def test_reserve_sends_the_words_and_prints_the_addresses(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("POST /v1/ipam/reservations", {"leases": replies.LEASES[1:]})

    result = pynet("ipam", "reserve", "web", "10.9.0.5", "10.9.0.64/28", "--note", "printer")

    asked = {"pool": "web", "addresses": ["10.9.0.5", "10.9.0.64/28"], "note": "printer"}
    assert daemon.asked == [("POST /v1/ipam/reservations", asked)]
    assert result.stdout == "10.9.0.2\n10.9.0.5\n"


def test_unreserve_gives_all_back_in_one_call(pynet: Pynet, daemon: CannedDaemon) -> None:
    path = "DELETE /v1/ipam/reservations?pool=web&address=10.9.0.5&address=10.9.0.64%2F28"
    daemon.reply(path, {"leases": replies.LEASES[2:]})

    result = pynet("ipam", "unreserve", "web", "10.9.0.5", "10.9.0.64/28")

    assert (result.stdout, result.exit_code, len(daemon.asked)) == ("10.9.0.5\n", 0, 1)


def test_release_prints_the_address(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("DELETE /v1/ipam/leases?pool=pynet-local%2F10.9.0.0%2F24&address=10.9.0.7", {})

    result = pynet("ipam", "release", "pynet-local/10.9.0.0/24", "10.9.0.7")

    assert result.stdout == "10.9.0.7\n"


def test_audit_that_finds_nothing_says_so(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("GET /v1/ipam/audit", {"findings": [], "problem": ""})

    result = pynet("ipam", "audit", "--fix")

    assert (result.stdout, result.exit_code) == ("nothing found\n", 0)


def test_audit_that_could_not_judge_everything_says_why(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("GET /v1/ipam/audit", {"findings": [], "problem": "it is away"})

    result = pynet("ipam", "audit")

    assert result.stderr == "only what came without Docker was judged: it is away\n"
    assert result.exit_code == 9


@pytest.mark.parametrize("words", [(), ("--output", "json")])
def test_audit_with_findings_changes_nothing_and_exits_with_11(
    pynet: Pynet, daemon: CannedDaemon, words: tuple[str, ...]
) -> None:
    daemon.reply("GET /v1/ipam/audit", replies.AUDIT)

    result = pynet("ipam", "audit", *words)

    assert result.exit_code == 11
    assert daemon.asked == [("GET /v1/ipam/audit", None)]


def test_audit_fix_asks_and_repairs_what_can_be_repaired(
    daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.reply("GET /v1/ipam/audit", replies.AUDIT)
    left = {"repaired": [LEAK], "findings": replies.FINDINGS[1:], "problem": ""}
    daemon.reply("POST /v1/ipam/audit", left)

    result = answer(monkeypatch, daemon, "y\n", "ipam", "audit", "--fix")

    assert result.stderr == "Repair 1 finding? [y/N]: y\n"
    assert "1 finding repaired\nFAULT" in result.stdout
    assert (daemon.asked[1:], result.exit_code) == ([REPAIR], 11)


@pytest.mark.parametrize("text", ["n\n", "\n", ""])
def test_audit_fix_that_is_not_agreed_to_changes_nothing(
    daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    daemon.reply("GET /v1/ipam/audit", replies.AUDIT)

    result = answer(monkeypatch, daemon, text, "ipam", "audit", "--fix")

    assert result.exit_code != 0
    assert daemon.asked == [("GET /v1/ipam/audit", None)]


def test_audit_fix_that_is_declined_tells_programs_what_was_found(
    daemon: CannedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.reply("GET /v1/ipam/audit", replies.AUDIT)

    result = answer(monkeypatch, daemon, "n\n", "ipam", "audit", "--fix", "--output", "json")

    assert (json.loads(result.stdout), result.exit_code) == (replies.AUDIT, 11)


def test_audit_fix_with_yes_does_not_ask(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("GET /v1/ipam/audit", {**replies.AUDIT, "findings": [LEAK]})
    done = {"repaired": [LEAK], "findings": [], "problem": ""}
    daemon.reply("POST /v1/ipam/audit", done)

    shown = pynet("ipam", "audit", "--fix", "--yes")
    told = pynet("ipam", "audit", "--fix", "--yes", "--output", "json")

    assert shown.stdout.endswith("\n1 finding repaired\n")
    assert (shown.exit_code, told.exit_code) == (0, 0)
    assert json.loads(told.stdout) == done


def test_audit_fix_of_what_cannot_be_repaired_does_not_ask(
    pynet: Pynet, daemon: CannedDaemon
) -> None:
    daemon.reply("GET /v1/ipam/audit", {"findings": replies.FINDINGS[1:], "problem": ""})

    result = pynet("ipam", "audit", "--fix")

    assert (result.exit_code, len(daemon.asked)) == (11, 1)
