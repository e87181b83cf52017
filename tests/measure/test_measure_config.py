"""Options of a measurement."""

import pytest

from tomostain.errors import InputError
from tomostain.measure.config import MeasureConfig


def test_defaults():
    config = MeasureConfig()
    assert config.classes_from == "auto"
    assert config.shells == ((0.0, 100.0), (100.0, 200.0), (200.0, 300.0), (300.0, 500.0))


def test_yaml_returns_the_same():
    values = {"implant": "Mg-10Gd", "weeks": 8, "shell_um": [0, 50, 100], "initial": "screw.tif"}
    config = MeasureConfig.from_dict(values)
    import yaml

    assert MeasureConfig.from_dict(yaml.safe_load(config.to_yaml())) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gap": 20}, "unknown key 'gap'; did you mean 'gap_um'"),
        ({"shell_um": [100, 100]}, "two or more rising distances"),
        ({"shell_um": [100]}, "two or more rising distances"),
        ({"shell_um": [-5, 100]}, "two or more rising distances"),
        ({"gap_um": -1}, "gap_um = -1"),
        ({"weeks": 0}, "weeks = 0"),
        ({"max_uncertainty": 1.5}, "max_uncertainty"),
        ({"classes_from": "colour"}, "classes_from = 'colour'"),
        ({"initial": "screw.tif", "initial_volume_mm3": 3}, "not both"),
        ({"initial_surface_mm2": 3}, "needs `initial_volume_mm3`"),
        ({"diameter_mm": float("nan")}, "diameter_mm"),
    ],
)
def test_wrong_options_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        MeasureConfig.from_dict(values)
