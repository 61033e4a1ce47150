"""What is particular to links on top of another one: the attributes of macvlan, ipvlan and vlan.

Source: linux/if_link.h; Linux drivers/net/macvlan.c, drivers/net/ipvlan/ipvlan_main.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from netplug.kernel.nlattr import U16, U32, attribute

MACVLAN, IPVLAN, VLAN = "macvlan", "ipvlan", "vlan"

_IFLA_MACVLAN_MODE, _IFLA_IPVLAN_MODE, _IFLA_IPVLAN_FLAGS, _IFLA_VLAN_ID = 1, 1, 2, 1
_MACVLAN_MODES = MappingProxyType({"private": 1, "vepa": 2, "bridge": 4, "passthru": 8})
_IPVLAN_MODES = MappingProxyType({"l2": 0, "l3": 1, "l3s": 2})
_IPVLAN_FLAGS = MappingProxyType({"bridge": 0, "private": 1, "vepa": 2})


def encode(kind: str, *, mode: str | None, flag: str | None, vlan_id: int | None) -> bytes:
    """Return what is in IFLA_INFO_DATA of such a link, empty for other kinds.

    Raises:
        KeyError: there is no such mode or flag.
    """
    parts = []
    if kind == MACVLAN and mode:
        parts.append(attribute(_IFLA_MACVLAN_MODE, U32.pack(_MACVLAN_MODES[mode])))
    if kind == IPVLAN and mode:
        parts.append(attribute(_IFLA_IPVLAN_MODE, U16.pack(_IPVLAN_MODES[mode])))
    if kind == IPVLAN and flag:
        parts.append(attribute(_IFLA_IPVLAN_FLAGS, U16.pack(_IPVLAN_FLAGS[flag])))
    if kind == VLAN and vlan_id is not None:
        parts.append(attribute(_IFLA_VLAN_ID, U16.pack(vlan_id)))
    return b"".join(parts)


def decode(
    kind: str | None, data: Mapping[int, bytes]
) -> tuple[str | None, str | None, int | None]:
    """Return mode, flag and VLAN of such a link, each `None` for other kinds."""
    if kind == MACVLAN and (mode := data.get(_IFLA_MACVLAN_MODE)):
        return _word(_MACVLAN_MODES, U32.unpack(mode)[0]), None, None
    if kind == IPVLAN and (mode := data.get(_IFLA_IPVLAN_MODE)):
        flags = U16.unpack(data.get(_IFLA_IPVLAN_FLAGS, bytes(2)))[0]
        return _word(_IPVLAN_MODES, U16.unpack(mode)[0]), _word(_IPVLAN_FLAGS, flags), None
    if kind == VLAN and (vlan_id := data.get(_IFLA_VLAN_ID)):
        return None, None, int(U16.unpack(vlan_id)[0])
    return None, None, None


def _word(words: Mapping[str, int], value: int) -> str:
    return next((word for word, number in words.items() if number == value), str(value))
