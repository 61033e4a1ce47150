"""Bring the whole kernel back to what the store says: at start, periodically, and on request."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from netplug.clock import Clock
from netplug.errors import PynetError
from netplug.model import NetworkState
from netplug.plan.diff import Delete, Plan, Step, diff
from netplug.plan.objects import Foreign, KernelObject, Key
from netplug.plan.order import is_shared
from netplug.plan.text import difference_text, short_text, step_text
from netplug.service.journal import Journal
from netplug.service.networks import Networks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How the last reconciliation went; `problems` are sentences."""

    at: datetime
    steps: tuple[str, ...] = ()
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

        A network that was still pending was never acknowledged: it is dropped.
        """
        state = self.networks.state
        pending = [n for n in state.view.networks.values() if n.state is NetworkState.PENDING]
        if pending:
            await state.commit(drops=pending)
        return await self.run()

    async def run(self) -> Report:
        """Mend what differs.

        First without holding anybody up; only if something differs, once more alone, since what
        looked wrong may be a change under way.
        """
        self.networks.state.learn(await self.networks.kernel.facts())
        steps: list[Step] = []
        problems: list[str] = []
        if _needs_work(await self.compare()):
            async with self.networks.gate.alone():
                plan, clashes = await self._difference()
                problems += clashes
                for step in plan.steps:
                    try:
                        await self.networks.kernel.apply(step)
                        steps.append(step)
                    except PynetError as error:
                        problems.append(str(error))
        report = Report(
            at=self.clock.now(),
            steps=tuple(step_text(s) for s in steps),
            problems=tuple(problems),
        )
        self._tell(report)
        self.last = report
        return report

    async def tidy(self) -> None:
        """Leave a host without networks as it was before the first one. For the stop."""
        if not self.networks.state.view.networks:
            await self.run()

    async def compare(self) -> Plan | None:
        """Return what `run` would do; `None` if something wanted clashes with what is not ours."""
        plan, clashes = await self._difference()
        return None if clashes else plan

    async def plan(self) -> Plan:
        """Return what `run` would do, clashes left out."""
        return (await self._difference())[0]

    async def verify(self) -> Verdict:
        """Compare everything and change nothing.

        What all networks share outlives the last one until the next `run`: that is no difference.
        """
        plan, clashes = await self._difference()
        missing = [difference_text(s) for s in plan.steps if not _is_kept_a_while(s)]
        lost = [f"{short_text(o)} is gone; its container must be restarted" for o in plan.lost]
        return Verdict(
            checked=len(self._desired()),
            differences=(*missing, *lost),
            foreign=tuple(clashes),
        )

    async def _difference(self) -> tuple[Plan, list[str]]:
        """Diff everything; wanted objects whose name is taken by a stranger are set aside."""
        desired = self._desired()
        observed = await self.networks.kernel.inventory(desired)
        taken: dict[Key, str] = {f.key: f.description for f in observed if isinstance(f, Foreign)}
        clashes = [
            f"{o.key} exists and is not pynet's ({taken[o.key]})" for o in desired if o.key in taken
        ]
        plan = diff(
            [o for o in desired if o.key not in taken],
            [o for o in observed if not isinstance(o, Foreign)],
        )
        return plan, clashes

    def _desired(self) -> frozenset[KernelObject]:
        view = self.networks.state.view
        objects: set[KernelObject] = set()
        for network in view.networks.values():
            if network.state is NetworkState.READY:
                objects |= self.networks.objects_of(network, view)
        return frozenset(objects)

    def _tell(self, report: Report) -> None:
        """Log what was mended, and each problem once for as long as it lasts."""
        if report.steps:
            shown = "; ".join(report.steps[:5]) + ("; …" if len(report.steps) > 5 else "")
            self.journal.note("reconcile", f"{len(report.steps)} differences mended: {shown}")
        for problem in report.problems:
            if problem not in self._known_problems:
                log.warning("cannot be mended", extra={"reason": problem})
        self._known_problems = frozenset(report.problems)


def _is_kept_a_while(step: Step) -> bool:
    return isinstance(step, Delete) and is_shared(step.object)


def _needs_work(plan: Plan | None) -> bool:
    return plan is None or bool(plan.steps)
