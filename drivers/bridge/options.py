"""The options of a bridge network, parsed once into values that cannot be wrong.

Each has a plain name and Docker's own key with Docker's meaning
(moby: daemon/libnetwork/drivers/bridge/bridge_linux.go, parseNetworkOptions).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from netplug import labels
from netplug.errors import InvalidOptions

IFNAME_MAX = 15  # IFNAMSIZ less the terminating zero, linux/if.h
MTU_MIN_BYTES, MTU_MAX_BYTES = 68, 65535  # RFC 791; linux/if_bridge.c, br_dev_setup
MTU_MIN_IPV6_BYTES = 1280  # RFC 8200 section 5


class GatewayMode(StrEnum):
    """How packets of one family leave the network."""

    NAT = "nat"
    ROUTED = "routed"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What a user may choose; `name` and `mtu_bytes` are chosen by pynet when empty."""

    name: str = ""
    mtu_bytes: int = 0
    has_icc: bool = True
    masquerades: bool = True
    gateway_mode_ipv4: GatewayMode = GatewayMode.NAT
    gateway_mode_ipv6: GatewayMode = GatewayMode.NAT
    inhibits_ipv4: bool = False
    iface_prefix: str = "eth"


def parse(raw: Mapping[str, str]) -> BridgeOptions:
    """Return the options that `raw`, the `-o` of `docker network create`, asks for.

    Raises:
        InvalidOptions: with every problem; an unknown key names the nearest valid one.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    given: dict[str, str] = {}
    for key, text in raw.items():
        if (entry := _KEYS.get(key)) is None:
            problems.append(unknown_key(key, _KEYS))
            continue
        field, read = entry
        if given.setdefault(field, text) != text:
            problems.append(f"{key}={text!r} contradicts {given[field]!r}, given under another key")
            continue
        try:
            values[field] = read(text)
        except ValueError as error:
            problems.append(f"{key}={text!r}: {error}")
    if problems:
        raise InvalidOptions(problems)
    return BridgeOptions(**values)


def given_name(raw: Iterable[tuple[str, str]]) -> str:
    """Return the bridge name that `raw` asks for, empty if none; without parsing the rest."""
    return next((text for key, text in raw if key in _NAME_KEYS), "")


def unknown_key(key: str, known: Mapping[str, object]) -> str:
    """Return the sentence for a key that is not in `known`."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown option {key!r}" + (f", did you mean {near[0]!r}?" if near else "")


def interface_name(text: str, longest: int = IFNAME_MAX) -> str:
    """Return `text` if the kernel takes it as an interface name.

    Raises:
        ValueError: saying why not.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", text) or text in {".", ".."}:
        raise ValueError("an interface name has letters, digits, '-', '_' and '.'")
    if len(text) > longest:
        raise ValueError(f"at most {longest} characters")
    return text


def _prefix(text: str) -> str:
    return interface_name(text, IFNAME_MAX - 3)  # dockerd appends an index


def _mtu(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError("a number of bytes is wanted") from None
    if value and not MTU_MIN_BYTES <= value <= MTU_MAX_BYTES:
        raise ValueError(f"an MTU lies between {MTU_MIN_BYTES} and {MTU_MAX_BYTES} bytes")
    return value


def _flag(text: str) -> bool:
    """Read what Go's strconv.ParseBool takes, and "" for a bare `-o flag`."""
    match text.lower():
        case "" | "1" | "t" | "true":
            return True
        case "0" | "f" | "false":
            return False
        case _:
            raise ValueError("true or false is wanted")


def _mode(text: str) -> GatewayMode:
    try:
        return GatewayMode(text)
    except ValueError:
        raise ValueError("one of " + ", ".join(GatewayMode) + " is wanted") from None


_Reader = Callable[[str], object]
_BRIDGE = "com.docker.network.bridge."
_READERS: dict[str, tuple[str, str, _Reader]] = {
    "name": (_BRIDGE + "name", "name", interface_name),
    "mtu": (labels.DRIVER_MTU, "mtu_bytes", _mtu),
    "icc": (_BRIDGE + "enable_icc", "has_icc", _flag),
    "masquerade": (_BRIDGE + "enable_ip_masquerade", "masquerades", _flag),
    "gateway_mode_ipv4": (_BRIDGE + "gateway_mode_ipv4", "gateway_mode_ipv4", _mode),
    "gateway_mode_ipv6": (_BRIDGE + "gateway_mode_ipv6", "gateway_mode_ipv6", _mode),
    "inhibit_ipv4": (_BRIDGE + "inhibit_ipv4", "inhibits_ipv4", _flag),
    "iface_prefix": (labels.CONTAINER_IFACE_PREFIX, "iface_prefix", _prefix),
}
_NAME_KEYS = frozenset({"name", _BRIDGE + "name"})
_KEYS: dict[str, tuple[str, _Reader]] = {
    key: (field, read)
    for plain, (docker, field, read) in _READERS.items()
    for key in (plain, docker)
}
