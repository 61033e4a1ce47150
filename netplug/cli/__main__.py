"""`python -m netplug.cli` is `pynet`."""

from netplug.cli import main

main(prog_name="pynet")
