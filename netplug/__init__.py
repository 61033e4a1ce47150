"""pynet: the network for plain Docker hosts.

One daemon per host that is Docker's network driver and IPAM driver in one plugin. Start reading
at `netplug.model` (what there is), `netplug.plan` (what should exist in the kernel) and
`netplug.service` (who asks for it).

Not here: address arithmetic (`ipam`), what a driver puts into the kernel (`drivers`).
"""

__version__ = "0.1.0"
