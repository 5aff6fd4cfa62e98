"""``python -m clusterscan``."""

from clusterscan.cli import main

main()
