"""Cases of a type of link that the running kernel lacks, on a full kernel that is emulated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from integration.conftest import skip_without
from integration.lab import probes, vm
from integration.lab.process import run

LINKS = ("ipvlan", "vlan")
FILES = ("integration/kernel/test_host_sublinks.py", "integration/kernel/test_uplinks.py")
ROOT = Path(__file__).parents[2]
DEADLINE_S = 900  # 254 s were measured on two cores with a load of 15
# Emulated, Python imports slowly: only the plugins that the cases need.
PLUGINS = ("-p", "asyncio", "-p", "timeout", "-p", "no:cacheprovider")
ENV = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
PASSED = "PASSED "


@pytest.fixture
def lacking() -> list[str]:
    """The types of links that only the full kernel has."""
    skip_without(*probes.OF_A_LAB)
    lacking = [link for link in LINKS if probes.missing(link)]
    if not lacking:
        pytest.skip(f"the running kernel has {' and '.join(LINKS)}: the cases ran on it")
    skip_without("busybox", "modprobe", vm.QEMU, "full_kernel")
    return lacking


@pytest.mark.timeout(DEADLINE_S + 60)
def test_cases_that_the_running_kernel_cannot_have_pass_on_a_full_one(
    lacking: list[str], tmp_path: Path
) -> None:
    chosen = [*(str(ROOT / file) for file in FILES), *(f"--needing={link}" for link in lacking)]
    pytest_of_cases = [sys.executable, "-m", "pytest", *PLUGINS, *chosen]
    collected = run([*pytest_of_cases, "--collect-only", "-q"], env=ENV).stdout
    cases = {line for line in collected.splitlines() if "::" in line}
    assert {case.partition("::")[0] for case in cases} == {*FILES}

    done = vm.run([*pytest_of_cases, "-rA"], folder=tmp_path, env=ENV, deadline_s=DEADLINE_S)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    passed = {line.removeprefix(PASSED) for line in lines if line.startswith(PASSED)}
    assert passed == cases, done.stdout
