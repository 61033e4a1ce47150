"""The options of a host network, parsed once into values that cannot be wrong.

Those of macvlan and ipvlan have Docker's names and meaning
(moby: daemon/libnetwork/drivers/macvlan/macvlan.go, drivers/ipvlan/ipvlan.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from drivers.options import (
    COMMON,
    Keys,
    Reader,
    flag,
    gather,
    interface_name,
    one_of,
    read_endpoint,
    spellings,
    switch,
)
from netplug.contract.driver import NameMode
from netplug.errors import InvalidOptions


class Mode(StrEnum):
    """How an endpoint gets onto the host's network."""

    ROUTED = "routed"
    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"


class MacvlanMode(StrEnum):
    """Whom macvlans of one parent reach: each other, nobody, by the switch; or there is but one."""

    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"
    PASSTHRU = "passthru"


class IpvlanMode(StrEnum):
    """Whether the parent switches frames for its ipvlans or routes, without or with its rules."""

    L2 = "l2"
    L3 = "l3"
    L3S = "l3s"


class IpvlanFlag(StrEnum):
    """Whom ipvlans of one parent reach: each other, nobody, or each other by the switch."""

    BRIDGE = "bridge"
    PRIVATE = "private"
    VEPA = "vepa"


class PortPolicy(StrEnum):
    """Which ports of an endpoint new connections reach: all, or the published ones."""

    OPEN = "open"
    PUBLISHED = "published"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """What a user may choose; `parent` and `mtu_bytes` are chosen by pynet when empty."""

    mode: Mode = Mode.ROUTED
    parent: str = ""
    mtu_bytes: int = 0
    has_icc: bool = True
    guards_spoofing: bool = True
    ports: PortPolicy = PortPolicy.OPEN
    masquerades: bool = False
    has_host_access: bool = False
    macvlan_mode: MacvlanMode = MacvlanMode.BRIDGE
    ipvlan_mode: IpvlanMode = IpvlanMode.L2
    ipvlan_flag: IpvlanFlag = IpvlanFlag.BRIDGE
    iface_prefix: str = "eth"
    name_mode: NameMode = NameMode.OVERLAY
    name_ttl_s: int = 5
    may_overlap: bool = False

    @property
    def takes_parent(self) -> bool:
        """Return whether an endpoint has the parent for itself."""
        return self.mode is Mode.MACVLAN and self.macvlan_mode is MacvlanMode.PASSTHRU

    @property
    def macvlan_in_effect(self) -> MacvlanMode:
        """Return the mode of the kernel's that does what was asked for."""
        is_apart = not self.has_icc and self.macvlan_mode is MacvlanMode.BRIDGE
        return MacvlanMode.PRIVATE if is_apart else self.macvlan_mode

    @property
    def flag_in_effect(self) -> IpvlanFlag:
        """Return the flag of the kernel's that does what was asked for."""
        is_apart = not self.has_icc and self.ipvlan_flag is IpvlanFlag.BRIDGE
        return IpvlanFlag.PRIVATE if is_apart else self.ipvlan_flag


def parse(raw: Iterable[tuple[str, str]]) -> HostOptions:
    """Return the options that `raw`, the `-o` of `docker network create`, asks for.

    Raises:
        InvalidOptions: with every problem; an unknown key names the nearest valid one.
    """
    given = dict(raw)
    values, problems = gather(given, _KEYS)
    if "mode" in values or "mode" not in given:
        problems += _of_another_mode(given, values.get("mode", Mode.ROUTED))
    if problems:
        raise InvalidOptions(problems)
    return HostOptions(**values)


def refuse_unknown(raw: Iterable[tuple[str, str]]) -> None:
    """Refuse every option of an endpoint that is not Docker's own: there is none.

    Raises:
        InvalidOptions: with every one.
    """
    read_endpoint(dict(raw), _ENDPOINT_KEYS)


def _of_another_mode(given: Mapping[str, str], mode: Mode) -> Iterator[str]:
    for key in given:
        if (owner := _OWNERS.get(key, mode)) is not mode:
            yield f"{key} is an option of mode={owner}, and the mode is {mode}"


def _name_mode(text: str) -> NameMode:
    if text == NameMode.GATEWAY:
        raise ValueError("the host has no address on such a network; dns=overlay needs none")
    return _served(text)


_served = one_of((NameMode.OVERLAY, NameMode.OFF))


_READERS: dict[str, tuple[str, str, Reader]] = {
    **COMMON,
    "mode": ("", "mode", one_of(Mode)),
    "parent": ("", "parent", interface_name),
    "ports": ("", "ports", one_of(PortPolicy)),
    "masquerade": ("", "masquerades", flag),
    "host_access": ("", "has_host_access", switch),
    "macvlan_mode": ("", "macvlan_mode", one_of(MacvlanMode)),
    "ipvlan_mode": ("", "ipvlan_mode", one_of(IpvlanMode)),
    "ipvlan_flag": ("", "ipvlan_flag", one_of(IpvlanFlag)),
    "dns": ("", "name_mode", _name_mode),
}
_KEYS = spellings(_READERS)
_ENDPOINT_KEYS: Keys = {}
_OWNERS: dict[str, Mode] = {
    "masquerade": Mode.ROUTED,
    "host_access": Mode.MACVLAN,
    "macvlan_mode": Mode.MACVLAN,
    "ipvlan_mode": Mode.IPVLAN,
    "ipvlan_flag": Mode.IPVLAN,
}
