"""A table that is made again elsewhere; integration/kernel has the kernel make and tell it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from netplug.errors import Unsupported
from netplug.kernel.firewall.image import NFPROTO_NETDEV, Chain, Hook, Image, Set, element, read
from netplug.kernel.firewall.netfilter import Message, ask, attribute, attributes, listed

NLM_F_MULTI, NLM_F_DUMP_INTR = 0x02, 0x10  # linux/netlink.h
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
NLMSG_ERROR, NLMSG_DONE = 2, 3
ENOENT = 2
# linux/netfilter/nf_tables.h
NEWTABLE, NEWCHAIN, NEWRULE, GETRULE, NEWSET, NEWSETELEM = 0, 3, 6, 7, 9, 12
CHAIN_NAME, CHAIN_HOOK, HOOK_DEVS, RULE_CHAIN, SET_NAME, SET_ID = 3, 4, 4, 2, 2, 10
ELEMENTS = 3

KEY = element(b"\x0a\x09\x00\x02")
IMAGE = Image(
    family=NFPROTO_NETDEV,
    name="pynet-sample",
    what=b"",
    chains=(
        Chain(attribute(CHAIN_NAME, b"by_arp\0"), None),
        Chain(attribute(CHAIN_NAME, b"egress\0"), Hook(bytes(4), bytes(4), (b"lo\0",))),
    ),
    sets=(Set(b"ipv4\0", b"", frozenset({element(bytes(4))})), Set(b"__set0\0", b"", frozenset())),
    rules=(attribute(RULE_CHAIN, b"by_arp\0"), attribute(RULE_CHAIN, b"egress\0")),
)


def body_of(message: Message) -> dict[int, bytes]:
    return attributes(message[2][4:])


def of_kind(image: Image, kind: int) -> list[Message]:
    return [message for message in image.messages() if message[0] & 0xFF == kind]


def test_messages_make_what_is_jumped_to_and_looked_up_before_the_rules() -> None:
    kinds = [kind & 0xFF for kind, _, _ in IMAGE.messages()]

    assert kinds == [NEWTABLE, NEWCHAIN, NEWCHAIN, NEWSET, NEWSETELEM, NEWSET, NEWRULE, NEWRULE]


def test_messages_make_a_table_only_where_there_is_none_and_rules_in_their_order() -> None:
    flags = {kind & 0xFF: flags for kind, flags, _ in IMAGE.messages()}

    assert flags[NEWTABLE] == NLM_F_CREATE | NLM_F_EXCL
    assert flags[NEWRULE] == NLM_F_CREATE | NLM_F_APPEND
    assert [body_of(one)[RULE_CHAIN] for one in of_kind(IMAGE, NEWRULE)] == [
        b"by_arp\0",
        b"egress\0",
    ]


def test_copy_has_its_own_name_device_and_elements() -> None:
    copy = IMAGE.copy("pynet-pyp1", device="eth0", elements={"ipv4": frozenset({KEY})})

    assert {body_of(message)[1] for message in copy.messages()} == {b"pynet-pyp1\0"}
    hooks = [body_of(chain).get(CHAIN_HOOK) for chain in of_kind(copy, NEWCHAIN)]
    assert hooks[0] is None
    assert hooks[1] is not None
    assert list(listed(attributes(hooks[1])[HOOK_DEVS])) == [(1, b"eth0\0")]
    (elements,) = of_kind(copy, NEWSETELEM)
    assert body_of(elements)[SET_NAME] == b"ipv4\0"
    assert list(listed(body_of(elements)[ELEMENTS])) == [(1, KEY)]


def test_copy_of_a_copy_is_the_image() -> None:
    copy = IMAGE.copy("pynet-pyp1", device="eth0", elements={"ipv4": frozenset({KEY})})
    elements = {"ipv4": IMAGE.sets[0].elements}

    assert copy != IMAGE
    assert copy.copy("pynet-sample", device="lo", elements=elements) == IMAGE


def test_copy_has_its_own_values() -> None:
    image = replace(IMAGE, rules=(b"iif 5 accept", b"drop"))

    assert image.copy("pynet-pyp1", elements={}, values={b"5": b"7"}).rules == (
        b"iif 7 accept",
        b"drop",
    )


@pytest.mark.parametrize("rules", [(), (b"iif 6",), (b"iif 5", b"oif 5"), (b"iif 5 oif 5",)])
def test_copy_is_refused_unless_each_value_is_in_one_place(rules: tuple[bytes, ...]) -> None:
    image = replace(IMAGE, rules=rules)

    with pytest.raises(Unsupported, match=r"table pynet-pyp1 .* places of the rules, not in one"):
        image.copy("pynet-pyp1", elements={}, values={b"5": b"7"})


def test_sets_of_a_batch_have_numbers_of_their_own() -> None:
    numbers = [body_of(one)[SET_ID] for one in of_kind(IMAGE, NEWSET)]

    assert len(set(numbers)) == len(numbers) == 2


def test_many_elements_are_as_many_messages_as_they_need() -> None:
    many = frozenset(element(struct.pack("!I", number)) for number in range(5000))
    elements = of_kind(IMAGE.copy("pynet-pyp1", elements={"ipv4": many}), NEWSETELEM)

    lists = [body_of(one)[ELEMENTS] for one in elements]
    assert len(lists) > 1
    assert max(map(len, lists)) < 65_000
    assert [value for some in lists for _, value in listed(some)] == sorted(many)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with ExitStack() as stack:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in pair:
            stack.enter_context(end)
            end.settimeout(5)
        yield pair


def answer(body: bytes, flags: int = NLM_F_MULTI) -> bytes:
    """Return the two messages of a short dump."""
    text = bytes(4) + body
    return b"".join(
        struct.pack("=IHHII", 16 + len(one), kind, flags, 0, 0) + one
        for kind, one in ((NEWRULE, text), (NLMSG_DONE, bytes(4)))
    )


def test_dump_that_a_change_has_torn_is_asked_for_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, kernels = ends
    kernels.send(answer(attribute(RULE_CHAIN, b"torn\0"), NLM_F_MULTI | NLM_F_DUMP_INTR))
    kernels.send(answer(attribute(RULE_CHAIN, b"whole\0")))

    found = ask(ours, GETRULE, bytes(4), is_dump=True)

    assert [attributes(one)[RULE_CHAIN] for one in found] == [b"whole\0"]
    assert kernels.recv(4096) == kernels.recv(4096)


def test_dump_that_changes_keep_tearing_is_given_up(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, kernels = ends
    for _ in range(5):
        kernels.send(answer(b"", NLM_F_MULTI | NLM_F_DUMP_INTR))

    with pytest.raises(InterruptedError):
        ask(ours, GETRULE, bytes(4), is_dump=True)


def test_table_that_is_not_there_is_none(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, kernels = ends
    kernels.send(struct.pack("=IHHIIi", 20, NLMSG_ERROR, 0, 0, 0, -ENOENT))

    assert read(ours, NFPROTO_NETDEV, "pynet-pyp1") is None
