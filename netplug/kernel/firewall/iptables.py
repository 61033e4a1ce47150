"""The firewall through iptables and ipset: one transaction a family, jumps beside others' rules.

Only our own chains, our jumps and our sets are ever touched; no policy is set. After a change the
rules are read back and remembered: an inventory compares with what this iptables really made of
them, so that differences of spelling between its versions are no drift.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from netplug.kernel import proc
from netplug.kernel.firewall.rules import HOOKS, IPV4, IPV6, Family, install_text, remove_text
from netplug.kernel.firewall.sets import Member, Sets
from netplug.plan.objects import Firewall

_LOCK_WAIT_S = "5"
_USER_CHAIN = "DOCKER-USER"


@dataclass(frozen=True, slots=True)
class Saved:
    """What iptables-save shows of us: jumps by table, our rules, where a jump belongs."""

    jumps: dict[str, int] = field(default_factory=dict)
    chains: frozenset[str] = frozenset()
    rules: tuple[str, ...] = ()
    positions: dict[str, int] = field(default_factory=dict)


class Iptables:
    """The firewall of one network namespace.

    `accepted` is the firewall as the last change or inventory left it.
    """

    def __init__(self) -> None:
        self.sets = Sets()
        self.accepted: Firewall | None = None
        self._rules: dict[Family, tuple[str, ...]] = {}

    async def open(self) -> None:
        """Open what stays open."""
        await self.sets.open()

    async def close(self) -> None:
        """Close it."""
        await self.sets.close()

    async def install(self, firewall: Firewall) -> None:
        """Put the rules that every network shares in place, replacing ours if they are there.

        Raises:
            Unsupported: iptables or ipset is missing.
            KernelRefused: a rule is refused; the rules before the call stay.
        """
        for family in _families(firewall):
            await self.sets.create(family)
            saved = await _save(family)
            missing = {
                table: saved.positions.get(table, 1)
                for table in HOOKS
                if not saved.jumps.get(table)
            }
            text = install_text(
                family, filters_bridged=bool(firewall.filters_bridged), missing_jumps=missing
            )
            await _restore(family, text)
            self._rules[family] = (await _save(family)).rules
        self.accepted = firewall

    async def remove(self) -> None:
        """Remove our jumps, chains and sets; what is not there is passed over."""
        for family in _usable_families():
            saved = await _save(family)
            present = {t: saved.jumps.get(t, 0) for t, (_, c) in HOOKS.items() if c in saved.chains}
            if present:
                await _restore(family, remove_text(present))
            await self.sets.destroy(family)
        self.accepted = None

    async def inventory(self) -> frozenset[Firewall | Member]:
        """Return the members of the sets, and the firewall if every part of it is in place."""
        members: set[Firewall | Member] = set(await self.sets.members())
        if self.accepted is None:
            return frozenset({*members, Firewall()} if await self._has_remains() else members)
        if not await self._is_whole(self.accepted):
            self.accepted = None
            return frozenset(members)
        return frozenset({*members, self.accepted})

    async def _is_whole(self, firewall: Firewall) -> bool:
        for family in _families(firewall):
            saved = await _save(family)
            if self._rules.get(family) != saved.rules or set(saved.jumps) != set(HOOKS):
                return False
            if await self.sets.missing(family):
                return False
        return True

    async def _has_remains(self) -> bool:
        """Return whether an earlier run left chains; they are replaced or removed like drift."""
        return any([(await _save(family)).chains for family in _usable_families()])


def _families(firewall: Firewall) -> tuple[Family, ...]:
    return (IPV4, IPV6) if firewall.has_ipv6 else (IPV4,)


def _usable_families() -> list[Family]:
    """Return the families whose program is installed: a host without IPv6 may lack ip6tables."""
    return [family for family in (IPV4, IPV6) if shutil.which(f"{family.command}-save")]


async def _save(family: Family) -> Saved:
    return parse_saved(await proc.run([f"{family.command}-save"]))


async def _restore(family: Family, text: str) -> None:
    argv = [f"{family.command}-restore", "--noflush", "-w", _LOCK_WAIT_S]
    await proc.run(argv, stdin=text)


def parse_saved(text: str) -> Saved:
    """Return what `text`, the output of iptables-save, shows of us."""
    ours = {chain for _, chain in HOOKS.values()}
    table = ""
    jumps: dict[str, int] = {}
    chains: set[str] = set()
    rules: list[str] = []
    positions: dict[str, int] = {}
    seen_in_hook = 0
    for line in text.splitlines():
        words = line.split()
        if line.startswith("*"):
            table, seen_in_hook = line[1:], 0
        elif line.startswith(":") and words[0][1:] in ours:
            chains.add(words[0][1:])
        elif words[:1] == ["-A"] and table in HOOKS:
            hook, chain = HOOKS[table]
            if words[1] == hook:
                seen_in_hook += 1
                if words[-2:] == ["-j", _USER_CHAIN]:
                    positions[table] = seen_in_hook + 1
                if words[-2:] == ["-j", chain]:
                    jumps[table] = jumps.get(table, 0) + 1
            elif words[1] == chain:
                rules.append(line)
    return Saved(jumps, frozenset(chains), tuple(rules), positions)
