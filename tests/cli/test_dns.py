"""`pynet dns`: what it asks of the daemon, and what it does to the host."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from netplug.cli import dns_host
from netplug.cli.host_resolver import HostResolver
from tests.cli import replies
from tests.cli.conftest import CannedDaemon, Pynet

NAME = replies.NAMES["names"][0]


def test_add_sends_the_values_and_prints_the_name(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("POST /v1/dns", NAME)

    result = pynet("dns", "add", "a", "10.9.0.2", "10.9.0.3", "--network", "web")

    assert result.stdout == "a.web\n"
    assert daemon.asked == [
        ("POST /v1/dns", {"network": "web", "name": "a", "values": ["10.9.0.2", "10.9.0.3"]})
    ]


def test_add_with_a_type_sends_it(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("POST /v1/dns", NAME)

    pynet("dns", "add", "a", "v=spf1 -all", "--network", "web", "--type", "txt")

    assert daemon.asked[0][1] == {
        "network": "web",
        "name": "a",
        "values": ["v=spf1 -all"],
        "type": "TXT",
    }


def test_rm_removes_each_name(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply("DELETE /v1/dns/web/a", {})
    daemon.reply("DELETE /v1/dns/web/%2A.b", {})
    daemon.reply("DELETE /v1/dns/web/c?type=AAAA", {})

    assert pynet("dns", "rm", "a", "*.b", "--network", "web").stdout == "a\n*.b\n"
    assert pynet("dns", "rm", "c", "--network", "web", "--type", "AAAA").stdout == "c\n"


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (["a.web.pynet", "--type", "srv"], "name=a.web.pynet&type=srv"),
        (["10.9.0.2"], "name=2.0.9.10.in-addr.arpa&type=PTR"),
        (["a", "--container", "b"], "name=a&type=A&container=b"),
    ],
)
def test_lookup_asks_what_is_meant(
    pynet: Pynet, daemon: CannedDaemon, arguments: list[str], query: str
) -> None:
    daemon.reply(f"GET /v1/dns/lookup?{query}", replies.LOOKUP)

    assert pynet("dns", "lookup", *arguments).exit_code == 0


def test_log_prints_a_line_a_question(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply_lines("GET /v1/dns/log?follow=0", [replies.QUERY, replies.UNANSWERED])

    assert pynet("dns", "log").stdout.splitlines() == [
        "2026-01-31T12:00:00Z   a              b.web.pynet A                      "
        "10.9.0.3   (names, 0.25 ms)",
        "2026-01-31T12:00:00Z   a              x A                                "
        "no answer   (nobody, 0.25 ms)",
    ]


def test_log_of_one_container_for_programs_is_its_json(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply_lines("GET /v1/dns/log?follow=0&container=a", [replies.QUERY])

    result = pynet("dns", "log", "--container", "a", "--output", "json")

    assert json.loads(result.stdout) == replies.QUERY


def test_log_followed_ends_with_the_daemon(pynet: Pynet, daemon: CannedDaemon) -> None:
    daemon.reply_lines("GET /v1/dns/log?follow=1", [replies.QUERY])

    result = pynet("dns", "log", "-f")

    assert (result.exit_code, len(result.stdout.splitlines())) == (9, 1)
    assert "it stopped while its questions were followed" in result.stderr


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostResolver:
    host = HostResolver(
        reload=lambda: None,
        is_resolved_active=lambda: False,
        answers=lambda address, domain: True,
        resolv_conf=tmp_path / "resolv.conf",
        drop_in=tmp_path / "pynet.conf",
        resolved_runs=tmp_path / "resolve",
        nsswitch=tmp_path / "nsswitch.conf",
    )
    monkeypatch.setattr(dns_host, "_host", lambda: host)
    return host


def test_install_and_uninstall_say_which_file(
    pynet: Pynet, daemon: CannedDaemon, host: HostResolver
) -> None:
    daemon.reply("GET /v1/status", replies.STATUS)
    host.resolv_conf.write_text("nameserver 192.0.2.1\n")

    installed = pynet("dns", "install")
    assert installed.stdout == f"{host.resolv_conf}\n"
    assert "\nnameserver 169.254.53.53\n" in host.resolv_conf.read_text()

    assert pynet("dns", "uninstall").stdout == f"{host.resolv_conf}\n"
    assert host.resolv_conf.read_text() == "nameserver 192.0.2.1\n"


def test_uninstall_after_somebody_wrote_the_file_anew_says_so(
    pynet: Pynet, daemon: CannedDaemon, host: HostResolver
) -> None:
    daemon.reply("GET /v1/status", replies.STATUS)
    host.resolv_conf.write_text("nameserver 192.0.2.1\n")
    pynet("dns", "install")
    host.resolv_conf.write_text("nameserver 10.0.0.1\n")

    result = pynet("dns", "uninstall")

    assert (result.exit_code, result.stdout, host.backup.exists()) == (0, "", False)
    assert f"{host.resolv_conf} was written anew by somebody else" in result.stderr


def test_install_where_the_host_is_not_answered_changes_nothing(
    pynet: Pynet, daemon: CannedDaemon, host: HostResolver
) -> None:
    daemon.reply(
        "GET /v1/status", {**replies.STATUS, "dns": {**replies.STATUS["dns"], "address": ""}}
    )
    host.resolv_conf.write_text("nameserver 192.0.2.1\n")

    result = pynet("dns", "install")

    assert (result.exit_code, host.backup.exists()) == (5, False)
    assert "dns_address is none" in result.stderr


def test_install_that_may_not_write_is_a_sentence(
    pynet: Pynet, daemon: CannedDaemon, host: HostResolver
) -> None:
    daemon.reply("GET /v1/status", replies.STATUS)
    host.resolv_conf.mkdir()

    result = pynet("dns", "install")

    sentence = f"pynet: the kernel refused to change {host.resolv_conf}: Is a directory\n"
    assert (result.exit_code, result.stderr) == (8, sentence)


def test_install_on_a_full_disk_says_of_which_file(
    pynet: Pynet, daemon: CannedDaemon, host: HostResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.reply("GET /v1/status", replies.STATUS)
    host.resolv_conf.write_text("nameserver 192.0.2.1\n")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = pynet("dns", "install")

    assert result.exit_code == 8
    assert f"change {host.backup}: No space left on device" in result.stderr
    assert host.resolv_conf.read_text() == "nameserver 192.0.2.1\n"


def test_uninstall_of_nothing_says_so(pynet: Pynet, host: HostResolver) -> None:
    result = pynet("dns", "uninstall")

    assert result.exit_code == 4
    assert f"no resolver configuration of pynet '{host.resolv_conf}'" in result.stderr
