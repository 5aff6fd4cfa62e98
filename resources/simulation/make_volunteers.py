"""Write the simulated volunteers' votes on a run's candidates as a Zooniverse export.

``python resources/simulation/make_volunteers.py CONFIG OUTPUT`` after the run has its catalogues;
OUTPUT/votes.csv is the export, OUTPUT/experts.csv the experts' classes of the common candidates.
Every row of the export says that it is simulated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clusterscan.config.load import load_config
from clusterscan.formats.tables import read_table
from clusterscan_studies.simulate.volunteers import votes, write_export


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--catalogue", default="candidates", help="its name in the config")
    args = parser.parse_args()
    config = load_config([args.config])
    table = read_table(Path(config.output, "catalogs", f"{args.catalogue}.parquet"))
    said = votes(table, seed=config.seed, settings=config.simulation.volunteers)
    args.output.mkdir(parents=True, exist_ok=True)
    write_export(args.output / "votes.csv", said)
    common = table.loc[table["common"] == 1, ["name", "expert"]]
    named = common.assign(expert=common["expert"].map({0: "other", 1: "cluster"}))
    named.columns = ["object_id", "class"]
    named.to_csv(args.output / "experts.csv", index=False, lineterminator="\n")
    print(f"{len(said)} votes on {len(table)} candidates, {len(named)} of them common")


if __name__ == "__main__":
    main()
