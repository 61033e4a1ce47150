"""Hosts, engines and daemons to test with, all on one machine and all gone afterwards.

```python
with Lab() as lab:
    host = lab.host()
    engine, pynet = Engine(host), Daemon(host)
    pynet.start()
    engine.start()
    engine.image("pynet-box")
    engine.docker("network", "create", "-d", "pynet", "--ipam-driver", "pynet", "blue")
    engine.docker("run", "-d", "--network", "blue", "--name", "web", "pynet-box", "sleep", "600")
```

A host is one process that holds network, mount, PID and UTS namespaces of its own. Ending it ends
all that ever ran in it, and it ends by itself when the process that made it dies. The machine's
own network namespace gets no link, its /etc, /opt, /run and /var no file.

Not here: what any test asserts.
"""

from __future__ import annotations

from integration.lab.daemon import Daemon
from integration.lab.engine import Engine
from integration.lab.host import Host
from integration.lab.lab import Lab
from integration.lab.process import CommandFailed, Process
from integration.lab.underlay import Underlay
from integration.lab.waiting import NeverHappened, eventually

__all__ = [
    "CommandFailed",
    "Daemon",
    "Engine",
    "Host",
    "Lab",
    "NeverHappened",
    "Process",
    "Underlay",
    "eventually",
]
