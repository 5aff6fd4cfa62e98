"""The folder to hand on is whole, the same every time, and says what it is."""

import json
import re
import subprocess

import pytest
import yaml
from pydantic import ValidationError
from rocrate.rocrate import ROCrate

from clusterscan.config.publish import PublishSettings
from clusterscan.core.checksums import read_checksums
from clusterscan.formats.catalogue_columns import catalogue_columns
from clusterscan.publish.citation import Citation, cff_text, citation_line, datacite
from clusterscan.publish.crate import Source
from clusterscan.publish.published import Contents, write_published
from clusterscan.publish.release import Release

MODELS = [("act", "net")]
NASTY = "A | sky <script>alert(1)</script>\n# heading; '; DROP TABLE--"
PRODUCTS = (
    "catalogue/clusters.fits",
    "catalogue/hats/collection.properties",
    "catalogue/hats/clusters/dataset/Norder=0/Dir=0/Npix=4.parquet",
    "maps/act/net/properties",
    "maps/act/net/Moc.fits",
    *(f"maps/act/net/Norder{n}/Dir0/Npix{4432 // 4 ** (5 - n)}.fits" for n in range(6)),
    "models/act-net/model.json",
    "validation/validation.json",
    "selection/selection.json",
)
STRAYS = ("catalogue/notes.txt", "models/act-net/roc.png", "maps/act/net/Norder5/Dir0/Npix1.fits")


def contents(title="A sky", doi="", creators=("The clusterscan developers", "Zwicky, Fritz")):
    release = Release("0.1.0", title, 7, 33.57, True)
    return Contents(
        citation=Citation(title, release, creators, "CC-BY-4.0", doi, 3),
        columns=catalogue_columns(MODELS, ["sz"], simulated=True),
        config={"title": title, "seed": 7},
        models=MODELS,
        map_tiles=dict.fromkeys(MODELS, (4432,)),
        sources=[Source("survey-act", "ACT", "simulated images", "ab" * 32)],
        versions={"clusterscan": "0.1.0", "astropy": "8.0"},
        report="<!doctype html><title>x</title>",
        summary={"headline": ["3 objects <b>found</b>"], "stages": {}},
    )


@pytest.fixture
def root(tmp_path):
    for name in (*PRODUCTS, *STRAYS):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return tmp_path / "results"


def publish(root, limit=1.0, **changes):
    write_published(root, contents(**changes), maps_max_gib=limit)
    return root / "published"


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")
            if p.is_file()}  # fmt: skip


def test_sha256sum_accepts_the_checksums_which_name_every_file_but_themselves(root):
    folder = publish(root)
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(read_checksums(folder / "SHA256SUMS")) == present - {"SHA256SUMS"}
    assert present >= set(PRODUCTS)
    assert not present & set(STRAYS)


def test_publishing_again_changes_no_byte_and_leaves_nothing_of_the_folder_before(root):
    first = files(publish(root))
    (root / "published/old.txt").write_text("of an earlier run")
    assert files(publish(root)) == first
    assert not list(root.glob(".published*"))


def test_no_date_is_the_clocks(root):
    folder = publish(root)
    for path in folder.rglob("*.*"):
        if path.is_file():
            dates = set(re.findall(r"\b20\d\d-\d\d-\d\d\b", path.read_text(encoding="utf-8")))
            assert dates <= {"2026-01-01"}, path


def test_products_cost_no_room_and_outlive_their_replacement(root):
    folder = publish(root)
    assert (folder / PRODUCTS[0]).samefile(root / PRODUCTS[0])
    (root / PRODUCTS[0]).unlink()
    (root / PRODUCTS[0]).write_text("of the next run")
    assert (folder / PRODUCTS[0]).read_text() == f"content of {PRODUCTS[0]}"


def test_a_product_that_is_a_link_becomes_a_file_of_the_folder(root, tmp_path):
    (tmp_path / "elsewhere.fits").write_text("rows")
    (root / PRODUCTS[0]).unlink()
    (root / PRODUCTS[0]).symlink_to(tmp_path / "elsewhere.fits")
    folder = publish(root)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert (folder / PRODUCTS[0]).read_text() == "rows"


def test_maps_beyond_the_limit_are_left_out_and_the_readme_says_so(root):
    folder = publish(root, limit=0.0)
    assert not (folder / "maps").exists()
    readme = (folder / "README.md").read_text()
    assert "publish.maps_max_gib" in readme
    assert "| `maps/` |" not in readme
    assert "publish.maps_max_gib" not in (publish(root) / "README.md").read_text()


def test_the_readme_says_what_is_simulated_every_column_the_area_and_how_to_cite(root):
    readme = (publish(root, doi="10.5281/zenodo.1") / "README.md").read_text()
    assert "**SIMULATED SKY.**" in readme
    assert "33.570000 deg²" in readme
    assert "version 0.1.0, doi:10.5281/zenodo.1" in readme
    for column in contents().columns:
        assert f"| `{column.name}` |" in readme


def test_a_title_with_markup_and_quotes_breaks_no_file(root):
    folder = publish(root, title=NASTY)
    readme = (folder / "README.md").read_text()
    assert "<script>" not in readme
    assert "<b>" not in readme
    assert "\n# heading" not in readme
    assert yaml.safe_load((folder / "config.yaml").read_text())["title"] == NASTY
    assert NASTY in yaml.safe_load((folder / "CITATION.cff").read_text())["title"]
    assert NASTY in json.loads((folder / "datacite.json").read_text())["titles"][0]["title"]
    assert NASTY in ROCrate(folder).name


def test_the_crate_names_files_that_exist_with_their_sums_and_what_made_them(root):
    folder = publish(root)
    crate = ROCrate(folder)
    sums = read_checksums(folder / "SHA256SUMS")
    listed = {e.id: e for e in crate.data_entities}
    assert {"catalogue/clusters.fits", "catalogue/hats/", "maps/act/net/"} <= set(listed)
    for name, entity in listed.items():
        assert (folder / name).exists()
        if not name.endswith("/"):
            assert entity["sha256"] == sums[name]
            assert int(entity["contentSize"]) == (folder / name).stat().st_size
    run = crate.get("#run")
    assert run.type == "CreateAction"
    assert run["instrument"]["version"] == "0.1.0"
    assert {e.id for e in run["object"]} == {"config.yaml", "#survey-act"}
    assert crate.get("#survey-act")["identifier"] == f"sha256:{'ab' * 32}"
    root_entity = crate.root_dataset
    # What RO-Crate requires of the root besides its type.
    assert all(root_entity[key] for key in ("name", "description", "datePublished", "license"))
    assert root_entity["datePublished"] == "2026-01-01"


def test_people_and_organisations_are_cited_as_what_they_are():
    citation = contents(doi="10.5281/zenodo.1").citation
    cff = yaml.safe_load(cff_text(citation))
    assert cff["authors"] == [
        {"name": "The clusterscan developers"},
        {"family-names": "Zwicky", "given-names": "Fritz"},
    ]
    assert cff["date-released"] == "2026-01-01"
    assert (cff["type"], cff["doi"]) == ("dataset", "10.5281/zenodo.1")
    person = datacite(citation)["creators"][1]
    assert person == {
        "name": "Zwicky, Fritz", "nameType": "Personal", "familyName": "Zwicky",
        "givenName": "Fritz",
    }  # fmt: skip
    assert citation_line(citation).startswith("The clusterscan developers; Zwicky, Fritz (2026): ")


def test_datacite_has_all_that_its_schema_requires():
    metadata = datacite(contents().citation)
    # The mandatory properties of the DataCite Metadata Schema 4.5 but the DOI, which comes later.
    required = {"creators", "titles", "publisher", "publicationYear", "types", "schemaVersion"}
    assert required <= set(metadata)
    assert metadata["types"]["resourceTypeGeneral"] == "Dataset"
    assert re.fullmatch(r"\d{4}", metadata["publicationYear"])
    assert "doi" not in metadata


@pytest.mark.parametrize(
    "line", ["short  a.txt", f"{'a' * 64}  ../../etc/passwd", f"{'a' * 64}  /etc/passwd", "a" * 64]
)
def test_checksums_that_lead_out_of_their_folder_or_are_none_are_refused(tmp_path, line):
    (tmp_path / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(ValueError, match="line 1"):
        read_checksums(tmp_path / "SHA256SUMS")


def test_a_network_that_the_configuration_no_longer_has_is_not_handed_on(root):
    for name in ("models/act-former/model.json", "models/networks.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    folder = publish(root)
    assert (folder / "models/networks.csv").is_file()
    assert [p.parent.name for p in sorted(folder.glob("models/*/model.json"))] == ["act-net"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"release_date": "2026-02-30T00:00Z"}, "not a valid date"),
        ({"release_date": "2026-01-01T25:00Z"}, "not a valid date and time"),
        ({"creators": ["Zwicky, Fritz", " "]}, "a creator has no name"),
        ({"hats_margin_arcsec": 1e-6}, "hats_margin_arcsec"),
    ],
)
def test_settings_that_no_citation_or_catalogue_can_be_made_of_are_refused(setting, message):
    with pytest.raises(ValidationError, match=message):
        PublishSettings(**setting)
