"""Who gives addresses, each with so many leases to begin with, on the same disk."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from integration.bench.daemon import start
from integration.bench.ipam import caller, filling, host_local
from integration.bench.ipam.figures import Giver, Giving
from integration.lab import Daemon, Host
from integration.lab.probes import HOST_LOCAL
from integration.lab.process import run
from netplug.contract.store import Batch
from netplug.store.sqlite import SqliteStore
from netplug.wiring import STATE_FILE

NETWORK = ip_network("10.16.0.0/12")
MANY_LEASES = 100_000
_DEADLINE_S = 300.0
_PYNET_CALLS = {1: 500, 32: 2000}
_HOST_LOCAL_CALLS = {1: 32, 32: 64}
# It reads all its leases for each ADD and DEL: a second each, beside many, one after the other.
_HOST_LOCAL_CALLS_BESIDE_MANY = {1: 1, 32: 32}
_HOST_LOCAL_RUNS_BESIDE_MANY = {32: 1}


class Pynet:
    """A daemon of its own, without an engine."""

    def __init__(self, host: Host, leases: int) -> None:
        self._leases = leases
        # SQLite follows links, and /proc/PID/root, the way into a host, is none for that.
        asyncio.run(_fill(host.folder / "pynet" / STATE_FILE, leases))
        self.daemon = Daemon(host)
        start(self.daemon)

    def has_turn(self, callers: int, run: int) -> bool:
        """Return whether so many callers ask in a run."""
        return True

    def give(self, callers: int) -> Giving:
        """Give addresses, and take them back."""
        words = (self.daemon.plugin_socket, filling.pool_id(NETWORK), callers)
        told = _told(caller.__file__, *words, _PYNET_CALLS[callers])
        return Giving.of_json(told, giver=Giver.PYNET, leases=self._leases, callers=callers)

    def close(self) -> None:
        self.daemon.stop()


class HostLocal:
    """The files of a network of CNI's."""

    def __init__(self, folder: Path, leases: int) -> None:
        self._folder = folder
        self._leases = leases
        kept = folder / "data" / "bench"
        kept.mkdir(parents=True)
        ranges = [[{"subnet": str(NETWORK)}]]
        ipam = {"type": "host-local", "dataDir": str(folder / "data"), "ranges": ranges}
        config = {"cniVersion": "1.0.0", "name": "bench", "type": "bench", "ipam": ipam}
        (folder / host_local.CONFIG).write_text(json.dumps(config))
        for number in range(2, leases + 2):  # the first address is the gateway's
            place = kept / str(filling.address(NETWORK, number))
            place.write_text(f"{filling.owner(number)}\r\neth0")
        last = filling.address(NETWORK, leases + 1)
        (kept / "last_reserved_ip.0").write_text(str(last))

    def has_turn(self, callers: int, run: int) -> bool:
        """Return whether so many callers ask in a run."""
        is_slow = self._leases >= MANY_LEASES
        return not is_slow or run < _HOST_LOCAL_RUNS_BESIDE_MANY.get(callers, run + 1)

    def give(self, callers: int) -> Giving:
        """Give addresses, and take them back."""
        is_slow = self._leases >= MANY_LEASES
        calls = (_HOST_LOCAL_CALLS_BESIDE_MANY if is_slow else _HOST_LOCAL_CALLS)[callers]
        told = _told(host_local.__file__, HOST_LOCAL, self._folder, callers, calls)
        return Giving.of_json(told, giver=Giver.HOST_LOCAL, leases=self._leases, callers=callers)

    def close(self) -> None:
        """Leave the files to the folder's owner."""


def _told(program: str, *words: object) -> Mapping[str, Any]:
    """Run a program that needs nothing but the standard library; return what it told."""
    done = run((sys.executable, "-S", "-E", program, *map(str, words)), timeout=_DEADLINE_S)
    told: Mapping[str, Any] = json.loads(done.stdout)
    return told


async def _fill(path: Path, leases: int) -> None:
    store = await SqliteStore.opened(path)
    for portion in filling.records(NETWORK, leases):
        await store.commit(Batch(puts=portion))
    await store.close()
