"""Job of a study: a trained network's map of the real ROSAT field of Abell 3158."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from clusterscan.config.study_rosat import RosatFieldSettings
from clusterscan.progress import Progress
from clusterscan.provenance.atomic import write_json
from clusterscan.stage import arguments, run_stage
from clusterscan.study.extras.rosat_field import (
    judged_clusters,
    known_clusters,
    peaks,
    probability_map,
    read_field,
    with_partners,
)
from clusterscan.study.extras.rosat_page import field_picture, field_rows, field_summary
from clusterscan.study.results import first_repeat


def main(args: argparse.Namespace, progress: Progress) -> None:
    """Look at the field with the network named by the arguments."""
    stage = args.settings["stage"]
    settings = RosatFieldSettings(**stage["rosat_field"])
    field = read_field(settings)
    progress(0, 1, "scanning")
    values = probability_map(field, first_repeat(args.root, settings.experiment), settings.step_px)
    clusters = judged_clusters(field, values, known_clusters(field, settings), settings)
    pixel = field.image.pixel_scale_arcsec / 60.0
    found = with_partners(
        peaks(field, values, settings), clusters, pixel, settings.match_arcmin
    )
    picture = field_picture(stage["title"], field, values, clusters, found)
    write_json(
        args.output,
        {
            "pictures": [asdict(picture)],
            "rows": field_rows(clusters),
            "summary": field_summary(clusters, found),
        },
    )
    progress(1, 1)


if __name__ == "__main__":
    run_stage(arguments("rosat_field", __doc__), main)
