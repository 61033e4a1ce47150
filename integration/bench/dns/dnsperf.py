"""dnsperf (Debian package `dnsperf`): what it is told to do, and what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What is not answered so soon is lost; dnsperf's own 5 s would stretch each round that loses some.
PATIENCE_S = 1
UNDER_WAY = 100
SOCKETS = 4

_RATE = re.compile(r"Queries per second: +([\d.]+)")
_SENT = re.compile(r"Queries sent: +(\d+)")
_LOST = re.compile(r"Queries lost: +(\d+)")
_CODES = re.compile(r"Response codes: +(.*)")
_CODE = re.compile(r"([A-Z]+) (\d+)")
_LATENCY = re.compile(r"^> [A-Z]+ \S+ \S+ (\d+\.\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Perf:
    """What one run of dnsperf found; `took_us` only of a run that tells every answer."""

    per_second: float
    sent: int
    lost: int
    codes: dict[str, int]
    took_us: tuple[float, ...] = ()


def flat_out(server: str, file: str, seconds: float, *, under_way: int = UNDER_WAY) -> list[str]:
    """Return the command that asks as fast as answers come."""
    return [*_command(server, file, seconds), "-q", str(under_way)]


def at_rate(server: str, file: str, seconds: float, per_second: int) -> list[str]:
    """Return the command that asks at a rate, and tells how long each answer took."""
    return [*_command(server, file, seconds), "-Q", str(per_second), "-v"]


def parse(printed: str) -> Perf:
    """Read what dnsperf printed.

    Raises:
        ValueError: it did not come to its end.
    """
    counts = [found and found[1] for found in (p.search(printed) for p in (_RATE, _SENT, _LOST))]
    if not all(counts):
        raise ValueError(f"dnsperf did not come to its end: {printed[-1000:]}")
    rate, sent, lost = (float(count or 0) for count in counts)
    codes = _CODES.search(printed)
    return Perf(
        per_second=rate,
        sent=int(sent),
        lost=int(lost),
        codes={code: int(n) for code, n in _CODE.findall(codes[1] if codes else "")},
        took_us=tuple(float(took_s) * 1e6 for took_s in _LATENCY.findall(printed)),
    )


def _command(server: str, file: str, seconds: float) -> list[str]:
    sockets = ("-c", str(SOCKETS), "-T", "1")
    # Messages of each lost query would be as many as those.
    return ["dnsperf", "-s", server, "-d", file, "-l", str(seconds), "-t", str(PATIENCE_S),
            "-O", "suppress=timeouts", *sockets]  # fmt: skip
