"""``python -m clusterscan``."""

from clusterscan.commands.cli import main

main()
