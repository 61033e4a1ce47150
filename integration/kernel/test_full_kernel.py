"""Cases of a type of link that the running kernel lacks, on a full kernel that is emulated."""

from __future__ import annotations

import pytest

from integration.conftest import skip_without
from integration.kernel import full_kernel
from integration.lab import vm

DEADLINE_S = 900  # 254 s were measured on two cores with a load of 15
PASSED = "PASSED "


@pytest.mark.timeout(DEADLINE_S + 60)
def test_cases_that_the_running_kernel_cannot_have_pass_on_a_full_one(
    emulated: vm.Machine | None,
) -> None:
    if not full_kernel.lacking():
        links = " and ".join(full_kernel.LINKS)
        pytest.skip(f"the running kernel has {links}: the cases ran on it")
    skip_without(*full_kernel.NEEDS)
    assert emulated is not None
    cases = full_kernel.cases()
    assert {case.partition("::")[0] for case in cases} == {*full_kernel.FILES}

    done = emulated.wait(deadline_s=DEADLINE_S)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    passed = {line.removeprefix(PASSED) for line in lines if line.startswith(PASSED)}
    assert passed == cases, done.stdout
