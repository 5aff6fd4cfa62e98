"""Plans against counts made by hand, and against what a run has noted."""

import json
from pathlib import Path

import pytest
import yaml

from clusterscan.commands.cli import main
from clusterscan.commands.plan.command import measured, plan_text, size
from clusterscan.commands.plan.rates import (
    NetworkRate,
    Rates,
    StageRate,
    calibrate,
    forward_s,
    read_rates,
    training_s,
)
from clusterscan.commands.plan.work import (
    ExampleEstimate,
    estimate_examples,
    image_megapixels,
    plan,
    planned_downloads,
)
from clusterscan.config.load import load_config, validated
from clusterscan.config.model import Config
from clusterscan.core import sky
from clusterscan.core.errors import ConfigError
from clusterscan.flow.footprint import run_blocks
from clusterscan.flow.stage_settings import StageSettings

MINI = Path(__file__).resolve().parents[1] / "mini.yaml"
RATE = NetworkRate(crop_s=0.001, megapixel_s=2.0, parameters=1000)
FREE = StageRate(tile_s=0.0)
NOTHING = dict.fromkeys(
    ("fetch", "preprocess", "sample", "filter", "detect", "whole_sky"), FREE
)  # fmt: skip


@pytest.fixture(scope="module")
def config():
    return load_config([MINI])


def rates(**options):
    return Rates(**{"networks": {"act/baseline": RATE}, "job_s": 0.0, **NOTHING} | options)


def stages(config, given):
    return {p.stage: p for p in plan(config, given)}


def test_jobs_and_tiles_are_those_of_the_workflow(config):
    """Four tiles in one survey: a network and a filter; two catalogues."""
    blocks = len(run_blocks(config.sky))
    found = stages(config, rates())
    assert found["fetch"].jobs == blocks + 2
    assert found["preprocess"].jobs == found["sample"].jobs == blocks
    assert found["scan"].jobs == found["detect"].jobs == 2 * blocks
    assert found["train"].jobs == found["merge"].jobs == found["publish"].jobs == 1
    assert [found[s].tiles for s in ("fetch", "scan", "detect")] == [4, 8, 8]


def test_a_dense_scan_takes_its_pixels_times_the_rate_and_a_windowed_one_its_positions(config):
    pixels = image_megapixels(config, "act", raw=False)
    assert stages(config, rates())["scan"].cpu_h == pytest.approx(4 * 2.0 * pixels / 3600)
    whole = RATE.model_copy(update={"megapixel_s": None})
    windowed = stages(config, rates(networks={"act/baseline": whole}))["scan"]
    positions = 4 ** (config.sky.map_order - config.sky.tile_order)
    assert windowed.cpu_h == pytest.approx(4 * 0.001 * positions / 3600)


def test_maps_take_five_bytes_a_pixel_and_a_third_more_for_lower_orders(config):
    positions = 4 ** (config.sky.map_order - config.sky.tile_order)
    expected = 2 * 4 * positions * 5 * 4 / 3
    assert stages(config, rates())["scan"].disk_gib * 2**30 == pytest.approx(expected)


def test_a_tile_image_is_at_least_its_own_sky(config):
    from clusterscan.core import sky

    own = sky.cell_area_deg2(6) * (3600 / 40.0) ** 2 / 1e6
    image = image_megapixels(config, "act", raw=False)
    raw = image_megapixels(config, "act", raw=True)
    assert own < image <= raw < 12 * own


def test_starting_jobs_costs_its_share_and_simulated_sky_needs_no_download(config):
    with_start = stages(config, rates(job_s=3600.0))
    assert with_start["merge"].cpu_h == pytest.approx(1.0)
    assert all(p.download_gib == 0 for p in with_start.values())


def test_training_costs_three_forward_passes_an_example():
    assert training_s(RATE, 100) == pytest.approx(0.3)


def test_the_shipped_run_shows_about_as_many_examples_as_it_was_seen_to():
    """Of its training, as it ran: 418 and 417 positives, 2 negatives for each in an epoch."""
    shipped = load_config([MINI.parents[1] / "config.yaml"])
    for name, positives, total in (("unwise", 418, 2090 + 632 + 825), ("act", 417, 2030)):
        survey = shipped.surveys[name]
        counts = estimate_examples(shipped, survey)
        shown = counts.of_an_epoch(survey.models["resnet18"])
        assert shown == pytest.approx(3 * positives, rel=0.2)
        assert counts.total == pytest.approx(total, rel=0.3)
        assert counts.train == pytest.approx(9 / 16)


def test_an_epoch_shows_what_the_settings_of_training_say(config):
    model = config.surveys["act"].models["baseline"]
    counts = ExampleEstimate(100.0, 900.0, 0.5, 0.2)

    def shown(**values):
        train = model.train.model_copy(update=values)
        return counts.of_an_epoch(model.model_copy(update={"train": train}))

    assert shown(negatives_per_positive=4.0) == 0.5 * 100 * 5
    assert shown(negatives_per_positive=None) == 0.5 * 1000
    assert shown(negatives_per_positive=1.0, least_examples_per_epoch=5000) == 5000


def test_a_measured_training_step_counts_and_judging_is_a_third_of_it():
    timed = RATE.model_copy(update={"train_s": 0.012})
    assert training_s(timed, 10) == pytest.approx(0.12)
    assert forward_s(timed, 10) == pytest.approx(0.04)


def source(config, **values):
    """Return the mini configuration with another source of its survey."""
    text = yaml.safe_load(MINI.read_text(encoding="utf-8"))
    survey = text["surveys"]["act"]
    survey |= {"bands": ["f"], "beam_fwhm_arcsec": [120.0], "source": values, "filter": None}
    text["output"] = "runs/never_made"
    return validated(Config, text, {})


ATLAS = {"table": "http://s/tiles.fits", "size_px": 100, "pixel_scale_arcsec": 36.0}


def test_downloads_are_estimated_for_every_source_on_servers(config):
    hips = source(config, kind="hips", trees={"f": "http://s/t"})
    raw = image_megapixels(hips, "act", raw=True)
    (found,) = planned_downloads(hips)
    assert found.gib == pytest.approx(4 * raw * 4e6 / 2**30)
    (found,) = planned_downloads(source(config, kind="hips2fits", hips={"f": "CDS/P/x"}))
    assert found.files == 4
    assert found.gib == pytest.approx(4 * raw * 4e6 / 2**30)
    assert planned_downloads(source(config, kind="hips", trees={"f": "folder"})) == []
    one = {"f": {"image": "http://s/map.fits"}}
    (found,) = planned_downloads(source(config, kind="archive", files=one))
    assert (found.files, found.gib) == (1, 0.0)
    assert "SIZE UNKNOWN" in str(found)
    one["f"]["megabytes"] = {"image": 1073.741824}
    (found,) = planned_downloads(source(config, kind="archive", files=one))
    assert found.gib == pytest.approx(1.0)


def test_before_sync_an_atlas_is_estimated_by_its_area(config):
    files = {"f": {"image": "http://s/{tile}.fits"}}
    (found,) = planned_downloads(source(config, kind="archive", files=files, atlas=ATLAS))
    area = 4 * sky.cell_area_deg2(6)  # images of 1 deg2
    assert area < found.files < 8 * area  # four tiles of 0.84 deg2 are mostly border
    assert found.gib == pytest.approx(found.files * 100**2 * 4 / 2**30)
    assert "by area" in found.how


def test_sizes_for_the_plan_rerun_nothing(config):
    files = {"f": {"image": "http://s/map.fits"}}
    plain = source(config, kind="archive", files=files)
    files["f"]["megabytes"] = {"image": 7.0}
    sized = source(config, kind="archive", files=files)
    assert StageSettings(plain).fetch("act").text() == StageSettings(sized).fetch("act").text()


def test_this_machine_is_timed_for_networks_that_no_rates_are_given_of(config):
    timed = calibrate(config, Rates(), "cpu")
    rate = timed.networks["act/baseline"]
    assert rate.crop_s > 0
    assert rate.train_s > 0
    assert rate.megapixel_s is not None
    assert rate.parameters > 1000
    given = calibrate(config, rates(), "cpu")
    assert given.networks["act/baseline"] == RATE


def test_rates_come_back_from_their_file_and_other_files_are_refused(tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(rates().model_dump_json())
    assert read_rates(path) == rates()
    path.write_text('{"scan": 3}')
    with pytest.raises(ConfigError, match=r"(?s)rates\.json: no file of rates.*--save-rates"):
        read_rates(path)


def test_what_a_run_noted_stands_beside_the_plan(config, tmp_path):
    (tmp_path / "costs").mkdir()
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.fits").write_bytes(bytes(2**20))
    cost = {"stage": "scan", "key": "act/baseline", "block": 1, "wall_s": 9.0, "cpu_s": 7200.0}
    for block in (1, 2):
        (tmp_path / "costs" / f"scan-{block}.json").write_text(
            json.dumps(cost | {"peak_mib": 512.0 * block})
        )
    costs = measured(tmp_path)
    assert costs["scan"].jobs == 2
    assert costs["scan"].cpu_h == pytest.approx(4.0)
    assert costs["scan"].peak_gib == pytest.approx(1.0)
    text = plan_text(plan(config, rates()), costs, cores=2, device="cpu")
    (row,) = [line for line in text.splitlines() if line.startswith("scan")]
    assert "4.000" in row
    assert "1.0 MiB" in row
    assert "1.0 GiB" in row
    assert measured(tmp_path / "nothing") == {}


def test_sizes_are_for_people():
    assert [size(g) for g in (0, 0.5, 3.25, 2048, 1e-5)] == [
        "-", "512.0 MiB", "3.2 GiB", "2.0 TiB", "< 1 MiB",
    ]  # fmt: skip


def test_the_command_prints_a_table_and_keeps_its_rates(tmp_path, capsys):
    given, kept = tmp_path / "given.json", tmp_path / "kept.json"
    given.write_text(rates().model_dump_json())
    main(["plan", str(MINI), "--rates", str(given), "--save-rates", str(kept), "--cores", "2"])
    said = capsys.readouterr().out
    assert "4 tiles in" in said
    assert "h on 2 cores" in said
    assert read_rates(kept) == rates()


@pytest.mark.parametrize("cores", ["0", "-1", "x"])
def test_no_cores_are_refused_as_for_a_run(cores, capsys):
    with pytest.raises(SystemExit):
        main(["plan", str(MINI), "--cores", cores])
    assert "is no number of cores; give 1 or more" in capsys.readouterr().err


def test_rates_that_cannot_be_written_end_the_command_with_their_file(tmp_path):
    given, lost = tmp_path / "given.json", tmp_path / "none" / "kept.json"
    given.write_text(rates().model_dump_json())
    with pytest.raises(SystemExit, match=r"kept\.json: cannot be read or written \(No such file"):
        main(["plan", str(MINI), "--rates", str(given), "--save-rates", str(lost)])
