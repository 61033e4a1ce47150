"""The table that leads questions to us: which ports a table that is there leads to."""

from __future__ import annotations

import pytest

from netplug.kernel.firewall.overlay import Ports, ports_of, table

PORTS = Ports(udp=40001, tcp=40002)
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400  # linux/netlink.h
NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE = 0, 2  # linux/netfilter/nf_tables.h


def comment(text: str) -> bytes:
    return bytes([0, len(text) + 1]) + text.encode() + b"\0"


OURS = [comment(f"pynet-dns 2 {rule}") for rule in ("udp 40001", "tcp 40002", "beat 40001")]


def test_ports_of_our_rules_are_those_they_lead_to() -> None:
    assert ports_of(OURS) == PORTS


@pytest.mark.parametrize(
    "comments",
    [
        [],
        OURS[:2],
        [*OURS[:2], comment("pynet-dns 2 beat 40003")],
        [*OURS[:2], comment("pynet-dns 1 beat 40001")],
        [*OURS[:2], b""],
        [*OURS[:2], comment("pynet-dns 2 beat many")],
        [comment(f"pynet-dns 2 {rule} 70000") for rule in ("udp", "tcp", "beat")],
        [*OURS, comment("pynet-dns 2 tcp 0")],
    ],
    ids=[
        "none",
        "too few",
        "another beat",
        "another layout",
        "no comment",
        "no number",
        "too high",
        "zero",
    ],
)
def test_ports_of_a_table_that_is_not_whole_are_none(comments: list[bytes]) -> None:
    assert ports_of(comments) is None


def test_table_names_its_ports_in_its_comments() -> None:
    text = b"".join(body for _, _, body in table(PORTS))

    assert all(comment in text for comment in OURS)


def test_table_is_made_only_where_there_is_none() -> None:
    kinds = [kind & 0xFF for kind, _, _ in table(PORTS)]
    _, flags, _ = table(PORTS)[0]

    assert kinds[0] == NFT_MSG_NEWTABLE
    assert NFT_MSG_DELTABLE not in kinds
    assert flags == NLM_F_CREATE | NLM_F_EXCL


def test_table_that_leads_nowhere_names_no_port_to_go_on_with() -> None:
    text = b"".join(body for _, _, body in table(PORTS, leads=False))

    assert not any(comment in text for comment in OURS)
    assert b"udp answers" in text
