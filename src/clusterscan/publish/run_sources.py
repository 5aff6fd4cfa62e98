"""What a run was made from, in words and with the sha256 of the state that was used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clusterscan.catalogs.published import LAYOUTS
from clusterscan.config.model import Config
from clusterscan.core.fingerprint import file_sha256, fingerprint
from clusterscan.flow.products import Products
from clusterscan.publish.crate import Source


def run_sources(config: Config, products: Products) -> list[Source]:
    """Return a run's surveys and catalogues, in the configuration's order."""
    return [*_surveys(config, products), *_catalogues(config, products)]


def _surveys(config: Config, products: Products) -> Iterator[Source]:
    for name, survey in config.surveys.items():
        source: dict[str, Any] = survey.source.model_dump(mode="json")
        # Of the tile images' bytes: a list of files would hold this machine's paths and times.
        records = products.records("preprocess", name)
        state = {str(tile): record.identity for tile, record in records.items()}
        text = f"{source.get('kind', '')} images, bands {', '.join(survey.bands)}, {survey.unit}"
        places = [str(source[k]) for k in ("url", "hips", "survey") if source.get(k)]
        yield Source(
            f"survey-{name}", survey.title or name, "; ".join([text, *places]), fingerprint(state)
        )


def _catalogues(config: Config, products: Products) -> Iterator[Source]:
    for catalogue in config.catalogs:
        layout = LAYOUTS.get(catalogue.kind)
        reference = f" ({layout.reference})" if layout and layout.reference else ""
        text = f"catalogue of the kind {catalogue.kind}{reference}, role {catalogue.role}"
        table = products.root / "catalogs" / f"{catalogue.name}.parquet"
        yield Source(f"catalogue-{catalogue.name}", catalogue.name, text, file_sha256(table))
