"""The one comparison between what should be and what is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

from netplug.errors import Conflict
from netplug.plan.objects import Foreign, KernelObject, Key, RoutedVeth, Sublink, Veth
from netplug.plan.order import goes_with, is_removable, rank


@dataclass(frozen=True, slots=True)
class Create:
    """Make `object`; it is not there."""

    object: KernelObject


@dataclass(frozen=True, slots=True)
class Change:
    """Make `observed` like `object`; only `differing` fields need work."""

    object: KernelObject
    observed: KernelObject
    differing: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `object`; it is ours and nobody wants it."""

    object: KernelObject


Step = Create | Change | Delete


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order that works: additions by rank, then removals in reverse.

    `lost` are lent objects that are gone: they cannot be made again, only reported.
    """

    steps: tuple[Step, ...] = ()
    lost: tuple[KernelObject, ...] = ()


def diff(desired: Collection[KernelObject], observed: Collection[KernelObject | Foreign]) -> Plan:
    """Return the steps from `observed` to `desired`.

    Guarantees: nothing foreign is touched; an object whose wanted fields hold gets no step;
    deletes come last, so that nothing that stays loses what it stands on.

    Raises:
        Conflict: something of a wanted name exists and is not ours.
    """
    wanted = {o.key: o for o in desired}
    ours: dict[Key, KernelObject] = {}
    for seen in observed:
        if not isinstance(seen, Foreign):
            ours[seen.key] = seen
        elif seen.key in wanted:
            raise Conflict(str(seen.key), f"exists and is not pynet's ({seen.description})")
    additions: list[Create | Change] = []
    lost: list[KernelObject] = []
    for key, wish in wanted.items():
        present = ours.get(key)
        if present is None:
            if not _is_lent(wish):
                additions.append(Create(wish))
            elif not isinstance(wish, Sublink):  # which is in its sandbox, out of sight
                lost.append(wish)
        elif differing := differing_fields(wish, present):
            additions.append(Change(wish, present, differing))
    gone = {key for key in ours if key not in wanted}
    deletes = [
        Delete(ours[key])
        for key in gone
        if is_removable(ours[key]) and goes_with(ours[key]) not in gone
    ]
    additions.sort(key=_in_order)
    deletes.sort(key=_in_order)
    return Plan((*additions, *reversed(deletes)), tuple(lost))


def differing_fields(wish: KernelObject, present: KernelObject) -> frozenset[str]:
    """Return the fields of `wish` that are asked for and do not hold.

    Raises:
        Conflict: the two are of different types, such as a veth where a bridge should be.
    """
    if type(wish) is not type(present):
        raise Conflict(str(wish.key), f"exists as a {type(present).__name__.lower()}")
    return frozenset(
        f.name
        for f in fields(wish)
        if not f.metadata.get("set_once")
        and (value := getattr(wish, f.name)) is not None
        and value != getattr(present, f.name)
    )


def _in_order(step: Step) -> tuple[int, str]:
    return rank(step.object), str(step.object.key)


def _is_lent(obj: KernelObject) -> bool:
    return isinstance(obj, Veth | RoutedVeth | Sublink) and bool(obj.is_lent)
