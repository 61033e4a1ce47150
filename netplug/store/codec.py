"""Records as JSON, each under its kind and key.

    encode(lease) == Entry("lease", "local/10.9.0.0/24/10.9.0.2", b'{"pool_id":"local/10.9…}')

A field that this version does not know is passed over, because a newer one wrote it; a missing one
takes its default. Anything else that does not fit is refused: half a record is worse than none.

msgspec decodes no union of two custom types, and every address in the model is one (IPv4 | IPv6).
So each record is decoded as a struct of the same fields, in whose annotations the names of those
unions mean stand-ins: abstract types to which both families are registered.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from types import MappingProxyType, UnionType
from typing import NamedTuple, get_args, get_type_hints

from msgspec import DecodeError, Struct, convert, defstruct, structs
from msgspec.json import Decoder, Encoder

from netplug.errors import StoreUnavailable
from netplug.model import (
    Borrowed,
    Endpoint,
    HostState,
    Identity,
    IPAddress,
    IPInterface,
    IPNetwork,
    Lease,
    NameRecord,
    Network,
    Parent,
    Pool,
    PortMapping,
    PortRequest,
    Record,
    Sticky,
    Subnet,
)

Key = tuple[str, str]
"""Kind and key: what a record is known by, among all records of a store."""


class Entry(NamedTuple):
    """A record as it is kept."""

    kind: str
    key: str
    value: bytes


def key_of(record: Record) -> Key:
    """Return what `record` is known by; a later record under the same key replaces it."""
    match record:
        case Network():
            return ("network", record.id)
        case Endpoint():
            return ("endpoint", record.id)
        case Pool():
            return ("pool", record.id)
        case Lease():
            return ("lease", f"{record.pool_id}/{record.address}")
        case Sticky():
            return ("sticky", f"{record.pool_id}/{record.address}")
        case NameRecord():
            return ("name", f"{record.network_id}/{record.kind}/{record.name}")
        case HostState():
            return ("host", "this")


def encode(record: Record) -> Entry:
    """Return `record` as it is kept."""
    return Entry(*key_of(record), _ENCODER.encode(record))


def decode(entry: Entry, where: str) -> Record:
    """Return the record that `entry` keeps; `where` is the store, for the error's sake.

    Raises:
        StoreUnavailable: this version cannot read it; kind and key are named.
    """
    if entry.kind not in _KINDS:
        reason = f"it holds a {entry.kind} ({entry.key!r}), which this version does not know"
        raise StoreUnavailable(where, reason, "upgrade pynet")
    record_type = _KINDS[entry.kind]
    try:
        wire = _DECODERS[record_type].decode(entry.value)
    except (DecodeError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            where,
            f"{entry.kind} {entry.key!r} cannot be read: {error}",
            "upgrade pynet if a newer version wrote it, else restore a backup",
        ) from error
    return record_type(**structs.asdict(wire))


def _stand_in(union: UnionType | type) -> ABCMeta:
    stand_in = ABCMeta("StandIn", (), {})
    for member in get_args(union) or (union,):
        stand_in.register(member)
    return stand_in


_STAND_INS: Mapping[str, ABCMeta] = MappingProxyType(
    {
        "IPAddress": _stand_in(IPAddress),
        "IPInterface": _stand_in(IPInterface),
        "IPNetwork": _stand_in(IPNetwork),
        "Subnet": _stand_in(Subnet),
        "Identity": _stand_in(Identity),
        "PortRequest": _stand_in(PortRequest),
        "PortMapping": _stand_in(PortMapping),
        "Parent": _stand_in(Parent),
        "Borrowed": _stand_in(Borrowed),
    }
)

_PARSERS: Mapping[type, Callable[[str], object]] = MappingProxyType(
    {
        _STAND_INS["IPAddress"]: ip_address,
        _STAND_INS["IPInterface"]: ip_interface,
        _STAND_INS["IPNetwork"]: ip_network,
        IPv4Network: IPv4Network,
        IPv6Network: IPv6Network,
    }
)

_TEXTS = (*get_args(IPAddress), *get_args(IPInterface), *get_args(IPNetwork))
"""What is kept as text: spelled out, since asking a stand-in whose it is takes three times as long
as making the text."""


def _wire(model: type) -> type[Struct]:
    """Return a struct with the fields of `model`, in types that msgspec decodes."""
    hints = get_type_hints(model, localns=dict(_STAND_INS))
    return defstruct(
        model.__name__,
        [
            (f.name, hints[f.name]) if f.default is MISSING else (f.name, hints[f.name], f.default)
            for f in fields(model)
        ],
        kw_only=True,
    )


def _from_plain(wanted: type, plain: object) -> object:
    """Return the `wanted` value; a number, which `ip_address` would take, is refused as text."""
    if (nested := _NESTED.get(wanted)) is not None:
        model, wire = nested
        return model(**structs.asdict(convert(plain, wire, dec_hook=_from_plain)))
    return _PARSERS[wanted](str(plain))


def _to_plain(value: object) -> str:
    if isinstance(value, _TEXTS):
        return str(value)
    raise NotImplementedError(f"no JSON form for {type(value).__name__}")


_KINDS: Mapping[str, type[Record]] = MappingProxyType(
    {
        "network": Network,
        "endpoint": Endpoint,
        "pool": Pool,
        "lease": Lease,
        "sticky": Sticky,
        "name": NameRecord,
        "host": HostState,
    }
)
_NESTED: Mapping[type, tuple[type, type[Struct]]] = MappingProxyType(
    {
        _STAND_INS[model.__name__]: (model, _wire(model))
        for model in (Subnet, Identity, PortRequest, PortMapping, Parent, Borrowed)
    }
)
_ENCODER = Encoder(enc_hook=_to_plain)
_DECODERS: Mapping[type[Record], Decoder[Struct]] = MappingProxyType(
    {model: Decoder(_wire(model), dec_hook=_from_plain) for model in _KINDS.values()}
)
