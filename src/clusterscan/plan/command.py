"""The command ``clusterscan plan``."""

from __future__ import annotations

import argparse
from pathlib import Path

from clusterscan import sky
from clusterscan.config.load import load_config
from clusterscan.plan.measured import measured
from clusterscan.plan.rates import Rates, calibrate, read_rates
from clusterscan.plan.table import plan_text
from clusterscan.plan.work import plan, planned_downloads


def run(args: argparse.Namespace) -> None:
    """Print what the run of a configuration takes, beside what it has taken."""
    config = load_config([args.config])
    rates = calibrate(config, read_rates(args.rates) if args.rates else Rates())
    if args.save_rates:
        args.save_rates.write_text(rates.model_dump_json(indent=1) + "\n", encoding="utf-8")
    tiles = config.sky.tiles()
    print(
        plan_text(
            plan(config, rates),
            measured(Path(config.output)),
            tiles=len(tiles),
            blocks=len(config.sky.blocks()),
            area_deg2=len(tiles) * sky.cell_area_deg2(config.sky.tile_order),
            cores=args.cores,
            device=rates.device,
            downloads=planned_downloads(config),
            download_mb_s=rates.download_mb_s,
        )
    )
