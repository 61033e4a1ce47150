"""Kernel objects and plans as stable text: for dry runs, logs, golden files and people."""

from __future__ import annotations

from dataclasses import fields

from netplug.plan.diff import Change, Create, Delete, Plan, Step
from netplug.plan.objects import KernelObject, LinkPolicy


def object_text(obj: KernelObject) -> str:
    """Return one line: the key, then every field that is asked for, in the order of the class."""
    parts = [str(obj.key)]
    for f in fields(obj):
        value = getattr(obj, f.name)
        if value is None or f.name in _IN_KEY or value == ():
            continue
        parts.append(f"{f.name}={_value_text(value)}")
    return f"{type(obj).__name__.lower()}: " + " ".join(parts)


def objects_text(objects: frozenset[KernelObject]) -> str:
    """Return `objects`, one a line, sorted."""
    return "".join(sorted(object_text(o) + "\n" for o in objects))


def step_text(step: Step) -> str:
    """Return what a step does, for a person."""
    match step:
        case Create(obj):
            return f"create {object_text(obj)}"
        case Change(obj, observed, differing):
            changes = ", ".join(
                f"{name} {_value_text(getattr(observed, name))} -> "
                f"{_value_text(getattr(obj, name))}"
                for name in sorted(differing)
            )
            return f"change {obj.key}: {changes}"
        case Delete(obj):
            return f"delete {obj.key}"


def plan_text(plan: Plan) -> str:
    """Return the steps of `plan`, one a line."""
    return "".join(step_text(s) + "\n" for s in plan.steps)


_IN_KEY = frozenset({"name", "link", "address", "subnet", "netns"})


def _value_text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case LinkPolicy():
            return value.name or "NONE"
        case tuple():
            return ",".join(str(v) for v in value)
        case _:
            return str(value)
