"""Each extra's part of the page: read what it is made from, compute, draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clusterscan_studies.config.extras import ProbabilityMapSettings, RosatFieldSettings
from clusterscan_studies.config.study import RunDataset
from clusterscan_studies.examples import read_dataset
from clusterscan_studies.extras import maps_page, probability_maps, rosat_field, rosat_page
from clusterscan_studies.results import first_repeat
from clusterscan_studies.sources import base_config

Progress = Callable[[float, float, str], None]
Page = Callable[[Path, Mapping[str, Any], Progress], dict[str, Any]]
"""(study's folder, settings, progress) -> title, lead, pictures, and a table's header and rows."""


def maps_part(root: Path, stage: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Return small maps of probability around clusters, random fields and stars."""
    pictures = []
    for name, values in stage["settings"].items():
        settings = ProbabilityMapSettings(**values)
        dataset = RunDataset(**stage["datasets"][name])
        config, survey = base_config(dataset), dataset.surveys[0]
        examples = read_dataset(root, root / "examples" / f"{name}.json")
        fields = probability_maps.choose_fields(examples, settings, config.sky.tile_order)
        images = list(probability_maps.tile_images(config, survey, fields))
        networks = {stage["titles"][key]: first_repeat(root, key) for key in settings.experiments}
        found = probability_maps.map_fields(images, fields, networks, settings, progress)
        unit = config.surveys[survey].unit
        shown = (dataset.title, fields, found["images"], found["maps"], settings.side_arcmin, unit)
        pictures += maps_page.map_pictures(*shown)
    return {
        "title": "Probability maps",
        "lead": "One crop for each position, of the first repeat's networks.",
        "pictures": [asdict(picture) for picture in pictures],
        "header": [],
        "rows": [],
    }


def rosat_part(root: Path, stage: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Return what a network of simulated X-ray images makes of a real field."""
    settings = RosatFieldSettings.model_validate(stage["settings"])
    field = rosat_field.read_field(settings)
    progress(1, 4, "mapping the field")
    folder = first_repeat(root, settings.experiment)
    values = rosat_field.probability_map(field, folder, settings.step_px)
    known = rosat_field.known_clusters(field, settings)
    clusters = rosat_field.judged_clusters(field, values, known, settings)
    pixel_arcmin = field.image.pixel_scale_arcsec / 60.0
    found = rosat_field.with_partners(
        rosat_field.peaks(field, values, settings), clusters, pixel_arcmin, settings.match_arcmin
    )
    title = stage["titles"][settings.experiment]
    rows = rosat_page.field_rows(clusters)
    picture = rosat_page.field_picture(title, field, values, clusters, found)
    return {
        "title": "A real field",
        "lead": rosat_page.field_summary(clusters, found),
        "pictures": [asdict(picture)],
        "header": list(rows[0]) if rows else [],
        "rows": [list(row.values()) for row in rows],
    }


PAGES: dict[str, Page] = {"probability_maps": maps_part, "rosat_field": rosat_part}
