from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netplug.errors import StoreUnavailable
from netplug.model import (
    Endpoint,
    HostState,
    Lease,
    NameRecord,
    Network,
    NetworkId,
    Pool,
    PoolId,
    Record,
    RecordKind,
    Sticky,
    Subnet,
)
from netplug.store.codec import Entry, decode, encode, key_of

RECORD_TYPES = (Network, Endpoint, Pool, Lease, Sticky, NameRecord, HostState)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEASE = Lease(pool_id=PoolId("p"), address=ip_address("fe80::1%eth0"), created_at=NOON)
NETWORK = Network(
    id=NetworkId("n"), subnets=(Subnet(pool=ip_network("10.9.0.0/24")),), created_at=NOON
)


def _strategy(hint: object) -> st.SearchStrategy[object]:
    if hint is datetime:
        return st.datetimes(timezones=st.just(UTC))
    if hint == tuple[Subnet, ...]:
        return st.lists(_instances(Subnet), max_size=2).map(tuple)
    return st.from_type(hint)  # type: ignore[arg-type]


def _instances(model: type) -> st.SearchStrategy[object]:
    """Draw every field, those with defaults as well: a new field is tested without being named."""
    return st.builds(model, **{f: _strategy(hint) for f, hint in get_type_hints(model).items()})


@given(st.one_of([_instances(model) for model in RECORD_TYPES]))
@settings(max_examples=100, deadline=None)
def test_decode_of_an_encoded_record_returns_it(record: Record) -> None:
    entry = encode(record)

    assert decode(entry, "here") == record
    assert (entry.kind, entry.key) == key_of(record)


@pytest.mark.parametrize("record", [NETWORK, LEASE])
def test_decode_of_unknown_fields_passes_them_over(record: Record) -> None:
    entry = encode(record)
    wider = json.loads(entry.value) | {"from_the_future": {"deep": [1, None]}}

    assert decode(entry._replace(value=json.dumps(wider).encode()), "here") == record


def test_decode_of_unknown_fields_inside_a_subnet_passes_them_over() -> None:
    entry = encode(NETWORK)
    wider = json.loads(entry.value)
    wider["subnets"][0]["vni"] = 7

    assert decode(entry._replace(value=json.dumps(wider).encode()), "here") == NETWORK


@pytest.mark.parametrize("model", RECORD_TYPES)
def test_decode_of_missing_fields_takes_their_defaults(model: type[Record]) -> None:
    required: dict[str, Any] = {
        "id": "x",
        "network_id": "x",
        "pool_id": "x",
        "space": "x",
        "mac": "x",
        "instance": "x",
        "network": ip_network("10.9.0.0/24"),
        "address": ip_address("10.9.0.2"),
        "ula": IPv6Network("fd00::/48"),
        "created_at": NOON,
        "held_at": NOON,
        "name": "x",
        "kind": RecordKind.A,
        "values": ("10.9.0.2",),
    }
    bare = model(**{f.name: required[f.name] for f in fields(model) if f.default is MISSING})
    entry = encode(bare)
    written = json.loads(entry.value)
    shorter = {f.name: written[f.name] for f in fields(model) if f.default is MISSING}

    assert decode(entry._replace(value=json.dumps(shorter).encode()), "here") == bare


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\xff",
        b'"\xff"',
        b"null",
        b"{}",
        b'{"pool_id":"p","address":"10.9.0.2"}',
        b'{"pool_id":"p","address":"10.9.0.0/24","created_at":"2026-01-31T12:00:00Z"}',
        b'{"pool_id":"p","address":42,"created_at":"2026-01-31T12:00:00Z"}',
        b'{"pool_id":"p","address":"10.9.0.2","created_at":"noon"}',
        b'{"pool_id":"p","address":"10.9.0.2","created_at":"2026-01-31T12:00:00Z","kind":"loan"}',
    ],
)
def test_decode_of_an_unfit_value_names_store_kind_and_key(value: bytes) -> None:
    with pytest.raises(StoreUnavailable, match=r"state /state\.db: lease 'p/10\.9\.0\.2' cannot"):
        decode(Entry("lease", "p/10.9.0.2", value), "/state.db")


def test_decode_of_an_unfit_subnet_names_the_network() -> None:
    entry = encode(NETWORK)
    unfit = entry.value.replace(b"10.9.0.0/24", b"10.9.0.1/24")

    with pytest.raises(StoreUnavailable, match=r"network 'n' cannot be read: .*host bits"):
        decode(entry._replace(value=unfit), "here")


def test_decode_of_an_unknown_kind_asks_for_an_upgrade() -> None:
    with pytest.raises(StoreUnavailable, match=r"peer \('host-b'\).*upgrade pynet"):
        decode(Entry("peer", "host-b", b"{}"), "here")


def test_key_of_leases_differs_by_pool_and_address() -> None:
    leases = [
        LEASE,
        replace(LEASE, pool_id=PoolId("q")),
        replace(LEASE, address=ip_address("fe80::2")),
    ]

    assert len({key_of(lease) for lease in leases}) == len(leases)
