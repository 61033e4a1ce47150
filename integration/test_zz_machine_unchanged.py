"""The last test of every run: it must find the machine as the first one did."""

from __future__ import annotations

from integration.lab import Lab, snapshot


def test_machine_after_all_tests_is_as_before(machine_before: snapshot.Snapshot, lab: Lab) -> None:
    lab.close()

    snapshot.wait_until_restored(machine_before)
