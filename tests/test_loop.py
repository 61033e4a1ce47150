"""The loop's alarms; the rest is tested by those who run on it."""

from __future__ import annotations

from netplug.loop import Loop


def test_alarms_ring_in_order_when_their_time_has_come() -> None:
    now_s, rung = 0.0, []
    loop = Loop(lambda: now_s)
    for when_s, name in ((2.0, "second"), (1.0, "first"), (2.0, "third")):
        loop.at(when_s, lambda name=name: rung.append(name))

    loop.run_once(0)
    assert rung == []
    now_s = 2.0
    loop.run_once()  # does not wait

    assert rung == ["first", "second", "third"]
    loop.close()
