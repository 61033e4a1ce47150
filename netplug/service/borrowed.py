"""Kernel switches of the host's that networks need: taken, remembered, and given back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from netplug.contract.kernel import Kernel
from netplug.errors import PynetError
from netplug.model import Borrowed, HostState, Record
from netplug.plan.diff import Change
from netplug.plan.objects import KernelObject, Sysctl
from netplug.service.locks import POOLS, Locks
from netplug.service.state import State

log = logging.getLogger(__name__)

_BORROWING = "borrowed"

_CONF_IPV4, _CONF_IPV6 = "net/ipv4/conf/", "net/ipv6/conf/"
_FORWARDING, _ADVERTISEMENTS = "/forwarding", "/accept_ra"
_FORWARDING_IPV4 = "net/ipv4/ip_forward"
_FORWARDING_IPV6 = f"{_CONF_IPV6}all{_FORWARDING}"
_ACCEPTS = "2"
"""What lets a host that forwards go on listening to router advertisements; nothing sets it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """What is borrowed is on record before it is changed, and until it is given back.

    A crash in between loses nothing: `give_back` is for reconciliation too.
    """

    state: State
    kernel: Kernel
    locks: Locks

    async def take(self, objects: Collection[KernelObject], *, puts: Sequence[Record] = ()) -> None:
        """Record what `objects` will change of the host's switches, in one commit with `puts`.

        Raises:
            KernelRefused: a switch cannot be read; nothing is recorded then.
        """
        wanted = [o for o in objects if isinstance(o, Sysctl) and o.is_borrowed]
        if not wanted:
            if puts:
                await self.state.commit(puts=puts)
            return
        async with self.locks.hold(_BORROWING):
            taken = await self._changed_by(wanted)
            async with self.locks.hold(POOLS):
                host = self.state.view.host
                after = replace(host, borrowed=(*host.borrowed, *taken))
                moved = (after,) if taken else ()
                await self.state.commit(puts=(*moved, *puts))

    async def give_back(self, wanted: Callable[[], Collection[str]]) -> None:
        """Set back those switches that are not among the names `wanted`, and forget them.

        A switch that somebody else has changed meanwhile is his. What fails is tried again later:
        it is logged, not raised.
        """
        if not self.state.view.host.borrowed:
            return
        try:
            async with self.locks.hold(_BORROWING):
                await self._give_back(frozenset(wanted()))
        except PynetError as error:
            log.warning("switches are not given back yet", extra={"reason": str(error)})

    async def _changed_by(self, wanted: Collection[Sysctl]) -> list[Borrowed]:
        """Return what setting `wanted` changes and is not borrowed yet, what moves others first.

        Of what one moves besides, only that is kept which setting it back would not set right: its
        value of ours is the one that it then has.
        """
        known = {b.name for b in self.state.view.host.borrowed}
        asked = [s for s in wanted if s.name not in known]
        present = await self._values([s.name for s in asked])
        moved = {s: await self.kernel.moved_by(s) for s in asked}
        taken: dict[str, Borrowed] = {}
        for switch in sorted(asked, key=lambda s: (not moved[s], s.name)):
            before = present.get(switch.name, switch.value)
            if before == switch.value:
                continue
            one = Borrowed(name=switch.name, value=switch.value, before=before)
            taken.setdefault(one.name, one)
            for name, value in sorted(moved[switch].items()):
                left = _ACCEPTS if name.endswith(_ADVERTISEMENTS) else before
                if value != left and name not in known:
                    taken.setdefault(name, Borrowed(name=name, value=left, before=value))
        return list(taken.values())

    async def _give_back(self, wanted: frozenset[str]) -> None:
        gone: set[str] = set()
        try:
            for one in self._idle(wanted):
                if self._is_needed_by_engine(one):
                    continue
                if await self._is_still_ours(one):
                    await self._set_back(one)
                gone.add(one.name)
        finally:
            if gone:
                await self._forget(gone)

    async def _forget(self, names: Collection[str]) -> None:
        async with self.locks.hold(POOLS):
            host = self.state.view.host
            left = tuple(b for b in host.borrowed if b.name not in names)
            await self.state.commit(puts=(replace(host, borrowed=left),))

    def _idle(self, wanted: frozenset[str]) -> list[Borrowed]:
        """Return what nobody wants; what forwarding has moved stays with it."""
        borrowed = self.state.view.host.borrowed
        is_forwarding = _FORWARDING_IPV6 in wanted
        return [
            b
            for b in borrowed
            if b.name not in wanted and not (is_forwarding and _goes_with_forwarding(b.name))
        ]

    def _is_needed_by_engine(self, one: Borrowed) -> bool:
        """Return whether the engine's own networks may have come to need what is borrowed."""
        if not _goes_with_forwarding(one.name):
            return False
        subnets = self.state.view.engine_subnets
        return subnets is None or any(subnet.version == 6 for subnet in subnets)

    async def _is_still_ours(self, one: Borrowed) -> bool:
        """Return whether a switch has the value that we gave it, and has it from us alone."""
        present = await self._values([one.name, _FORWARDING_IPV4])
        if present.get(one.name) != one.value:
            return False
        is_forwarding = one.name.startswith(_CONF_IPV4) and one.name.endswith(_FORWARDING)
        return not is_forwarding or present.get(_FORWARDING_IPV4) == "0"

    async def _set_back(self, one: Borrowed) -> None:
        before, ours = (Sysctl(name=one.name, value=value) for value in (one.before, one.value))
        await self.kernel.apply(Change(before, ours, frozenset({"value"})))
        log.info("switch given back", extra={"switch": one.name, "value": one.before})

    async def _values(self, names: Collection[str]) -> Mapping[str, str]:
        seen = await self.kernel.look([Sysctl(name=name, value="") for name in names])
        return {o.name: o.value for o in seen if isinstance(o, Sysctl)}


def renamed(host: HostState, names: Mapping[str, str]) -> HostState:
    """Return `host` with the switches of links under the names that those have now."""
    borrowed = tuple(replace(b, name=_renamed(b.name, names)) for b in host.borrowed)
    return replace(host, borrowed=borrowed)


def link_of_switch(name: str) -> str:
    """Return the link whose switch `name` is; empty if it is of no single one."""
    parts = name.split("/", 4)
    if len(parts) < 5 or parts[0] != "net" or parts[2] not in ("conf", "neigh"):
        return ""
    return "" if parts[3] in ("all", "default") else parts[3]


def _renamed(switch: str, names: Mapping[str, str]) -> str:
    link = link_of_switch(switch)
    if link not in names:
        return switch
    parts = switch.split("/", 4)
    return "/".join((*parts[:3], names[link], parts[4]))


def _goes_with_forwarding(name: str) -> bool:
    """Return whether forwarding IPv6 moves a switch: that of links, and whom they listen to."""
    return name.startswith(_CONF_IPV6) and name.endswith((_FORWARDING, _ADVERTISEMENTS))
