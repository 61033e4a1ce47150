"""Records that users make by hand: checked, kept, and gone with their network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netplug.clock import Clock
from netplug.contract.driver import NameMode
from netplug.errors import Conflict, InvalidRequest, NotFound
from netplug.model import NameRecord, Network, RecordKind
from netplug.service.name_syntax import name_problem, value_problem
from netplug.service.networks import Networks
from netplug.service.who import has_name
from netplug.view import View

_MOST_VALUES = 64  # of a record: what an answer over UDP has room for


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRecords:
    """The records of all networks, each under the name that it has inside its network."""

    networks: Networks
    clock: Clock
    domain: str

    async def add(
        self, reference: str, name: str, values: Sequence[str], kind: RecordKind | None = None
    ) -> NameRecord:
        """Record, durably, what a name of a network means, beside what it means already.

        Without a kind, values that are all addresses of one family have theirs.

        Raises:
            NotFound: there is no such network.
            InvalidRequest: with everything that does not parse.
            Conflict: a container has the name, or it would be an alias and more than that; the
                network has no names.
        """
        network = self.networks.find(reference)
        if self.networks.driver_of(network).name_service(network).mode is NameMode.OFF:
            raise Conflict(f"network {network.label}", "has no names: it was made with dns=off")
        name = self._inside(name, network)
        chosen = kind or _guessed(values)
        problems = [*_name_problems(name), *_value_problems(chosen, values)]
        if problems or chosen is None:
            raise InvalidRequest(problems)
        async with self.networks.locks.hold(f"network {network.id}"):
            view = self.networks.state.view
            if network.id not in view.networks:
                raise NotFound("network", network.label)
            _refuse_shadow(name, network, view)
            known = view.records.get((network.id, name, chosen))
            all_values = tuple(dict.fromkeys((*(known.values if known else ()), *values)))
            record = NameRecord(
                network_id=network.id,
                name=name,
                kind=chosen,
                values=all_values,
                created_at=known.created_at if known else self.clock.now(),
            )
            _refuse_company(record, network, view)
            await self.networks.state.commit(puts=(record,), is_durable=True)
            self.networks.journal.note(
                "name.add",
                f"{name} on {network.label} is {chosen} {', '.join(all_values)}",
                network=network.id,
            )
            return record

    async def remove(self, reference: str, name: str, kind: RecordKind | None = None) -> None:
        """Take back what was recorded of a name, or that of one kind.

        Raises:
            NotFound: there is no such network, or no such record.
        """
        network = self.networks.find(reference)
        name = self._inside(name, network)
        async with self.networks.locks.hold(f"network {network.id}"):
            known = _records(name, network, self.networks.state.view)
            gone = [record for record in known if kind in (None, record.kind)]
            if not gone:
                what = f"{kind} record" if kind else "record"
                raise NotFound(what, f"{name} on {network.label}", "'pynet dns ls' shows them")
            await self.networks.state.commit(drops=gone, is_durable=True)
            self.networks.journal.note(
                "name.remove", f"{name} on {network.label} is gone", network=network.id
            )

    def _inside(self, name: str, network: Network) -> str:
        """Return a name as it is inside its network: "db" of "db.front.pynet."."""
        inside = name.lower().removesuffix(".")
        label = network.label.lower()
        for suffix in (f".{label}.{self.domain}", f".{label}"):
            if inside.endswith(suffix):
                return inside.removesuffix(suffix)
        return inside


def _guessed(values: Sequence[str]) -> RecordKind | None:
    for kind in (RecordKind.A, RecordKind.AAAA):
        if values and not any(value_problem(kind, value) for value in values):
            return kind
    return None


def _name_problems(name: str) -> list[str]:
    problem = name_problem(name)
    return [f"name {name!r}: {problem}"] if problem else []


def _value_problems(kind: RecordKind | None, values: Sequence[str]) -> list[str]:
    if not values:
        return ["no value is given"]
    if len(values) > _MOST_VALUES:
        return [f"a record has at most {_MOST_VALUES} values"]
    if kind is None:
        return ["the values are not all addresses of one family: give a type"]
    found = ((value, value_problem(kind, value)) for value in values)
    return [f"{kind} {value!r}: {problem}" for value, problem in found if problem]


def _records(name: str, network: Network, view: View) -> list[NameRecord]:
    found = (view.records.get((network.id, name, kind)) for kind in RecordKind)
    return [record for record in found if record is not None]


def _refuse_shadow(name: str, network: Network, view: View) -> None:
    for endpoint in view.endpoints_of(network.id):
        if has_name(endpoint, name):
            raise Conflict(
                f"name {name}", f"is that of {endpoint.label} on network {network.label}"
            )


def _refuse_company(record: NameRecord, network: Network, view: View) -> None:
    """Refuse a second meaning of an alias. Source: RFC 1034 section 3.6.2."""
    here = f"name {record.name} on network {network.label}"
    others = {r.kind for r in _records(record.name, network, view)}
    others.discard(record.kind)
    if record.kind is RecordKind.CNAME:
        if len(record.values) > 1:
            raise Conflict(here, "is an alias of one name", "remove the other first")
        if others:
            raise Conflict(here, f"has {', '.join(sorted(others))} records", "remove them first")
    elif RecordKind.CNAME in others:
        raise Conflict(here, "is an alias", "remove it first")
