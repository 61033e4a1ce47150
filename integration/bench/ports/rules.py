"""Which rules a packet met on its way through the host, read from counters and listings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FORWARDED = (
    *(("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("nat", "PREROUTING")),
    *(("mangle", "FORWARD"), ("filter", "FORWARD"), ("security", "FORWARD")),
    *(("mangle", "POSTROUTING"), ("nat", "POSTROUTING")),
)
"""The chains of iptables through which the first packet of a forwarded connection goes."""

HOOKS = frozenset({"prerouting", "forward", "postrouting"})
FAMILIES = frozenset({"ip", "inet"})

_ENDS = frozenset(
    {"ACCEPT", "DNAT", "DROP", "MASQUERADE", "NETMAP", "NFQUEUE", "REDIRECT", "REJECT", "SNAT"}
)


class NotIdle(Exception):
    """Another packet moved counters, or the rules changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of iptables: its words, and how many packets it matched."""

    text: str
    packets: int

    @property
    def target(self) -> str:
        """Return where it leads, "" for nowhere."""
        words = self.text.split()
        at = next((i for i, word in enumerate(words) if word in ("-j", "-g")), len(words))
        return words[at + 1] if at < len(words) else ""


Tables = Mapping[str, Mapping[str, list[Rule]]]


def parse(saved: str) -> Tables:
    """Return tables, chains and rules of what `iptables-save -c` printed."""
    tables: dict[str, dict[str, list[Rule]]] = {}
    table: dict[str, list[Rule]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            table[line[1:].split()[0]] = []
        elif line.startswith("["):
            counters, _, chain, *words = line.split()
            packets = int(counters[1:].partition(":")[0])
            table[chain].append(Rule(text=" ".join(words), packets=packets))
    return tables


def traversed(before: Tables, after: Tables) -> dict[str, int]:
    """Return how many rules one forwarded packet was held against, by "table CHAIN" of its hook.

    Raises:
        NotIdle: the counters do not tell of exactly one packet.
    """
    moved: Counter[tuple[str, str, int]] = Counter()
    for table, chains in after.items():
        for chain, rules in chains.items():
            old = before.get(table, {}).get(chain, [])
            if [rule.text for rule in old] != [rule.text for rule in rules]:
                raise NotIdle(f"{table} {chain} has other rules than before")
            for at, (then, now) in enumerate(zip(old, rules, strict=True)):
                moved[table, chain, at] = now.packets - then.packets
    counts = {}
    for table, hook in FORWARDED:
        if table in after:
            walk = _Walk(table, after[table], moved)
            walk.through(hook)
            counts[f"{table} {hook}"] = walk.met
    if left := [place for place, packets in moved.items() if packets]:
        raise NotIdle(f"more than one packet came by {left[0]}")
    return {place: met for place, met in counts.items() if met}


class _Walk:
    """The way of one packet through the chains of a table; counters used are taken away."""

    def __init__(
        self, table: str, chains: Mapping[str, list[Rule]], moved: Counter[tuple[str, str, int]]
    ) -> None:
        self.met = 0
        self._table = table
        self._chains = chains
        self._moved = moved

    def through(self, chain: str) -> bool:
        """Go through a chain, and tell whether the way ended in it."""
        for at, rule in enumerate(self._chains.get(chain, [])):
            self.met += 1
            if not self._moved[self._table, chain, at]:
                continue
            self._moved[self._table, chain, at] -= 1
            if rule.target in _ENDS:
                return True
            if rule.target == "RETURN":
                return False
            if rule.target in self._chains:
                if self.through(rule.target):
                    return True
                if f"-g {rule.target}" in rule.text:
                    return False
        return False


def native(listing: str, tables: Tables) -> dict[str, int]:
    """Return how many rules a packet may meet in tables that are not iptables', by "table chain".

    `listing` is what `nft --json list ruleset` printed; `tables` are those of iptables, which nft
    lists too. All rules count of each chain that a hook of forwarded packets leads to.
    """
    objects = [next(iter(o.items())) for o in json.loads(listing)["nftables"]]
    chains = [o for kind, o in objects if kind == "chain"]
    counts = {}
    for chain in chains:
        family, table = chain["family"], chain["table"]
        is_iptables = family == "ip" and table in tables
        if chain.get("hook") in HOOKS and family in FAMILIES and not is_iptables:
            mates = [
                (k, o) for k, o in objects if (o.get("family"), o.get("table")) == (family, table)
            ]
            counts[f"{table} {chain['name']}"] = _reachable(chain["name"], mates)
    return {place: met for place, met in counts.items() if met}


def _reachable(start: str, objects: list[tuple[str, Any]]) -> int:
    """Return how many rules stand in a chain and all that it may lead to."""
    maps = {o["name"]: o.get("elem", []) for kind, o in objects if kind == "map"}
    rules: dict[str, list[Any]] = {}
    for kind, rule in objects:
        if kind == "rule":
            rules.setdefault(rule["chain"], []).append(rule["expr"])
    seen, waiting = set(), [start]
    while waiting:
        chain = waiting.pop()
        if chain not in seen:
            seen.add(chain)
            waiting += _targets(rules.get(chain, []), maps)
    return sum(len(rules.get(chain, [])) for chain in seen)


def _targets(expression: object, maps: Mapping[str, object]) -> Iterator[str]:
    """Yield the chains that an expression may jump to, be it by way of a verdict map."""
    match expression:
        case {"jump": {"target": str(chain)}} | {"goto": {"target": str(chain)}}:
            yield chain
        case dict():
            for value in expression.values():
                yield from _targets(value, maps)
        case list():
            for value in expression:
                yield from _targets(value, maps)
        case str() if expression.startswith("@") and expression[1:] in maps:
            yield from _targets(maps[expression[1:]], {})


def rules_and_elements(saved: Tables, sets: str, listing: str) -> tuple[int, int]:
    """Return how many rules there are in all, and how many elements of sets and maps.

    `sets` is what `ipset save` printed. Of nft, only tables of IPv4 count that are not iptables'.
    """
    rules = sum(len(chain) for chains in saved.values() for chain in chains.values())
    elements = sum(line.startswith("add ") for line in sets.splitlines())
    for entry in json.loads(listing)["nftables"]:
        kind, found = next(iter(entry.items()))
        is_iptables = found.get("family") == "ip" and found.get("table") in saved
        if found.get("family") not in FAMILIES or is_iptables:
            continue
        rules += kind == "rule"
        elements += len(found.get("elem", [])) if kind in ("map", "set") else 0
    return rules, elements
