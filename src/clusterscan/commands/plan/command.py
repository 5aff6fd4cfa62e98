"""The command ``clusterscan plan``."""

from __future__ import annotations

import argparse
from pathlib import Path

from clusterscan.commands.plan.measured import measured
from clusterscan.commands.plan.rates import Rates, calibrate, read_rates
from clusterscan.commands.plan.table import plan_text
from clusterscan.commands.plan.work import plan, planned_downloads
from clusterscan.config.load import load_config
from clusterscan.core import sky
from clusterscan.flow.footprint import run_blocks, run_tiles


def run(args: argparse.Namespace) -> None:
    """Print what the run of a configuration takes, beside what it has taken."""
    config = load_config([args.config])
    rates = calibrate(config, read_rates(args.rates) if args.rates else Rates())
    if args.save_rates:
        args.save_rates.write_text(rates.model_dump_json(indent=1) + "\n", encoding="utf-8")
    tiles = run_tiles(config.sky)
    print(
        plan_text(
            plan(config, rates),
            measured(Path(config.output)),
            tiles=len(tiles),
            blocks=len(run_blocks(config.sky)),
            area_deg2=len(tiles) * sky.cell_area_deg2(config.sky.tile_order),
            cores=args.cores,
            device=rates.device,
            downloads=planned_downloads(config),
            download_mb_s=rates.download_mb_s,
        )
    )
