"""What a closed or silent kernel answers; integration/kernel asks the real one."""

from __future__ import annotations

from netplug.kernel.firewall.glance import Generation, Glance


def test_generation_that_is_not_open_is_none_at_all() -> None:
    assert Generation().number() == 0


def test_elements_of_a_set_that_cannot_be_read_are_unknown() -> None:
    assert Glance().elements("pynet-masq4") is None
