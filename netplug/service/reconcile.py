"""Bring the whole kernel back to what the store says: at start, periodically, and on request."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from netplug.clock import Clock
from netplug.errors import PortTaken, PynetError
from netplug.model import IPNetwork, NetworkState, Origin
from netplug.plan.diff import Create, Delete, Plan, Step, diff
from netplug.plan.objects import (
    EngineSubnet,
    Foreign,
    KernelObject,
    Key,
    PortForward,
)
from netplug.plan.order import is_of_firewall, is_shared
from netplug.plan.text import difference_text, short_text, step_text
from netplug.service.borrowed import renamed
from netplug.service.converge import NOTHING
from netplug.service.desires import Desired, Desires, firewall_of, is_filtering
from netplug.service.journal import Journal
from netplug.service.locks import POOLS
from netplug.service.mended import mended_text, uplinked_text
from netplug.service.networks import Networks
from netplug.service.parents import STANDING, Standing, standing
from netplug.service.resting import resting_on

log = logging.getLogger(__name__)

_SHOWN = 5  # steps in one line of the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the last reconciliation went; `problems` and `news` of the parents are sentences."""

    at: datetime
    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()
    news: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the kernel compares with the plan; sentences."""

    checked: int
    differences: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


class Scope(Enum):
    """What is compared: everything, or what others change behind our back."""

    ALL = auto()
    FIREWALL = auto()
    UPLINKS = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """What is to be done, what stands in its way, and how the parents are."""

    plan: Plan
    problems: list[str]
    standing: Standing


@dataclass(slots=True)
class Reconciler:
    """Compares everything with a full inventory and mends what differs."""

    networks: Networks
    journal: Journal
    clock: Clock
    last: Report | None = None
    _known_problems: frozenset[str] = field(default=frozenset())
    _apart: frozenset[IPNetwork] = field(default=frozenset())
    _was_filtering: bool = False
    _taken: frozenset[str] = field(default=frozenset())
    _desires: Desires = field(init=False)
    _calm: tuple[Desired, frozenset[KernelObject | Foreign]] | None = None
    _gone: frozenset[str] = field(default=frozenset())
    _problems_of_uplinks: frozenset[str] = field(default=frozenset())

    def __post_init__(self) -> None:
        self._desires = Desires(self.networks)

    async def recover(self) -> Report:
        """Finish or undo what a crash interrupted, then reconcile. For start-up only.

        A network that was still pending was never acknowledged, nor was an attachment of ours that
        did not join: both are dropped.
        """
        state = self.networks.state
        pending = [n for n in state.view.networks.values() if n.state is NetworkState.PENDING]
        apart = [
            e for e in state.view.endpoints.values() if e.origin is Origin.PYNET and not e.sandbox
        ]
        if pending or apart:
            await state.commit(drops=(*pending, *apart))
        return await self.run()

    async def run(self) -> Report:
        """Mend what differs.

        First without holding anybody up; only if something differs, once more alone, since what
        looked wrong may be a change under way.
        """
        self.networks.state.learn(await self.networks.kernel.facts())
        self._was_filtering |= self._is_filtering()
        report = await self._mend()
        await self.networks.give_back()
        self._tell(report)
        self.last = report
        return report

    async def mend_firewall(self) -> Report | None:
        """Mend the packet filter if somebody touched it, in one step; None if nobody did.

        It is read back only if a glance says that something moved, which on a host of Docker's it
        does whenever a container starts, or that the last network is gone; nothing else is. What
        outlived that goes too, which is nobody else's change.

        Raises:
            KernelRefused: the rules cannot be read.
        """
        apart = self._kept_apart()
        is_new, is_over = apart != self._apart, self._was_filtering and not self._is_filtering()
        self._was_filtering |= self._is_filtering()
        if not (is_new or is_over or self.networks.kernel.has_changed()):
            return None
        report = await self._mend(Scope.FIREWALL)
        self._apart, self._was_filtering = apart, self._is_filtering()
        steps = [
            s
            for s in report.steps
            if not (_is_kept_a_while(s) or (is_new and isinstance(s.object, EngineSubnet)))
        ]
        if not self._is_filtering():
            steps = []
        if steps:
            self.journal.note(
                "firewall", f"somebody else changed rules; put back: {mended_text(steps)}"
            )
        self._tell_problems(frozenset(report.problems) | self._known_problems)
        return replace(report, steps=tuple(steps))

    async def mend_uplinks(self) -> Report | None:
        """Follow the parents of networks, and mend what stands on them; None if there are none.

        Others rename links, take them down and set them up again; what is ours goes with that.

        Raises:
            KernelRefused: the links or routes cannot be read.
        """
        if not any(n.parent for n in self.networks.state.view.networks.values()):
            self._gone = self._problems_of_uplinks = frozenset()
            return None
        report = await self._mend(Scope.UPLINKS)
        if any(isinstance(s, Create) and s.object.key.kind == "link" for s in report.steps):
            whole = await self._mend()  # what was on the link, too
            report = replace(report, steps=(*report.steps, *whole.steps))
        texts = list(report.news)
        if report.steps:
            why = "" if texts else "somebody else changed the uplink; "
            texts.append(f"{why}put back: {uplinked_text(report.steps)}")
        self._tell_of_uplinks(texts)
        problems = frozenset(report.problems)
        self._tell_problems((self._known_problems - self._problems_of_uplinks) | problems)
        self._problems_of_uplinks = problems
        return report

    async def _mend(self, scope: Scope = Scope.ALL) -> Report:
        steps: list[Step] = []
        found = await self._difference(scope)
        if found.plan.steps or found.standing.changes:
            async with self.networks.gate.alone():
                found = await self._difference(scope)
                await self._follow(found.standing)
                await self.networks.borrow([s.object for s in found.plan.steps])
                taken = await self._apply(found.plan, steps, found.problems)
                if scope is Scope.ALL and taken != self._taken:
                    self._taken = taken
                    await self._apply((await self._difference()).plan, steps, [])
        elif scope is Scope.ALL:
            self._taken = frozenset()
        news = found.standing.news
        if scope is not Scope.FIREWALL:
            news += self._came_or_went(found.standing.gone)
        return Report(
            at=self.clock.now(), steps=tuple(steps), problems=tuple(found.problems), news=news
        )

    async def _follow(self, parents: Standing) -> None:
        """Record what became of the parents. Nobody changes networks meanwhile."""
        if not parents.changes:
            return
        async with self.networks.locks.hold(POOLS):
            state = self.networks.state
            host = renamed(state.view.host, parents.names)
            hosts = () if host == state.view.host else (host,)
            await state.commit(puts=(*hosts, *parents.changes), is_durable=True)

    def _came_or_went(self, gone: Mapping[str, str]) -> tuple[str, ...]:
        """Return which parents were lost and which are back since this was asked last."""
        before, self._gone = self._gone, frozenset(gone)
        lost = [gone[name] for name in sorted(self._gone - before)]
        back = [f"link {name} is back" for name in sorted(before - self._gone)]
        return (*lost, *back)

    async def _apply(self, plan: Plan, done: list[Step], problems: list[str]) -> frozenset[str]:
        """Take the steps of a plan; return the names of host ports that somebody else has.

        Nothing is sent on from those: it is somebody else's.
        """
        taken: set[str] = set()
        for step in plan.steps:
            name = step.object.key.name
            if isinstance(step.object, PortForward) and name in taken:
                continue
            try:
                await self.networks.kernel.apply(step)
                done.append(step)
            except PortTaken as error:
                taken.add(name)
                problems.append(str(error))
            except PynetError as error:
                problems.append(str(error))
        return frozenset(taken)

    async def tidy(self) -> None:
        """Leave a host without networks as it was before the daemon came. For the stop."""
        if not self.networks.state.view.networks:
            self._desires.is_over = True
            await self.run()

    async def plan(self) -> Plan:
        """Return what `run` would do; what it could not mend is left out."""
        return (await self._difference()).plan

    async def verify(self) -> Verdict:
        """Compare everything and change nothing.

        What all networks share outlives the last one until the next `run`, and what the engine has
        just told is in place at the next look at the rules: neither is a difference.
        """
        found = await self._difference()
        is_news = self._kept_apart() != self._apart
        missing = [
            difference_text(s)
            for s in found.plan.steps
            if not _is_kept_a_while(s) and not (is_news and isinstance(s.object, EngineSubnet))
        ]
        lost = [
            f"{short_text(o)} is gone; its container must be restarted" for o in found.plan.lost
        ]
        gone = found.standing.gone.values()
        return Verdict(
            checked=len(self._untaken(self._desires.of(self.networks.state.view))),
            differences=(*missing, *lost, *gone),
            foreign=tuple(p for p in found.problems if p not in gone),
        )

    async def _difference(self, scope: Scope = Scope.ALL) -> _Difference:
        """Diff what is in a scope; return the plan, and what stands in its way.

        Wanted objects whose name is taken by a stranger, or whose link is gone, are set aside, with
        what would stand on them. If a network cannot be planned, nothing is deleted: it might be
        its own.
        """
        view, kernel = self.networks.state.view, self.networks.kernel
        parents = STANDING if scope is Scope.FIREWALL else await standing(view, kernel)
        view = view.with_records(parents.changes) if parents.changes else view
        wish = self._desires.of(view)
        desired, observed = await self._observed(wish, scope)
        is_calm = not (parents.gone or parents.changes)
        if scope is Scope.UPLINKS and is_calm and self._is_as_last_time(wish, observed):
            return _Difference(plan=Plan(), problems=[], standing=parents)
        problems = list(wish.problems)
        if view.engine_subnets is None:  # what an earlier run knew stays
            known = {o for o in observed if isinstance(o, EngineSubnet)}
            desired |= known if firewall_of(desired) else NOTHING
        strangers = [f for f in observed if isinstance(f, Foreign)]
        wanted = {o.key for o in desired} if strangers else set()
        foreign = [f for f in strangers if f.key in wanted]
        clashes = [f"{f.key} exists and is not pynet's ({f.description})" for f in foreign]
        gone = {Key("link", name) for name in parents.gone}
        aside = resting_on({f.key for f in foreign} | gone, desired)
        ours = [o for o in observed if not isinstance(o, Foreign)]
        plan = diff(_without(aside, desired), _without(aside, ours))
        if plan.lost:
            without = resting_on({o.key for o in plan.lost}, desired)
            plan = replace(plan, steps=tuple(s for s in plan.steps if s.object.key not in without))
        if problems:
            plan = replace(plan, steps=tuple(s for s in plan.steps if not isinstance(s, Delete)))
        problems = [*problems, *clashes, *parents.gone.values()]
        if scope is Scope.UPLINKS:
            is_calm = is_calm and not (plan.steps or problems)
            self._calm = (wish, observed) if is_calm else None
        return _Difference(plan=plan, problems=problems, standing=parents)

    async def _observed(
        self, wish: Desired, scope: Scope
    ) -> tuple[frozenset[KernelObject], frozenset[KernelObject | Foreign]]:
        """Return what of the wish is in a scope, and what is there of it."""
        kernel = self.networks.kernel
        match scope:
            case Scope.ALL:
                desired = self._untaken(wish)
                return desired, await kernel.inventory(desired)
            case Scope.FIREWALL:
                desired = frozenset(o for o in self._untaken(wish) if is_of_firewall(o))
                return desired, frozenset(await kernel.firewall(desired))
            case Scope.UPLINKS:
                return wish.on_uplinks, await kernel.on_uplinks(wish.on_uplinks)

    def _is_as_last_time(self, wish: Desired, observed: frozenset[KernelObject | Foreign]) -> bool:
        """Return whether uplinks are as they were when nothing was to be done; the usual case."""
        return self._calm is not None and self._calm[0] is wish and self._calm[1] == observed

    def _untaken(self, wish: Desired) -> frozenset[KernelObject]:
        return frozenset(o for o in wish.objects if not self._is_taken(o))

    def _is_taken(self, obj: KernelObject) -> bool:
        """Return whether somebody else has the host port that `obj` would send on from."""
        return isinstance(obj, PortForward) and obj.key.name in self._taken

    def _kept_apart(self) -> frozenset[IPNetwork]:
        """Return the subnets that our networks are kept from; none without a network."""
        subnets = self.networks.state.view.engine_subnets or frozenset()
        return subnets if self._is_filtering() else frozenset()

    def _is_filtering(self) -> bool:
        return is_filtering(self.networks.state.view)

    def _tell(self, report: Report) -> None:
        """Log what was mended, and each problem once for as long as it lasts."""
        if steps := [s for s in report.steps if not _is_kept_a_while(s)]:
            texts = [step_text(s) for s in steps[:_SHOWN]]
            shown = "; ".join(texts) + ("; …" if len(steps) > _SHOWN else "")
            self.journal.note("reconcile", f"{len(steps)} differences mended: {shown}")
        self._tell_of_uplinks(report.news)
        self._tell_problems(frozenset(report.problems))

    def _tell_of_uplinks(self, texts: Sequence[str]) -> None:
        if texts:
            self.journal.note("uplink", "; ".join(texts))

    def _tell_problems(self, problems: frozenset[str]) -> None:
        for problem in sorted(problems - self._known_problems):
            log.warning("cannot be mended", extra={"reason": problem})
        self._known_problems = problems


def _without(keys: Collection[Key], objects: Collection[KernelObject]) -> list[KernelObject]:
    return [o for o in objects if o.key not in keys] if keys else list(objects)


def _is_kept_a_while(step: Step) -> bool:
    return isinstance(step, Delete) and is_shared(step.object)
