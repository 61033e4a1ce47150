"""What should exist in the kernel, what does, and the steps between the two. Pure; no I/O.

    plan = diff(desired=driver.plan_network(network, view), observed=await kernel.look(keys))
    for step in plan.steps:
        await kernel.apply(step)

Not here: reading or changing the kernel (`netplug.kernel`), deciding what is desired (`drivers`).
"""
