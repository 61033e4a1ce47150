"""Plan, diff, apply: the only way from the model to the kernel."""

from __future__ import annotations

import logging
from collections.abc import Collection

from netplug.contract.kernel import Kernel
from netplug.errors import PynetError
from netplug.plan.diff import Plan, diff
from netplug.plan.objects import Foreign, KernelObject
from netplug.plan.order import is_shared, stands_on
from netplug.plan.text import step_text

log = logging.getLogger(__name__)

NOTHING: frozenset[KernelObject] = frozenset()


async def preview(
    desired: frozenset[KernelObject], previous: frozenset[KernelObject], kernel: Kernel
) -> Plan:
    """Return the steps that `converge` would take; changes nothing.

    Raises:
        Conflict: something of a wanted name is not ours.
    """
    observed = await kernel.look(desired | previous)
    return diff(desired, _of_this_scope(observed, desired))


async def converge(
    desired: frozenset[KernelObject], previous: frozenset[KernelObject], kernel: Kernel
) -> Plan:
    """Make the kernel hold `desired` where it held `previous`; return the steps taken.

    If a step fails, what was done is taken back by converging to `previous`, and the first error
    is raised. What cannot be taken back is logged; reconciliation tries again.

    Raises:
        Conflict: something of a wanted name is not ours; nothing was changed.
        KernelRefused, Unsupported: from the step that failed.
    """
    plan = await preview(desired, previous, kernel)
    try:
        for step in plan.steps:
            log.debug("step", extra={"step": step_text(step)})
            await kernel.apply(step)
    except PynetError:
        await take_back(desired, previous, kernel)
        raise
    return plan


async def dismantle(objects: frozenset[KernelObject], kernel: Kernel) -> None:
    """Remove `objects`, going on past failures.

    What fails is logged, not raised: nobody wants the objects any more, and reconciliation removes
    what carries our mark and is not wanted. What stands on one of them is taken to be there, since
    looking for it costs a dump and removing it twice is harmless.
    """
    keys = {o.key for o in objects}
    observed = set(await kernel.look([o for o in objects if stands_on(o) not in keys]))
    ours = {o.key for o in observed if not isinstance(o, Foreign)}
    observed |= {o for o in objects if stands_on(o) in ours}
    for step in diff(NOTHING, _of_this_scope(observed, NOTHING)).steps:
        try:
            await kernel.apply(step)
        except PynetError as error:
            log.warning("not removed yet", extra={"step": step_text(step), "reason": str(error)})


async def adapt(
    desired: frozenset[KernelObject], previous: frozenset[KernelObject], kernel: Kernel
) -> None:
    """Converge what others of a sandbox need now; what fails is logged.

    Reconciliation tries again: whoever joined or left is not kept from it.
    """
    if not desired and not previous:
        return
    try:
        await converge(desired, previous, kernel)
    except PynetError as error:
        log.warning("not adapted yet", extra={"reason": str(error)})


async def take_back(
    desired: frozenset[KernelObject], previous: frozenset[KernelObject], kernel: Kernel
) -> None:
    """Converge back to `previous` from what was begun of `desired`, going on past failures.

    What fails is logged.
    """
    try:
        plan = await preview(previous, desired, kernel)
    except PynetError as error:
        log.warning("a failed change was not taken back", extra={"reason": str(error)})
        return
    for step in plan.steps:
        try:
            await kernel.apply(step)
        except PynetError as error:
            reason = {"step": step_text(step), "reason": str(error)}
            log.warning("a failed change was not taken back whole", extra=reason)


def _of_this_scope(
    observed: Collection[KernelObject | Foreign], desired: frozenset[KernelObject]
) -> list[KernelObject | Foreign]:
    """Leave out what all networks share unless it is wanted: its end is reconciliation's matter."""
    wanted = {o.key for o in desired}
    return [o for o in observed if isinstance(o, Foreign) or not is_shared(o) or o.key in wanted]
