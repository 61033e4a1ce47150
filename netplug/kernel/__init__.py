"""The host's kernel behind `netplug.contract.kernel`: netlink, /proc/sys, iptables, namespaces.

    kernel = LinuxKernel(instance)
    await kernel.open()
    await kernel.apply(Create(Bridge(name="py-1", policy=LinkPolicy.NONE)))

The privileged side of the embedded DNS, `netplug.contract.names`, is `resolver.Resolver`.

Not here: what should exist (`drivers`), and in which order (`netplug.plan`).
"""
