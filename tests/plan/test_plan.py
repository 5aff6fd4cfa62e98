"""Plans against counts made by hand, and against what a run has noted."""

import json
from pathlib import Path

import pytest

from clusterscan.cli import main
from clusterscan.config.load import load_config
from clusterscan.errors import ConfigError
from clusterscan.plan.measured import measured
from clusterscan.plan.rates import NetworkRate, Rates, StageRate, calibrate, read_rates, training_s
from clusterscan.plan.table import plan_text, size
from clusterscan.plan.work import image_megapixels, plan

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
    blocks = len(config.sky.blocks())
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
    from clusterscan import sky

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


def test_this_machine_is_timed_for_networks_that_no_rates_are_given_of(config):
    timed = calibrate(config, Rates(), "cpu")
    rate = timed.networks["act/baseline"]
    assert rate.crop_s > 0
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
    text = plan_text(
        plan(config, rates()), costs, tiles=4, blocks=1, area_deg2=3.36, cores=2, device="cpu"
    )
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
