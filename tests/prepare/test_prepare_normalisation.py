"""Files of a chosen normalisation, read by the stages that they are for."""

import pytest

from tomostain.errors import InputError
from tomostain.imaging.intensity import IntensityReference
from tomostain.prepare.normalisation import ChosenNormalisation, write_normalisation
from tomostain.prepare.specimens import PrepareConfig
from tomostain.register.config import RegisterConfig

CHOSEN = ChosenNormalisation(IntensityReference(1050.5, 5000.25), ((0, 10, 20, 30), (40, 50, 60, 70)))


def test_register_reads_its_file(tmp_path):
    write_normalisation(tmp_path / "a.yaml", CHOSEN)
    config = RegisterConfig.from_yaml(tmp_path / "a.yaml")
    assert (config.ct_background, config.ct_bone) == (1050.5, 5000.25)
    assert (config.histology_background, config.histology_bone) == CHOSEN.histology


def test_prepare_reads_its_file(tmp_path):
    write_normalisation(tmp_path / "a.yaml", CHOSEN, "prepare")
    config = PrepareConfig.from_yaml(tmp_path / "a.yaml")
    assert (config.ct_background, config.ct_bone) == (1050.5, 5000.25)
    assert config.registration.histology_bone == (40, 50, 60, 70)


def test_one_of_the_two_is_enough(tmp_path):
    write_normalisation(tmp_path / "a.yaml", ChosenNormalisation(CHOSEN.ct), "prepare")
    assert PrepareConfig.from_yaml(tmp_path / "a.yaml").registration.histology_bone is None
    write_normalisation(tmp_path / "b.yaml", ChosenNormalisation(None, CHOSEN.histology))
    assert RegisterConfig.from_yaml(tmp_path / "b.yaml").ct_bone is None


def test_nothing_is_overwritten_and_nothing_empty_is_written(tmp_path):
    path = tmp_path / "a.yaml"
    with pytest.raises(InputError, match="nothing to write"):
        write_normalisation(path, ChosenNormalisation())
    assert not path.exists()
    write_normalisation(path, CHOSEN)
    with pytest.raises(InputError, match="exists already"):
        write_normalisation(path, CHOSEN)
    write_normalisation(path, CHOSEN, "prepare", overwrite=True)
