"""Citation of the published data: CITATION.cff and DataCite metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from clusterscan.publish.release import Release

KEYWORDS = ("galaxy clusters", "sky surveys", "deep learning", "HEALPix")

#: Names of licences usual for data; others are named by their identifier.
LICENCES = {
    "CC-BY-4.0": "Creative Commons Attribution 4.0 International",
    "CC0-1.0": "Creative Commons Zero v1.0 Universal",
    "CC-BY-SA-4.0": "Creative Commons Attribution Share Alike 4.0 International",
}


@dataclass(frozen=True)
class Citation:
    """The facts that a citation needs.

    Attributes
    ----------
    title : str
        The run's title.
    release : Release
        Version, date, area, and True for a simulated sky.
    creators : sequence of str
        'Family, Given', or an organisation's name without a comma.
    license : str
        SPDX identifier.
    doi : str
        Empty if there is none.
    n_objects : int
        Rows of the catalogue.
    """

    title: str
    release: Release
    creators: Sequence[str]
    license: str
    doi: str
    n_objects: int

    @property
    def full_title(self) -> str:
        """Full title; it names a simulated sky."""
        warning = " (SIMULATED sky)" if self.release.simulated else ""
        return f"clusterscan catalogue of galaxy cluster candidates: {self.title}{warning}"

    @property
    def abstract(self) -> str:
        """One paragraph that describes the data."""
        sky = "simulated sky: no object in it exists" if self.release.simulated else "observed sky"
        return (
            f"{self.n_objects} galaxy cluster candidates that neural networks found on "
            f"{self.release.area_deg2:.6f} square degrees of {sky}, with calibrated "
            "probabilities, probability maps (HiPS) and provenance, by clusterscan "
            f"{self.release.version}."
        )

    @property
    def date(self) -> str:
        """Release date, YYYY-MM-DD."""
        return self.release.release_date[:10]

    @property
    def license_url(self) -> str:
        """URL of the licence text."""
        return f"https://spdx.org/licenses/{self.license}"


def person(creator: str) -> tuple[str, str] | None:
    """Return a person's family and given names, or None for an organisation."""
    # The comma decides: "Zwicky, Fritz" is a person, "clusterscan collaboration" is not.
    family, comma, given = (part.strip() for part in creator.partition(","))
    return (family, given) if comma and family and given else None


def cff_text(citation: Citation) -> str:
    """Return CITATION.cff (Citation File Format 1.2.0) of the data.

    References
    ----------
    Druskat et al. 2021, Citation File Format 1.2.0, doi:10.5281/zenodo.5171937.
    """
    authors = []
    for creator in citation.creators:
        names = person(creator)
        authors.append(
            {"family-names": names[0], "given-names": names[1]} if names else {"name": creator}
        )
    content = {
        "cff-version": "1.2.0",
        "message": "If you use these data, please cite them as below.",
        "type": "dataset",
        "title": citation.full_title,
        "abstract": citation.abstract,
        "authors": authors,
        "version": citation.release.version,
        "date-released": citation.date,
        "license": citation.license,
        "keywords": list(KEYWORDS),
        **({"doi": citation.doi} if citation.doi else {}),
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def datacite(citation: Citation) -> dict[str, Any]:
    """Return the metadata for DataCite (schema 4, as JSON).

    References
    ----------
    DataCite Metadata Schema 4.5, doi:10.14454/g8e5-6293.
    """
    creators: list[dict[str, str]] = []
    for creator in citation.creators:
        names = person(creator)
        if names:
            creators.append(
                {
                    "name": f"{names[0]}, {names[1]}",
                    "nameType": "Personal",
                    "familyName": names[0],
                    "givenName": names[1],
                }
            )
        else:
            creators.append({"name": creator, "nameType": "Organizational"})
    rights = {
        "rights": LICENCES.get(citation.license, citation.license),
        "rightsIdentifier": citation.license,
        "rightsIdentifierScheme": "SPDX",
        "rightsUri": citation.license_url,
        "schemeUri": "https://spdx.org/licenses/",
    }
    return {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        **({"doi": citation.doi} if citation.doi else {}),
        "creators": creators,
        "titles": [{"title": citation.full_title, "lang": "en"}],
        # DataCite requires a publisher. Until an archive takes the data, that is the first creator.
        "publisher": {"name": citation.creators[0]},
        "publicationYear": citation.date[:4],
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Astronomical catalogue"},
        "subjects": [{"subject": word} for word in KEYWORDS],
        "dates": [{"date": citation.date, "dateType": "Issued"}],
        "language": "en",
        "version": citation.release.version,
        "rightsList": [rights],
        "descriptions": [{"description": citation.abstract, "descriptionType": "Abstract"}],
    }


def citation_line(citation: Citation) -> str:
    """Return the citation as one line of text."""
    names = "; ".join(citation.creators)
    end = f", doi:{citation.doi}" if citation.doi else ""
    return (
        f"{names} ({citation.date[:4]}): {citation.full_title}, "
        f"version {citation.release.version}{end}"
    )
