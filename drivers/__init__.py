"""Network drivers: pure planners, one folder each, one row each in `netplug.wiring`.

    objects = BridgeDriver().plan_network(network, view)

Not here: applying what they plan (`netplug.service.converge`).
"""
