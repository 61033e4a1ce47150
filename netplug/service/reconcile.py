"""Bring the whole kernel back to what the store says: at start, periodically, and on request."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime

from netplug.clock import Clock
from netplug.errors import PynetError
from netplug.model import NetworkState, Origin
from netplug.plan.diff import Delete, Plan, Step, diff
from netplug.plan.objects import Foreign, KernelObject, Key, Veth
from netplug.plan.order import is_shared, stands_on
from netplug.plan.text import difference_text, short_text, step_text
from netplug.service.journal import Journal
from netplug.service.networks import Networks

log = logging.getLogger(__name__)

_SHOWN = 5  # steps in one line of the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the last reconciliation went; `problems` are sentences."""

    at: datetime
    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the kernel compares with the plan; sentences."""

    checked: int
    differences: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


@dataclass(slots=True)
class Reconciler:
    """Compares everything with a full inventory and mends what differs."""

    networks: Networks
    journal: Journal
    clock: Clock
    last: Report | None = None
    _known_problems: frozenset[str] = field(default=frozenset())

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
        steps: list[Step] = []
        plan, problems = await self._difference()
        if plan.steps:
            async with self.networks.gate.alone():
                plan, problems = await self._difference()
                for step in plan.steps:
                    try:
                        await self.networks.kernel.apply(step)
                        steps.append(step)
                    except PynetError as error:
                        problems.append(str(error))
        report = Report(
            at=self.clock.now(),
            steps=tuple(steps),
            problems=tuple(problems),
        )
        self._tell(report)
        self.last = report
        return report

    async def tidy(self) -> None:
        """Leave a host without networks as it was before the first one. For the stop."""
        if not self.networks.state.view.networks:
            await self.run()

    async def plan(self) -> Plan:
        """Return what `run` would do; what it could not mend is left out."""
        return (await self._difference())[0]

    async def verify(self) -> Verdict:
        """Compare everything and change nothing.

        What all networks share outlives the last one until the next `run`: that is no difference.
        """
        plan, problems = await self._difference()
        missing = [difference_text(s) for s in plan.steps if not _is_kept_a_while(s)]
        lost = [f"{short_text(o)} is gone; its container must be restarted" for o in plan.lost]
        return Verdict(
            checked=len(self._desired()[0]),
            differences=(*missing, *lost),
            foreign=tuple(problems),
        )

    async def _difference(self) -> tuple[Plan, list[str]]:
        """Diff everything; return the plan, and what stands in its way.

        Wanted objects whose name is taken by a stranger are set aside, with what would stand on
        the stranger. If a network cannot be planned, nothing is deleted: it might be its own.
        """
        desired, problems = self._desired()
        observed = await self.networks.kernel.inventory(desired)
        taken: dict[Key, str] = {f.key: f.description for f in observed if isinstance(f, Foreign)}
        clashes = [
            f"{o.key} exists and is not pynet's ({taken[o.key]})" for o in desired if o.key in taken
        ]
        aside = {o.key for o in desired if o.key in taken or _rests_on(o) in taken}
        plan = diff(
            [o for o in desired if o.key not in aside],
            [o for o in observed if not isinstance(o, Foreign) and o.key not in aside],
        )
        if problems:
            plan = replace(plan, steps=tuple(s for s in plan.steps if not isinstance(s, Delete)))
        return plan, [*problems, *clashes]

    def _desired(self) -> tuple[frozenset[KernelObject], list[str]]:
        """Return what should exist, and which networks cannot be planned."""
        view = self.networks.state.view
        objects: set[KernelObject] = set()
        problems: list[str] = []
        for network in view.networks.values():
            if network.state is NetworkState.READY:
                try:
                    objects |= self.networks.objects_of(network, view)
                except PynetError as error:
                    problems.append(f"network {network.label} cannot be planned: {error}")
        return frozenset(objects), problems

    def _tell(self, report: Report) -> None:
        """Log what was mended, and each problem once for as long as it lasts."""
        if report.steps:
            texts = [step_text(s) for s in report.steps[:_SHOWN]]
            shown = "; ".join(texts) + ("; …" if len(report.steps) > _SHOWN else "")
            self.journal.note("reconcile", f"{len(report.steps)} differences mended: {shown}")
        for problem in report.problems:
            if problem not in self._known_problems:
                log.warning("cannot be mended", extra={"reason": problem})
        self._known_problems = frozenset(report.problems)


def _rests_on(obj: KernelObject) -> Key | None:
    """Return the key of the link that `obj` is put on."""
    if isinstance(obj, Veth):
        return Key("link", obj.bridge or "")
    return stands_on(obj)


def _is_kept_a_while(step: Step) -> bool:
    return isinstance(step, Delete) and is_shared(step.object)
