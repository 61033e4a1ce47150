"""The cases of types of links that the running kernel lacks, to be run on a full one."""

from __future__ import annotations

import sys
from pathlib import Path

from integration.lab import probes, vm
from integration.lab.process import run

LINKS = ("ipvlan", "vlan")
FILES = ("integration/kernel/test_host_sublinks.py", "integration/kernel/test_uplinks.py")
NEEDS = (*probes.OF_A_LAB, "busybox", "modprobe", vm.QEMU, "full_kernel")
ROOT = Path(__file__).parents[2]
# Emulated, Python imports slowly: only the plugins that the cases need.
_PLUGINS = ("-p", "asyncio", "-p", "timeout", "-p", "no:cacheprovider")
_ENV = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def lacking() -> list[str]:
    """Return the types of links that only a full kernel has."""
    return [link for link in LINKS if probes.missing(link)]


def begin(folder: Path) -> vm.Machine | None:
    """Begin to run the cases, if there are any and there is what that needs."""
    if not lacking() or probes.first_missing(*NEEDS):
        return None
    return vm.Machine([*_pytest(), "-rA"], folder=folder, env=_ENV)


def cases() -> set[str]:
    """Return the ids of the cases."""
    collected = run([*_pytest(), "--collect-only", "-q"], env=_ENV).stdout
    return {line for line in collected.splitlines() if "::" in line}


def _pytest() -> list[str]:
    chosen = [*(str(ROOT / file) for file in FILES), *(f"--needing={link}" for link in lacking())]
    return [sys.executable, "-m", "pytest", *_PLUGINS, *chosen]
