"""Records by hand: what is refused, and why."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from netplug.errors import Conflict, InvalidRequest, NotFound
from netplug.model import Identity, Network, RecordKind
from tests.service.world import World, joined, messages, network

WEB = replace(network(1), name="front")


@pytest.fixture
async def web(world: World) -> Network:
    return await world.networks.create(WEB)


@pytest.mark.parametrize("name", ["DB", "db.", "db.front", "db.Front.pynet."])
@pytest.mark.usefixtures("web")
async def test_add_keeps_the_name_that_it_has_inside(world: World, name: str) -> None:
    await world.records.add("front", name, ["10.1.0.9"])

    after = await world.restarted()
    (record,) = after.state.view.records.values()
    assert (record.name, record.kind, record.values) == ("db", RecordKind.A, ("10.1.0.9",))
    assert messages(world)[-1] == "db on front is A 10.1.0.9"


@pytest.mark.usefixtures("web")
async def test_add_of_more_values_adds_them(world: World) -> None:
    await world.records.add("front", "db", ["fd00::1"])

    record = await world.records.add("front", "db", ["fd00::2", "fd00::1"])

    assert (record.kind, record.values) == (RecordKind.AAAA, ("fd00::1", "fd00::2"))


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RecordKind.A, "10.1.0.9"),
        (RecordKind.AAAA, "fd00::1"),
        (RecordKind.CNAME, "www"),
        (RecordKind.CNAME, "www.example.com."),
        (RecordKind.TXT, ""),
        (RecordKind.TXT, "v=spf1 -all"),
        (RecordKind.SRV, "0 0 5432 db"),
        (RecordKind.SRV, "0 0 0 ."),
    ],
)
async def test_add_takes_every_kind(world: World, kind: RecordKind, value: str) -> None:
    record = await world.records.add("front", "_x._tcp.name", [value], kind)

    assert (await world.restarted()).state.view.records[record.key] == record


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize(
    ("name", "kind", "value", "reason"),
    [
        ("", None, "10.1.0.9", "name '': a part of it is empty"),
        ("a..b", None, "10.1.0.9", "a part of it is empty"),
        ("a b", None, "10.1.0.9", "'a b' has something other than letters, digits, '-' and '_'"),
        ("a.*.b", None, "10.1.0.9", "'*' has something other than"),
        ("a" * 64, None, "10.1.0.9", "a part of a name has at most 63 characters"),
        ("a." * 127 + "a", None, "10.1.0.9", "a name has at most 253 characters"),
        ("db", None, "10.1.0", "give a type"),
        ("db", RecordKind.A, "fd00::1", "A 'fd00::1': an IPv4 address is wanted"),
        ("db", RecordKind.AAAA, "10.1.0.9", "an IPv6 address is wanted"),
        ("db", RecordKind.AAAA, "fe80::1%eth0", "an address with a zone"),
        ("db", RecordKind.CNAME, "*.x", "a target is one name, not a wildcard"),
        ("db", RecordKind.CNAME, "a b", "'a b' has something other"),
        ("db", RecordKind.TXT, "é" * 1025, "a text has at most 2048 bytes"),
        ("db", RecordKind.TXT, "\ud800", "it is no UTF-8"),
        ("db", RecordKind.SRV, "0 0 70000 db", "priority, weight, port and target"),
        ("db", RecordKind.SRV, "0 0 5432", "priority, weight, port and target"),
        ("db", RecordKind.SRV, "0 0 5432 a..b", "a part of it is empty"),
    ],
)
async def test_add_refuses_what_does_not_parse(
    world: World, name: str, kind: RecordKind | None, value: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(reason)):
        await world.records.add("front", name, [value], kind)

    assert world.state.view.records == {}


@pytest.mark.usefixtures("web")
async def test_add_refuses_nothing_and_too_much(world: World) -> None:
    with pytest.raises(InvalidRequest, match="no value is given"):
        await world.records.add("front", "db", [])
    with pytest.raises(InvalidRequest, match="at most 64 values"):
        await world.records.add("front", "db", [f"10.1.0.{n}" for n in range(65)])


@pytest.mark.parametrize("name", ["web", "www", "WWW.front.pynet"])
async def test_add_refuses_the_name_of_a_container(world: World, web: Network, name: str) -> None:
    container = await joined(world, web)
    who = replace(container, name="web", identity=Identity(aliases=("www",)))
    await world.state.commit(puts=(who,))

    with pytest.raises(Conflict, match=r"name www? ?.*is that of web on network front|name web is"):
        await world.records.add("front", name, ["10.1.0.9"])


@pytest.mark.usefixtures("web")
async def test_add_refuses_an_alias_that_is_more_than_that(world: World) -> None:
    await world.records.add("front", "db", ["10.1.0.9"])
    await world.records.add("front", "other", ["db"], RecordKind.CNAME)

    with pytest.raises(Conflict, match="name db on network front has A records"):
        await world.records.add("front", "db", ["x"], RecordKind.CNAME)
    with pytest.raises(Conflict, match="is an alias of one name"):
        await world.records.add("front", "other", ["x"], RecordKind.CNAME)
    with pytest.raises(Conflict, match="is an alias"):
        await world.records.add("front", "other", ["10.1.0.9"])


@pytest.mark.usefixtures("web")
async def test_remove_takes_all_kinds_or_one(world: World) -> None:
    await world.records.add("front", "db", ["10.1.0.9"])
    await world.records.add("front", "db", ["fd00::1"])

    await world.records.remove("front", "db.front", RecordKind.A)
    assert [r.kind for r in world.state.view.records.values()] == [RecordKind.AAAA]

    await world.records.remove("front", "db")
    assert world.state.view.records == {}
    with pytest.raises(NotFound, match="no record 'db on front'"):
        await world.records.remove("front", "db")


async def test_delete_of_a_network_takes_its_records_along(world: World, web: Network) -> None:
    await world.records.add("front", "db", ["10.1.0.9"])

    await world.networks.delete(web.id)

    assert (await world.restarted()).state.view.records == {}


async def test_add_on_a_network_without_names_is_a_conflict(world: World) -> None:
    off = await world.networks.create(network(7, options=[("dns", "off")]))

    with pytest.raises(Conflict, match="has no names: it was made with dns=off"):
        await world.records.add(off.id, "db", ["10.0.0.9"])

    assert not world.state.view.records_of(off.id)
