import pytest
from pydantic import ValidationError

from clusterscan.config.train import AugmentationSettings, NormalisationSettings, TrainSettings


def test_settings_survive_a_round_trip_through_json():
    settings = TrainSettings(
        augmentation={"rotation": 15, "flips": True},
        class_weights=[1, 2],
        negatives_per_positive=None,
        transfer=[{"trainable": "head", "epochs": 2}, {"trainable": 3, "epochs": 1}],
    )
    assert TrainSettings(**settings.model_dump(mode="json")) == settings
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"transfer": []}, "transfer is empty"),
        ({"transfer": [{"epochs": 1, "learning_rate": 20}]}, "between 0 and 10"),
        ({"learning_rate": 0.0}, "between 0 and 10"),
        ({"batch_size": 33, "devices": 2}, "cannot be divided equally"),
        ({"device": "cuda:1", "devices": 2}, "names one GPU"),
        ({"class_weights": [1, 0]}, "greater than 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**wrong)


def test_impossible_angles_and_quantiles_are_refused():
    for angle in (0, 181, "half"):
        with pytest.raises(ValidationError):
            AugmentationSettings(rotation=angle)
    with pytest.raises(ValidationError, match="must rise within 0 to 1"):
        NormalisationSettings(unit_quantiles=(0.9, 0.1))
