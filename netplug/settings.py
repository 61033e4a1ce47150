"""What an operator may set: defaults < file < environment < flags, as one frozen value.

The file is TOML with the fields of `Settings` as keys; a variable is `PYNET_` and the field in
capitals; a flag is the field with dashes. A list is separated by commas where there is only text.
Nothing is guessed: an unknown key is a problem, and all problems are reported at once.
"""

from __future__ import annotations

import difflib
import itertools
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from netplug.errors import InvalidSettings
from netplug.model import IPNetwork, PoolRange

DEFAULT_FILE = "/etc/pynet/pynet.toml"
# Where the host asks: link-local (RFC 3927), and free of what clouds have at 169.254.169.x.
HOST_RESOLVER = IPv4Address("169.254.53.53")
PREFIX = "PYNET_"

# Linux, unix(7): sun_path has 108 bytes, the last one is a zero.
_SOCKET_PATH_BYTES = 107
# How large automatic pools are by default, and the smallest that have a gateway and an endpoint.
_SIZES = {4: 24, 6: 64}
_SMALLEST_SIZES = {4: 31, 6: 127}
# dockerd gives a plugin call up after 30 s (moby: pkg/plugins/client.go).
_LONGEST_DEADLINE_S = 29.0
_LONGEST_INTERVAL_S = 86_400.0
# Leases are looked through several times in the time that an address is kept.
_SHORTEST_KEEP_S, _LONGEST_KEEP_S = 60.0, 366 * 86_400.0
# A name of the longest network still fits before it (RFC 1035 section 2.3.4).
_LONGEST_DOMAIN = 100
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LOWEST_RATE, _HIGHEST_RATE = 100, 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the daemon is told before it starts.

    `ipam_ranges_ipv6` empty is the host's own random /48, in /64.
    `docker_host` "" finds the engine like the docker CLI does, "none" works without one.
    For `ipam_cooldown_s` after its release an address is given out only if no other is left.
    For `ipam_sticky_s` it is kept for the container's name, so that others get it last.
    What is younger than `audit_grace_s` counts as on its way, though the engine does not know it.
    `publish_addresses` are those of the host on which ports are published that name none; if it is
    empty, that is on every address. `dns_address` is where the host itself asks for names, or None;
    `dns_rate_per_s` is what the questions of one container may cost: 1 for an answer that is kept,
    20 for one that is looked up or asked for elsewhere; a tenth of it while other containers ask.
    """

    state_dir: Path = Path("/var/lib/pynet")
    plugin_socket: Path = Path("/run/docker/plugins/pynet.sock")
    admin_socket: Path = Path("/run/pynet/pynet.sock")
    docker_host: str = ""
    store: str = "sqlite"
    log_format: str = "console"
    log_level: str = "info"
    ipam_ranges_ipv4: tuple[PoolRange, ...] = (PoolRange(IPv4Network("10.208.0.0/12"), 24),)
    ipam_ranges_ipv6: tuple[PoolRange, ...] = ()
    ipam_cooldown_s: float = 60.0
    ipam_sticky_s: float = 604_800.0
    publish_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    dns_domain: str = "pynet"
    dns_address: IPv4Address | IPv6Address | None = HOST_RESOLVER
    dns_rate_per_s: float = 200_000.0
    reconcile_interval_s: float = 30.0
    request_deadline_s: float = 25.0
    audit_grace_s: float = 30.0


def read_file(path: str) -> str:
    """Return the text of a configuration file."""
    return Path(path).read_text(encoding="utf-8")


def load(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    read: Callable[[str], str] = read_file,
) -> Settings:
    """Return the settings that `flags`, `environment` and the configuration file make together.

    `flags` has fields as keys, and "config"; those that are None were not given. Of the environment
    only `PYNET_*` is looked at, and a variable that is empty counts as not set.

    Raises:
        InvalidSettings: with every problem of every source, each naming its source.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for given in itertools.chain(
        _from_file(flags, environment, read, problems),
        _from_environment(environment, problems),
        _from_flags(flags, problems),
    ):
        try:
            values[given.key] = _PARSERS[given.key](given.value)
        except ValueError as error:
            problems.append(f"{given.source}: {error}")
    settings = Settings(**values)
    if settings.plugin_socket == settings.admin_socket:
        problems.append(f"plugin_socket and admin_socket are both {settings.admin_socket}")
    if problems:
        raise InvalidSettings(problems)
    return settings


class _Given(NamedTuple):
    """One value as it was given; `source` is how the user knows it."""

    source: str
    key: str
    value: object


def _from_file(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    read: Callable[[str], str],
    problems: list[str],
) -> Iterator[_Given]:
    named = flags.get("config") or environment.get(f"{PREFIX}CONFIG")
    path = named or DEFAULT_FILE
    try:
        table = tomllib.loads(read(path))
    except FileNotFoundError:
        if named:
            problems.append(f"{path}: there is no such file")
        return
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return
    except ValueError as error:
        problems.append(f"{path}: not TOML: {error}")
        return
    for key, value in table.items():
        if key in _PARSERS:
            yield _Given(f"{path}: {key}", key, value)
        else:
            problems.append(f"{path}: unknown key {key!r}{_nearest(key, _PARSERS)}")


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> Iterator[_Given]:
    variables = {PREFIX + key.upper(): key for key in _PARSERS}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG" or not text:
            continue
        if name in variables:
            yield _Given(name, variables[name], _from_text(variables[name], text))
        else:
            problems.append(f"unknown variable {name}{_nearest(name, variables)}")


def _from_flags(flags: Mapping[str, str | None], problems: list[str]) -> Iterator[_Given]:
    for key, text in flags.items():
        if key == "config" or text is None:
            continue
        name = "--" + key.replace("_", "-")
        if key in _PARSERS:
            yield _Given(name, key, _from_text(key, text))
        else:
            problems.append(f"unknown flag {name}{_nearest(key, _PARSERS)}")


def _from_text(key: str, text: str) -> object:
    """Return what `text` would be in TOML; the parsers refuse what it could not be."""
    default = getattr(_DEFAULTS, key)
    if isinstance(default, tuple):
        return [item.strip() for item in text.split(",") if item.strip()]
    if isinstance(default, float):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _nearest(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {value!r}")
    return value


def _path(value: object) -> Path:
    text = _text(value)
    if not text:
        raise ValueError("must be a path, not empty")
    return Path(text)


def _socket(value: object) -> Path:
    path = _path(value)
    length = len(bytes(path))
    if length > _SOCKET_PATH_BYTES:
        raise ValueError(
            f"{path} has {length} bytes; a socket's path has at most {_SOCKET_PATH_BYTES}"
        )
    return path


def _docker_host(value: object) -> str:
    text = _text(value)
    if text in ("", "none") or text.startswith(("unix://", "tcp://", "http://", "https://")):
        return text
    raise ValueError(
        f"{text!r} is no engine; give unix:///path, tcp://host:port, or none to work without one"
    )


def _store(value: object) -> str:
    text = _text(value)
    if text.startswith("etcd"):
        raise ValueError(f"{text!r} is a cluster store, and this version has none; use sqlite")
    return _one_of("sqlite")(text)


def _one_of(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        word = _text(value).lower()
        if word not in allowed:
            raise ValueError(f"{value!r} is not {' or '.join(allowed)}{_nearest(word, allowed)}")
        return word

    return parse


def _seconds(most: float, least: float = 1) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"must be a number of seconds, not {value!r}")
        if not least <= value <= most:
            raise ValueError(f"must be from {least:g} to {most:.10g} seconds, not {value:g}")
        return float(value)

    return parse


def _ranges(version: int) -> Callable[[object], tuple[PoolRange, ...]]:
    def parse(value: object) -> tuple[PoolRange, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError(f"must be a list of at least one network, not {value!r}")
        ranges = tuple(_range(item, version) for item in value)
        for one, other in itertools.combinations(ranges, 2):
            if one.base.overlaps(other.base):
                raise ValueError(f"{one.base} and {other.base} overlap")
        return ranges

    return parse


def _range(value: object, version: int) -> PoolRange:
    """Read "10.208.0.0/12", or "10.208.0.0/12 size 26"."""
    text = _text(value)
    written, _, size_text = text.partition(" size ")
    base = _base(written.strip(), version)
    size, smallest = _SIZES[version], _SMALLEST_SIZES[version]
    if size_text:
        size = int(size_text) if size_text.strip().isdecimal() else -1
        if not base.prefixlen <= size <= smallest:
            raise ValueError(f"{text!r}: a size from {base.prefixlen} to {smallest} is wanted")
    elif base.prefixlen > size:
        raise ValueError(
            f"{base} is too small for a /{size}; give its pools another size, "
            f"as in '{base} size {min(base.prefixlen + 2, smallest)}'"
        )
    return PoolRange(base, size)


def _base(text: str, version: int) -> IPNetwork:
    example = "10.208.0.0/12" if version == 4 else "fd12:3456:789a::/48"
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or network.version != version:
        raise ValueError(f"{text!r} is not an IPv{version} network such as {example}") from None
    if "/" not in text or text != str(network):
        raise ValueError(f"{text!r} is not how a network is written; did you mean {network}?")
    if not network.prefixlen or network.is_multicast or network.is_loopback:
        raise ValueError(f"{network} has no addresses for containers")
    return network


def _addresses(value: object) -> tuple[IPv4Address | IPv6Address, ...]:
    if not isinstance(value, list):
        raise ValueError(f"must be a list of addresses, not {value!r}")
    addresses = tuple(_address(item) for item in value)
    for one, other in itertools.combinations(addresses, 2):
        if one == other:
            raise ValueError(f"{one} is there twice")
        if one.version == other.version and (one.is_unspecified or other.is_unspecified):
            raise ValueError(f"{one} and {other}: one of them is every address")
    return addresses


def _address(value: object) -> IPv4Address | IPv6Address:
    text = _text(value)
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address such as 192.0.2.1 or 2001:db8::1") from None
    if address.is_multicast or "%" in text:
        raise ValueError(f"{text!r} is not an address that ports can be published on")
    return address


def _domain(value: object) -> str:
    text = _text(value).lower().strip(".")
    if len(text) > _LONGEST_DOMAIN or not all(_LABEL.fullmatch(part) for part in text.split(".")):
        raise ValueError(f"{value!r} is no domain such as pynet or pynet.example.com")
    return text


def _dns_address(value: object) -> IPv4Address | IPv6Address | None:
    text = _text(value)
    if text.lower() == "none":
        return None
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address such as 169.254.53.53, nor none") from None
    is_odd = address.is_multicast or address.is_unspecified or address.is_loopback
    if is_odd or "%" in text:  # loopback addresses are the host's already
        raise ValueError(f"{text!r} is not an address that the host can ask")
    return address


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"must be a number, not {value!r}")
    if not _LOWEST_RATE <= value <= _HIGHEST_RATE:
        raise ValueError(f"must be from {_LOWEST_RATE} to {_HIGHEST_RATE}, not {value:g}")
    return float(value)


_DEFAULTS = Settings()
_PARSERS: Mapping[str, Callable[[object], object]] = {
    "state_dir": _path,
    "plugin_socket": _socket,
    "admin_socket": _socket,
    "docker_host": _docker_host,
    "store": _store,
    "log_format": _one_of("console", "json"),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "ipam_ranges_ipv4": _ranges(4),
    "ipam_ranges_ipv6": _ranges(6),
    "ipam_cooldown_s": _seconds(least=0, most=_LONGEST_INTERVAL_S),
    "ipam_sticky_s": _seconds(least=_SHORTEST_KEEP_S, most=_LONGEST_KEEP_S),
    "publish_addresses": _addresses,
    "dns_domain": _domain,
    "dns_address": _dns_address,
    "dns_rate_per_s": _rate,
    "reconcile_interval_s": _seconds(most=_LONGEST_INTERVAL_S),
    "request_deadline_s": _seconds(most=_LONGEST_DEADLINE_S),
    "audit_grace_s": _seconds(most=_LONGEST_INTERVAL_S),
}
