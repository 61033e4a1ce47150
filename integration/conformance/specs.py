"""What a user types at the docker command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration.conformance.records import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """`--subnet`, `--ip-range`, `--gateway` and `--aux-address` of one subnet."""

    pool: str = ""
    sub_pool: str = ""
    gateway: str = ""
    aux: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """`docker network create`; no subnet of an enabled family asks for an automatic one."""

    name: str
    v4: tuple[Subnet, ...] = (Subnet(),)
    v6: tuple[Subnet, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    is_internal: bool = False
    has_null_ipam: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """`--network name=...,ip=...,mac-address=...,driver-opt=...`."""

    network: Network
    ip: str = ""
    ip6: str = ""
    mac: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


BLUE = Subnet(pool="10.61.0.0/24")
GREEN = Subnet(pool="10.62.0.0/24")
BLUE6 = Subnet(pool="fd61::/64")
GREEN6 = Subnet(pool="fd62::/64")
