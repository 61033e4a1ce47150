"""How fast the command is there; a process of its own, because imports happen once."""

from __future__ import annotations

import json
import resource
import subprocess  # noqa: TID251 - no deadline or plan of ours is involved: this starts the command
import sys

import pytest

_RUNS = 5
# The promise is 0.3 s by the clock; processor time says the same on a machine that is busy.
_HELP_PROCESSOR_S = 0.3
_HEAVY = ("aiohttp", "asyncio", "msgspec", "pyroute2", "rich", "sqlite3")

_LIST_IMPORTS = """
import json, sys
from netplug.cli import main
try:
    main(sys.argv[1:], prog_name="pynet")
except SystemExit:
    print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    "line", ["--help", "--version", "network create --help", "daemon --help", "status"]
)
def test_command_imports_nothing_heavy(line: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LIST_IMPORTS, "--admin-socket", "/nowhere", *line.split()],
        check=True,
        capture_output=True,
        text=True,
    )

    imported = set(json.loads(ran.stdout.splitlines()[-1]))
    assert imported.isdisjoint(_HEAVY)


def test_help_is_there_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(_RUNS):
        subprocess.run([sys.executable, "-m", "netplug.cli", "-h"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent_s / _RUNS < _HELP_PROCESSOR_S
