"""What a pool is: its id, which requests make sense, which of its addresses hosts may have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from netplug.contract.ipam import PoolRequest
from netplug.errors import InvalidRequest
from netplug.model import IPNetwork, PoolId

OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"overlap": ("allow", "refuse"), "sticky": ("on", "off")}
)
"""The --ipam-opt keys that a pool request may carry, with the words that each may have."""


def pool_id(space: str, network: IPNetwork, sub_range: IPNetwork | None = None) -> PoolId:
    """Return the id under which dockerd will name the pool from now on."""
    return PoolId(f"{space}/{network}" + (f"/{sub_range}" if sub_range else ""))


def overlaps(a: IPNetwork, b: IPNetwork) -> bool:
    """Say whether two networks share an address.

    A quarter of the cost of the method of `ipaddress`: with thousands of pools it is felt.
    """
    if a.version != b.version:
        return False
    free_bits = a.max_prefixlen - min(a.prefixlen, b.prefixlen)
    return int(a.network_address) >> free_bits == int(b.network_address) >> free_bits


def ends(network: IPNetwork) -> tuple[int, int]:
    """Return the first and the last address of a network as integers, without making addresses."""
    first = int(network.network_address)
    return first, first + (1 << (network.max_prefixlen - network.prefixlen)) - 1


def hosts(network: IPNetwork, sub_range: IPNetwork | None = None) -> range:
    """Return the addresses, as integers, that hosts of `network` may have within `sub_range`.

    Without IPv4's network and broadcast address and IPv6's subnet-router anycast address, except
    where the network is a point-to-point link or a single host. The result may be longer than
    `len` can tell.

    Source: RFC 3021 (IPv4 /31), RFC 4291 2.6.1 (anycast), RFC 6164 (IPv6 /127).
    """
    first, last = ends(network)
    if network.prefixlen < network.max_prefixlen - 1:
        first += 1
        last -= 1 if network.version == 4 else 0
    if sub_range is not None:
        first = max(first, int(sub_range.network_address))
        last = min(last, int(sub_range.broadcast_address))
    return range(first, last + 1)


def is_automatic(request: PoolRequest) -> bool:
    """Say whether the choice is left to us: no network, or only a size, as in 0.0.0.0/24.

    Source: moby 29, --subnet with an unspecified address.
    """
    return request.network is None or int(request.network.network_address) == 0


def check(request: PoolRequest) -> None:
    """Refuse a pool request that makes no sense by itself.

    Raises:
        InvalidRequest: with every problem found.
    """
    problems = [
        *option_problems(request.options),
        *_network_problems(request),
        *_sub_range_problems(request),
    ]
    if problems:
        raise InvalidRequest(problems)


def option_problems(
    options: Iterable[tuple[str, str]], known: Mapping[str, Collection[str]] = OPTIONS
) -> list[str]:
    """Return a sentence for each key or word that is not known, with the nearest that is."""
    problems = []
    for key, word in options:
        if key not in known:
            near = "".join(f", did you mean {k!r}?" for k in get_close_matches(key, known, n=1))
            problems.append(f"unknown IPAM option {key!r}{near}")
        elif word not in known[key]:
            problems.append(f"IPAM option {key}={word!r}: {' or '.join(known[key])} is wanted")
    return problems


def may_overlap(request: PoolRequest) -> bool:
    """Return whether the user said that the pool may be in use outside our networks."""
    return ("overlap", "allow") in request.options


def is_sticky(request: PoolRequest) -> bool:
    """Return whether addresses of the pool are kept for whoever had them."""
    return ("sticky", "off") not in request.options


def _network_problems(request: PoolRequest) -> list[str]:
    network = request.network
    if network is None:
        return []
    problems = []
    if request.is_ipv6 != (network.version == 6):
        asked = "IPv6" if request.is_ipv6 else "IPv4"
        problems.append(f"pool {network} is IPv{network.version}, but {asked} was asked for")
    if network.prefixlen == 0:
        problems.append(f"pool {network} is every address there is")
    elif kind := _unusable(network):
        problems.append(
            f"pool {network} has {kind} addresses, which hosts of a network cannot have"
        )
    return problems


def _unusable(network: IPNetwork) -> str:
    """Return the word for addresses that no network of hosts has; empty where it may have them.

    Source: IANA IPv4 and IPv6 Special-Purpose Address Registries.
    """
    if int(network.network_address) == 0:  # it asks for a size
        return ""
    if network.is_loopback:
        return "loopback"
    if network.is_multicast:
        return "multicast"
    if network.version == 6:
        return "link-local" if network.is_link_local else ""
    is_first = int(network.network_address) >> 24 == 0
    return "reserved" if network.is_reserved or is_first else ""


def _sub_range_problems(request: PoolRequest) -> list[str]:
    network, sub_range = request.network, request.sub_range
    if sub_range is None:
        return []
    if network is None or is_automatic(request):
        return [f"range {sub_range} needs a pool that it lies in"]
    if sub_range.prefixlen < network.prefixlen or not overlaps(network, sub_range):
        return [f"range {sub_range} lies outside pool {network}"]
    if not hosts(network, sub_range):
        return [f"range {sub_range} has no address that a host of pool {network} may have"]
    return []
