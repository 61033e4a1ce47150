"""The use cases: what happens when somebody asks for a network, an endpoint or an address.

    await networks.create(network)      # record, plan, converge, record
    await reconciler.run()              # the same for everything, against a full inventory

Not here: HTTP (`netplug.api`), the kernel (`netplug.kernel`), which adapter is used (`wiring`).
"""
