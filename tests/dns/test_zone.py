"""Names change one by one, and a change says what it touched."""

from __future__ import annotations

import ipaddress

import pytest

from netplug.contract.names import (
    Change,
    Named,
    NamedEndpoint,
    NamedNetwork,
    NamedRecord,
)
from netplug.dns.zone import Zone
from netplug.model import EndpointId, NetworkId, RecordKind

NET = NetworkId("n")


def endpoint(id_: str, *names: str, address: str = "10.0.0.1") -> NamedEndpoint:
    addresses = (ipaddress.ip_address(address),)
    return NamedEndpoint(
        id=EndpointId(id_), network_id=NET, label=id_, names=names, addresses=addresses
    )


def zone_of(*puts: Named) -> Zone:
    zone = Zone()
    zone.apply(Change(puts=(NamedNetwork(id=NET, name="net"), *puts)))
    return zone


def labels(zone: Zone, name: str) -> list[str]:
    found = zone.find(NET, name)
    return [e.label for e in found.endpoints] if found else []


def test_put_replaces_what_has_the_same_key_and_touches_both() -> None:
    zone = zone_of(endpoint("e", "old", "kept"))

    touched = zone.apply(Change(puts=(endpoint("e", "new", "Kept", address="10.0.0.2"),)))

    assert touched.names == {NET: {"old", "kept", "new", "10.0.0.1", "10.0.0.2"}}
    assert (labels(zone, "old"), labels(zone, "kept"), labels(zone, "new")) == ([], ["e"], ["e"])
    assert not zone.at(NET, ipaddress.ip_address("10.0.0.1"))


def test_drop_leaves_others_with_the_same_name() -> None:
    zone = zone_of(endpoint("one", "web"), endpoint("two", "web"))

    zone.apply(Change(drops=(endpoint("one"),)))

    assert labels(zone, "web") == ["two"]


def test_endpoint_may_come_before_its_network() -> None:
    zone = Zone()
    zone.apply(Change(puts=(endpoint("e", "web"),)))
    assert zone.find(NET, "web") is None

    touched = zone.apply(Change(puts=(NamedNetwork(id=NET, name="net"),)))

    assert touched.networks == {NET}
    assert labels(zone, "web") == ["e"]


def test_network_takes_its_endpoints_with_it() -> None:
    zone = zone_of(endpoint("e", "web"))

    zone.apply(Change(drops=(NamedNetwork(id=NET, name=""),)))
    zone.apply(Change(drops=(endpoint("e"),)))
    zone.apply(Change(puts=(NamedNetwork(id=NET, name="net"),)))

    assert labels(zone, "web") == []
    assert zone.networks_named("net") == (NET,)


def test_renamed_network_is_found_by_its_new_name_only() -> None:
    zone = zone_of()

    zone.apply(Change(puts=(NamedNetwork(id=NET, name="Other"),)))

    assert (zone.networks_named("net"), zone.networks_named("other")) == ((), (NET,))


@pytest.mark.parametrize("count", [1, 2])
def test_record_of_one_kind_is_dropped_alone(count: int) -> None:
    kinds = (RecordKind.A, RecordKind.TXT)
    records = [NamedRecord(network_id=NET, name="x", kind=k, values=("1",)) for k in kinds]
    zone = zone_of(*records)

    zone.apply(Change(drops=tuple(records[:count])))

    found = zone.find(NET, "x")
    assert (len(found.records) if found else 0) == 2 - count


def test_unknown_things_may_be_dropped() -> None:
    record = NamedRecord(network_id=NET, name="x", kind=RecordKind.A, values=())

    touched = Zone().apply(Change(drops=(endpoint("e"), record, NamedNetwork(id=NET, name=""))))

    assert not touched.names


def test_names_above_others_are_there_as_long_as_these() -> None:
    one, two = endpoint("one", "a.b.c", "*.b.c"), endpoint("two", "x.b.c")
    record = NamedRecord(network_id=NET, name="r.c", kind=RecordKind.A, values=("10.0.0.9",))
    zone = zone_of(one, two, record, record)

    def above() -> list[str]:
        return [name for name in ("a.b.c", "b.c", "c", "") if zone.is_above(NET, name)]

    seen = [above()]
    for item in (one, two, record):
        touched = zone.apply(Change(drops=(item,)))
        seen.append(above())

    assert seen == [["b.c", "c"], ["b.c", "c"], ["c"], []]
    assert touched.names == {NET: {"r.c", "c"}}
