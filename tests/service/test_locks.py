"""Locks and the gate: who waits for whom, without a clock."""

from __future__ import annotations

import asyncio

from netplug.service.locks import Gate, Locks


async def turns(count: int = 5) -> None:
    """Let every other task run as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


class Visitor:
    """Enters a context in a task of its own, and leaves when told."""

    def __init__(self, context: object) -> None:
        self.is_in = False
        self._may_leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._visit(context))

    async def _visit(self, context: object) -> None:
        async with context:  # type: ignore[attr-defined]
            self.is_in = True
            try:
                await self._may_leave.wait()
            finally:
                self.is_in = False

    async def leave(self) -> None:
        self._may_leave.set()
        await self.task


async def test_hold_of_one_name_lets_one_in_at_a_time() -> None:
    locks = Locks()
    first, second = Visitor(locks.hold("a")), Visitor(locks.hold("a"))
    await turns()
    assert (first.is_in, second.is_in) == (True, False)

    await first.leave()
    await turns()

    assert second.is_in
    await second.leave()


async def test_hold_of_two_names_lets_both_in() -> None:
    locks = Locks()
    first, second = Visitor(locks.hold("a")), Visitor(locks.hold("b"))

    await turns()

    assert (first.is_in, second.is_in) == (True, True)
    await first.leave()
    await second.leave()


async def test_hold_given_up_while_waiting_lets_the_next_in() -> None:
    locks = Locks()
    first, impatient, patient = (Visitor(locks.hold("a")) for _ in range(3))
    await turns()

    impatient.task.cancel()
    await first.leave()
    await turns()

    assert patient.is_in
    await patient.leave()


async def test_hold_by_many_that_wait_lets_each_in_once() -> None:
    locks = Locks()
    inside: list[int] = []

    async def enter() -> None:
        async with locks.hold("a"):
            inside.append(1)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.clear()

    await asyncio.gather(*(enter() for _ in range(32)))

    assert inside == []


async def test_gate_lets_many_pass_together() -> None:
    gate = Gate()
    visitors = [Visitor(gate.shared()) for _ in range(3)]

    await turns()

    assert all(visitor.is_in for visitor in visitors)
    await asyncio.gather(*(visitor.leave() for visitor in visitors))


async def test_gate_lets_one_alone_in_only_when_all_are_out() -> None:
    gate = Gate()
    passing = Visitor(gate.shared())
    await turns()
    alone = Visitor(gate.alone())
    await turns()
    assert not alone.is_in

    await passing.leave()
    await turns()

    assert alone.is_in
    await alone.leave()


async def test_gate_lets_nobody_in_while_one_is_alone() -> None:
    gate = Gate()
    alone = Visitor(gate.alone())
    await turns()
    passing, rival = Visitor(gate.shared()), Visitor(gate.alone())
    await turns()
    assert (passing.is_in, rival.is_in) == (False, False)

    await alone.leave()
    await turns(10)

    assert rival.is_in is not passing.is_in
    await rival.leave()
    await passing.leave()


async def test_gate_does_not_starve_who_wants_to_be_alone() -> None:
    gate = Gate()
    early = Visitor(gate.shared())
    await turns()
    alone = Visitor(gate.alone())
    await turns()
    late = Visitor(gate.shared())
    await turns()
    assert not late.is_in

    await early.leave()
    await turns()

    assert alone.is_in
    await alone.leave()
    await late.leave()


async def test_gate_given_up_while_waiting_to_be_alone_lets_others_pass() -> None:
    gate = Gate()
    passing = Visitor(gate.shared())
    await turns()
    alone = Visitor(gate.alone())
    await turns()
    waiting = Visitor(gate.shared())
    await turns()

    alone.task.cancel()
    await turns()

    assert waiting.is_in
    await passing.leave()
    await waiting.leave()


async def test_gate_after_a_failure_inside_is_free_again() -> None:
    gate = Gate()
    for context in (gate.shared, gate.alone):
        failing = Visitor(context())
        await turns()
        failing.task.cancel()
        await turns()

        after = Visitor(gate.alone())
        await turns()

        assert after.is_in
        await after.leave()


async def test_hold_all_takes_several_in_one_order() -> None:
    locks = Locks()
    first, second = (Visitor(locks.hold_all(names)) for names in (["b", "a"], ["a", "b", "a"]))
    await turns(9)
    assert (first.is_in, second.is_in) == (True, False)

    await first.leave()
    await turns(9)
    assert second.is_in
    await second.leave()
