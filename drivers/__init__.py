"""Network drivers: pure planners, one folder each, one row each in `netplug.wiring`.

    objects = BridgeDriver().plan_network(network, view)

What they have in common lies beside the folders: how options are read (`drivers.options`), what
follows from subnets (`drivers.subnets`), what links are called (`drivers.links`).

Not here: applying what they plan (`netplug.service.converge`).
"""
