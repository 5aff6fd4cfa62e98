"""The command ``clusterscan download``: published catalogues, and the tables that masks name."""

from __future__ import annotations

import argparse
from pathlib import Path

from clusterscan.config.catalogs import DOWNLOADS
from clusterscan.core.errors import ClusterscanError


def run(args: argparse.Namespace) -> None:
    """Download the kinds of catalogues in ``args.kind``, and the tables of ``args.config``.

    Raises
    ------
    ClusterscanError
        If neither is named, or a file cannot be downloaded.
    """
    from clusterscan.known.download import download

    if not args.kind and args.config is None:
        raise ClusterscanError("name kinds of catalogues, or --config FILE")
    folder = Path(args.folder or DOWNLOADS).expanduser()
    for kind in args.kind:
        print(download(kind, folder))
    if args.config is not None:
        from clusterscan.commands.sync.masks import fetch_tables
        from clusterscan.config.load import load_config

        for line in fetch_tables(load_config([args.config])):
            print(line)
