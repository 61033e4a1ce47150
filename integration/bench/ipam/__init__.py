"""Leasing addresses: `python -m integration.bench ipam`.

**Giving.** How many addresses a second are given out of a /12, to one caller and to 32 at once,
beside 0 and 100 000 leases: by pynet over the plugin socket, as dockerd asks it and with the lease
durable on disk, and by CNI's `host-local`, a process for each address, whose leases are files that
are not synced. They take turns; what was given is given back after each round, which is not timed.
What the disk syncs of such pieces, one after the other, is the most that one caller can be given;
it is told beside them, and so is what asking costs.

**In process.** What it costs to choose an address and to change the view, and to release it again
and let it rest, beside 0 to 1 000 000 leases, of an IPv4 /8 and of an IPv6 /64. Each figure comes
from a process of its own, which also tells how much larger the leases made it. Each lease has an
owner of its own, as leases of containers have.
"""
