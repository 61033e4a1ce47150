"""Pynet against Docker's own bridge driver, in one dockerd: `python -m integration.bench`.

`python -m integration.bench ports` measures published ports, `python -m integration.bench dns` the
embedded DNS, `python -m integration.bench macvlan` starts on the host's own network; those modules
tell how.

The two take turns, operation by operation, so that what else the machine does meets both. A figure
is the median over the runs; a goal is a ratio of two medians of the same run. For the eyes of a
person: it exits 0 whatever the figures are, and no check of the project runs it.

Not here: throughput, which is not measured yet.
"""
