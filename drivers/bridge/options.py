"""The options of a bridge network, parsed once into values that cannot be wrong.

Each has a plain name and Docker's own key with Docker's meaning
(moby: daemon/libnetwork/drivers/bridge/bridge_linux.go, parseNetworkOptions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from drivers.options import (
    COMMON,
    Keys,
    Reader,
    address,
    flag,
    interface_name,
    one_of,
    read,
    read_endpoint,
    spellings,
)
from netplug.contract.driver import NameMode
from netplug.model import IPAddress


class GatewayMode(StrEnum):
    """How packets of one family leave the network."""

    NAT = "nat"
    ROUTED = "routed"
    ISOLATED = "isolated"


class Isolation(StrEnum):
    """Which endpoints of the network an endpoint reaches: all, or those that are not isolated."""

    NONE = "none"
    PORTS = "ports"


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What a user may choose; `name` and `mtu_bytes` are chosen by pynet when empty.

    `guards_spoofing` None means where the kernel can.
    """

    name: str = ""
    mtu_bytes: int = 0
    has_icc: bool = True
    isolation: Isolation = Isolation.NONE
    guards_spoofing: bool | None = None
    masquerades: bool = True
    gateway_mode_ipv4: GatewayMode = GatewayMode.NAT
    gateway_mode_ipv6: GatewayMode = GatewayMode.NAT
    inhibits_ipv4: bool = False
    iface_prefix: str = "eth"
    host_binding: IPAddress | None = None
    name_mode: NameMode = NameMode.OVERLAY
    name_ttl_s: int = 5
    may_overlap: bool = False

    @property
    def isolates(self) -> bool:
        """Return whether endpoints are kept apart, unless they say otherwise."""
        return not self.has_icc or self.isolation is Isolation.PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """What a user may choose for one endpoint; `isolation` None leaves it to the network."""

    isolation: Isolation | None = None


def parse(raw: Mapping[str, str]) -> BridgeOptions:
    """Return the options that `raw`, the `-o` of `docker network create`, asks for.

    Raises:
        InvalidOptions: with every problem; an unknown key names the nearest valid one.
    """
    return BridgeOptions(**read(raw, _KEYS))


def parse_endpoint(raw: Mapping[str, str]) -> EndpointOptions:
    """Return the options that `raw`, the `--driver-opt` of an endpoint, asks for.

    Docker's own are passed over: dockerd acts on them itself.

    Raises:
        InvalidOptions: with every problem; an unknown key names the nearest valid one.
    """
    return EndpointOptions(**read_endpoint(raw, _ENDPOINT_KEYS))


def given_name(raw: Iterable[tuple[str, str]]) -> str:
    """Return the bridge name that `raw` asks for, empty if none; without parsing the rest."""
    return next((text for key, text in raw if key in _NAME_KEYS), "")


_mode = one_of(GatewayMode)
_isolation = one_of(Isolation)

_BRIDGE = "com.docker.network.bridge."
_READERS: dict[str, tuple[str, str, Reader]] = {
    **COMMON,
    "name": (_BRIDGE + "name", "name", interface_name),
    "masquerade": (_BRIDGE + "enable_ip_masquerade", "masquerades", flag),
    "gateway_mode_ipv4": (_BRIDGE + "gateway_mode_ipv4", "gateway_mode_ipv4", _mode),
    "gateway_mode_ipv6": (_BRIDGE + "gateway_mode_ipv6", "gateway_mode_ipv6", _mode),
    "inhibit_ipv4": (_BRIDGE + "inhibit_ipv4", "inhibits_ipv4", flag),
    "host_binding_ipv4": (_BRIDGE + "host_binding_ipv4", "host_binding", address),
    "isolate": ("", "isolation", _isolation),
    "dns": ("", "name_mode", one_of(NameMode)),
}
_NAME_KEYS = frozenset({"name", _BRIDGE + "name"})
_KEYS = spellings(_READERS)
_ENDPOINT_KEYS: Keys = {"isolate": ("isolation", _isolation)}
