"""Leasing addresses: `python -m integration.bench ipam`.

**In process.** What it costs to choose an address and to change the view, and to release it again
and let it rest, beside 0 to 1 000 000 leases, of an IPv4 /8 and of an IPv6 /64. Each figure comes
from a process of its own, which also tells how much larger the leases made it. Each lease has an
owner of its own, as leases of containers have.
"""
