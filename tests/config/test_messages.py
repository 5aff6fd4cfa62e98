"""A wrong configuration gives, for each fault, one line: place, key, what is wrong, the mending."""

from pathlib import Path

import pytest

from clusterscan.config.load import load_config
from clusterscan.core.errors import ConfigError

MINI = (Path(__file__).parents[1] / "mini.yaml").read_text(encoding="utf-8")


def fault_of(tmp_path, text):
    """Return the message for a configuration and the file it names."""
    file = tmp_path / "my.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config([file])
    return str(caught.value).replace(str(file), "my.yaml")


def changed(old, new):
    assert MINI.count(old) == 1, f"{old!r} stands {MINI.count(old)} times"
    return MINI.replace(old, new)


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


CONE = "{kind: cone, ra_deg: 370, dec_deg: -40, radius_deg: 1}"
CELLS = "{kind: cells, order: 6, ipix: [17681, 17683, 17684, 17686]}"
FAULTS = {  # what stands in the file, what is written instead, where the line is found, the message
    "a misspelt section": (
        "detect:\n", "detekt:\n", "detekt",
        "detekt: no such setting; did you mean 'detect'?",
    ),
    "a misspelt key": (
        "  radius_arcmin: 2.5", "  radius_arcmn: 2.5", "radius_arcmn",
        "merge.radius_arcmn: no such setting; did you mean 'radius_arcmin'?",
    ),
    "a misspelt key in the section validate": (
        "n_bootstrap", "n_boostrap", "n_boostrap",
        "validate.n_boostrap: no such setting; did you mean 'n_bootstrap'?",
    ),
    "a misspelt key that is also missing": (
        "exclusion_arcmin", "exclusion_arcmim", "exclusion_arcmim",
        "surveys.act.sample.exclusion_arcmim: no such setting; "
        "did you mean 'exclusion_arcmin'?",
    ),
    "a key in another unit": (
        "  radius_arcmin: 2.5", "  radius_arcsec: 150", "radius_arcsec",
        "merge.radius_arcsec: no such setting; did you mean 'radius_arcmin'? "
        "(the unit is arcmin)",
    ),
    "a key without its unit": (
        CELLS, "{kind: cone, ra: 30, dec_deg: 1, radius_deg: 1}", "ra: 30",
        "sky.footprint.ra: no such setting; did you mean 'ra_deg'? (the unit is deg)",
    ),
    "a key like no other": (
        "scan: {step_px: 4}", "scan: {zzz: 4}", "zzz",
        "surveys.act.scan.zzz: no such setting; the settings here are batch_size, "
        "coarse_probability, coarse_step_px, compile_network, device, engine, "
        "min_valid_fraction, precision, step_px, threads",
    ),
    "text for a number": (
        "tile_order: 6", "tile_order: six", "tile_order",
        "sky.tile_order: should be a valid integer, unable to parse string as an integer "
        "(got 'six')",
    ),
    "a fraction for a whole number": (
        "epochs: 1", "epochs: 1.5", "epochs",
        "surveys.act.models.baseline.train.epochs: should be a valid integer, "
        "got a number with a fractional part (got 1.5)",
    ),
    "a number for a section": (
        "merge:\n  radius_arcmin: 2.5", "merge: 2.5", "merge",
        "merge: should be a section of indented lines `key: value` (got 2.5)",
    ),
    "a section left empty": (
        "merge:\n  radius_arcmin: 2.5", "merge:", "merge",
        "merge: has no value; give one, or remove the line",
    ),
    "text for a list": (
        "bands: [f090, f150, f220]", "bands: f090", "bands",
        "surveys.act.bands: should be a list, such as [a, b] (got 'f090')",
    ),
    "a date for a title": (
        "title: A mini sky", "title: 2026-01-01", "title",
        "title: should be text; put it in quotes (got 2026-01-01)",
    ),
    "a value out of range": (
        "tile_order: 6", "tile_order: 60", "tile_order",
        "sky.tile_order: should be less than or equal to 12 (got 60)",
    ),
    "a negative radius": (
        "  radius_arcmin: 2.0", "  radius_arcmin: -2.0", "radius_arcmin: -2",
        "detect.radius_arcmin: should be greater than 0 (got -2.0)",
    ),
    "no number": (
        "  radius_arcmin: 2.0", "  radius_arcmin: .nan", "radius_arcmin: .nan",
        "detect.radius_arcmin: should be a finite number (got nan)",
    ),
    "an infinite number": (
        "  radius_arcmin: 2.0", "  radius_arcmin: .inf", "radius_arcmin: .inf",
        "detect.radius_arcmin: should be a finite number (got inf)",
    ),
    "an RA of 370 degrees": (
        CELLS, CONE, "ra_deg: 370", "sky.footprint.ra_deg: should be less than 360 (got 370)",
    ),
    "a missing setting": (
        "    unit: uK_CMB\n", "", "act:",
        "surveys.act.unit: this setting is missing; add it (unit of a pixel value)",
    ),
    "an unknown kind": (
        "kind: matched", "kind: matchd", "kind: matchd",
        "surveys.act.filter.kind: 'matchd' is not one of matched, multiscale; "
        "did you mean 'matched'?",
    ),
    "an unknown kind that is like no other": (
        "kind: highpass", "kind: fourier", "kind: fourier",
        "surveys.act.preprocess.background.kind: 'fourier' is not one of none, median, highpass",
    ),
    "a missing kind": (
        "{kind: simulated, sky: microwave}", "{sky: microwave}", "source",
        "surveys.act.source.kind: this setting is missing; "
        "give one of simulated, mosaic, hips, local, archive, hips2fits, "
        "cutouts",
    ),
    "a fault within one of several kinds": (
        "selection: richness", "selection: rich", "selection: rich",
        "catalogs[1].selection: should be 'truth', 'sz', 'richness' or 'candidates' (got 'rich')",
    ),
    "a word where a number or another word may stand": (
        "learning_rate: 0.003", "learning_rate: fast", "learning_rate",
        "surveys.act.models.baseline.train.learning_rate: should be 'range_test' or should be a "
        "valid number, unable to parse string as a number (got 'fast')",
    ),
    "a list that is too short": (
        "{n_bootstrap: 20, curve_points: 20}", "{completeness_cut: {z: [0.1]}}", "z: [0.1]",
        "validate.completeness_cut.z: too few values; give at least 2",
    ),
    "an impossible name": (
        "  act:", "  act-dr6:", "act-dr6",
        "surveys.act-dr6: 'act-dr6' is not a valid name; use only letters, digits and _ "
        "(got 'act-dr6')",
    ),
    "a folder elsewhere": (
        "output: results", "output: ../results", "output",
        "output: give a folder without '..' (got '../results')",
    ),
    "blocks finer than tiles": (
        "block_order: 4", "block_order: 7", "sky:",
        "sky: block_order = 7 is finer than tile_order = 6; a block holds whole tiles, "
        "so lower it",
    ),
    "maps too fine": (
        "map_order: 11", "map_order: 20", "sky:",
        "sky: map_order - tile_order = 14 gives map tiles of 16384 pixels a side; choose orders "
        "5 to 10 apart (9 is the HiPS standard of 512)",
    ),
    "a network larger than its examples": (
        "      size_px: 16\n      random", "      size_px: 8\n      random", "act:",
        "surveys.act: models.baseline.network.size_px = 16 is larger than the examples, "
        "sample.size_px = 8; raise the latter",
    ),
    "a scan step that does not divide the stride": (
        "step_px: 4", "step_px: 3", "act:",
        "surveys.act: scan.step_px = 3 does not divide models.baseline.network.output_stride "
        "= 4; give 2",
    ),
    "a test region outside the footprint": (
        "test: [17686]", "test: [5]", "sky:",
        "sky: regions.test = [5]: none of these cells of order 6 lies in the footprint; "
        "choose cells inside",
    ),
    "a filter for other bands": (
        "      frequencies_ghz: [97.8, 149.6, 216.0]\n      beam_fwhm_arcmin: [2.0, 1.4, 1.0]",
        "      frequencies_ghz: [97.8, 149.6]\n      beam_fwhm_arcmin: [2.0, 1.4]", "act:",
        "surveys.act: filter.frequencies_ghz has 2 values for 3 bands "
        "['f090', 'f150', 'f220']; give one each",
    ),
    "examples of a catalogue that is not there": (
        "      exclusion_arcmin: 3.0", "      exclusion_arcmin: 3.0\n      catalogues: [sz]",
        "catalogues: [sz]", "surveys.act.sample.catalogues: ['sz'] are not catalogues of "
        "role 'known'; choose from ['richness']",
    ),
    "a key that stands twice": (
        "seed: 3\n", "seed: 3\nseed: 4\n", "seed: 4",
        "seed is set twice (first in line 4); YAML would silently keep the last one, so remove one",
    ),
    "a list that is not closed": (
        "bands: [f090, f150, f220]", "bands: [f090, f150, f220", "unit",
        "not valid YAML: expected ',' or ']', but got ':'",
    ),
    "a tab": (
        "  tile_order: 6", "\ttile_order: 6", "\ttile_order",
        "not valid YAML: found character '\\t' that cannot start any token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_in_one_line_with_its_place_and_its_mending(tmp_path, case):
    old, new, place, message = FAULTS[case]
    text = changed(old, new)
    assert fault_of(tmp_path, text) == f"my.yaml:{line_of(text, place)}: {message}"


def test_a_missing_section_is_named_with_its_meaning(tmp_path):
    text = MINI[: MINI.index("sky:")] + MINI[MINI.index("surveys:") :]
    assert fault_of(tmp_path, text) == (
        "my.yaml:2: sky: this setting is missing; add it "
        "(how the sky is cut, what is searched, and what is held out of the training)"
    )


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- a\n- b\n", "hello"])
def test_a_file_without_settings_says_where_to_start(tmp_path, text):
    assert fault_of(tmp_path, text) == (
        "my.yaml:1: holds no settings; start from the shipped config.yaml"
    )


def test_several_faults_give_a_line_each(tmp_path):
    text = changed("seed: 3", "seed: three").replace("detect:\n", "detekt:\n")
    assert len(fault_of(tmp_path, text).splitlines()) == 2


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read as text \(No such file"):
        load_config([tmp_path / "none.yaml"])
    (tmp_path / "image.yaml").write_bytes(b"\xff\xd8\x00")
    with pytest.raises(ConfigError, match=r"image\.yaml: cannot be read as text"):
        load_config([tmp_path / "image.yaml"])


def test_nothing_in_a_file_is_ever_executed(tmp_path):
    text = changed("title: A mini sky", "title: !!python/object/apply:os.getcwd []")
    assert "my.yaml:2: not valid YAML: could not determine a constructor" in fault_of(
        tmp_path, text
    )


def test_a_fault_on_the_command_line_is_named_too(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(MINI)
    with pytest.raises(ConfigError, match=r"merge\.radius_arcmn: no such setting; did you mean"):
        load_config([file], {"merge": {"radius_arcmn": 3}})


def test_later_files_and_the_command_line_win_key_by_key(tmp_path):
    (tmp_path / "a.yaml").write_text(MINI)
    (tmp_path / "b.yaml").write_text("merge: {known_radius_arcmin: 1.0}\nseed: 8\n")
    config = load_config([tmp_path / "a.yaml", tmp_path / "b.yaml"], {"seed": 9})
    assert (config.seed, config.merge.known_radius_arcmin, config.merge.radius_arcmin) == (
        9,
        1.0,
        2.5,
    )


@pytest.mark.parametrize("name", ["a{b}", "-x", ".", "./", '"a\\nb"'])
def test_an_output_that_snakemake_or_a_shell_would_misread_is_refused(tmp_path, name):
    fault = fault_of(tmp_path, changed("output: results", f"output: {name}"))
    assert fault.startswith("my.yaml:3: output: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      baseline:\n", "      Filter:\n"),
        ("name: richness,", "name: known,"),
        ("name: richness,", "name: truth,"),
    ],
)
def test_names_that_would_share_a_column_are_refused_before_anything_runs(tmp_path, old, new):
    text = changed(old, new)
    if "name: truth, role: known" in text:
        text = text.replace("name: truth, role: truth", "name: halos, role: truth")
    assert "two columns of the catalogue would be called" in fault_of(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("seed: 3", "seed: true", "seed"),
        ("tile_order: 6", "tile_order: true", "sky.tile_order"),
        ("[120.0, 84.0, 60.0]", "[120.0, true, 60.0]", "surveys.act.beam_fwhm_arcsec"),
        ("learning_rate: 0.003", "learning_rate: yes", "train.learning_rate"),
    ],
)
def test_true_is_no_number(tmp_path, old, new, key):
    fault = fault_of(tmp_path, changed(old, new))
    assert f"{key}: true and false are not numbers" in fault
    assert len(fault.splitlines()) == 1


def test_a_beam_without_width_is_refused(tmp_path):
    text = changed("beam_fwhm_arcsec: [120.0,", "beam_fwhm_arcsec: [-1,")
    assert "beam_fwhm_arcsec[0]: should be greater than 0 (got -1)" in fault_of(tmp_path, text)


@pytest.mark.parametrize("scale", ["1.0e-9", "1.0e+9"])
def test_a_pixel_size_that_no_tile_can_have_is_refused_before_anything_runs(tmp_path, scale):
    text = changed("pixel_scale_arcsec: 40.0", f"pixel_scale_arcsec: {scale}")
    fault = fault_of(tmp_path, text)
    line = line_of(text, "pixel_scale_arcsec")
    assert fault.startswith(f"my.yaml:{line}: surveys.act.pixel_scale_arcsec: tiles of order 6")


@pytest.mark.parametrize(
    "name", ["src", "./tests/", "docs/x", "workflow", ".git", "resources/runs"]
)
def test_a_run_is_not_written_among_the_project_s_own_files(tmp_path, name):
    fault = fault_of(tmp_path, changed("output: results", f"output: {name}"))
    assert fault.startswith("my.yaml:3: output: ")
    assert "holds the project's own files" in fault


@pytest.mark.parametrize(
    ("unit", "beams", "words"),
    [
        (
            "nanomaggy",
            "[2.0, 1.4, 1.0]",
            "an SZ signal is in uK_CMB, but the unit of the survey is nanomaggy",
        ),
        ("uK_CMB", "[2.0, 0, 1.0]", "beam_fwhm_arcmin[1]: should be greater than 0 (got 0)"),
    ],
)
def test_an_sz_signal_that_no_image_can_show_is_refused(tmp_path, unit, beams, words):
    signal = f"{{kind: sz, frequencies_ghz: [97.8, 149.6, 216.0], beam_fwhm_arcmin: {beams}}}"
    text = changed("unit: uK_CMB", f"unit: {unit}") + f"selection: {{signals: {{act: {signal}}}}}\n"
    assert words in fault_of(tmp_path, text)


def test_a_shift_that_loses_the_image_s_centre_is_refused(tmp_path):
    fault = fault_of(tmp_path, changed("shift_px: 1}", "shift_px: 60}"))
    assert "train.augmentation.shift_px is 60: images of size_px" in fault
