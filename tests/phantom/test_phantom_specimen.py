"""A specimen on disk: the truth gives the exact position of the slide, and the same file gives identical data."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tomostain.config import read_yaml
from tomostain.errors import InputError
from tomostain.geometry.section import Section, resample_slide, sample_volume
from tomostain.io import open_slide, open_volume
from tomostain.phantom import (
    Label,
    LaboratoryConfig,
    PhantomConfig,
    load_specimen,
    tomograph,
    write_specimen,
    write_study,
)
from tomostain.prepare import PrepareConfig, prepare_specimens

SMALL = {"shape": (40, 48, 48), "voxel_um": 110.0, "pixel_um": 55.0}


def config_of(seed=1, **values):
    return PhantomConfig.from_dict(SMALL | {"seed": seed} | values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_specimen(config_of(), tmp_path_factory.mktemp("specimen") / "s")


def test_written_files_can_be_opened(folder):
    volume = open_volume(folder / "volume")
    assert volume.shape == (40, 48, 48)
    assert volume.voxel_um == pytest.approx((110, 110, 110))
    slide = open_slide(folder / "slide.ome.tif")
    assert slide.pixel_um == pytest.approx(55)
    assert read_yaml(folder / "specimen.yaml")["implant"] == "Mg-10Gd"
    for name in ("labels", "slide_labels", "histology_ideal", "damaged", "shift_um"):
        assert (folder / f"truth/{name}.tif").is_file()


@pytest.mark.parametrize(("seed", "orientation"), [(1, "random"), (2, "random"), (3, "lying")])
def test_the_slide_is_at_the_true_position(tmp_path, seed, orientation):
    # Two independent ways to the same plane: the affine of the slide, and the section through the labels of the volume.
    damage = LaboratoryConfig.perfect().model_dump() | {"strain": 0.008}
    config = config_of(
        seed, shape=(24, 64, 64), voxel_um=80.0, pixel_um=40.0, orientation=orientation, laboratory=damage
    )
    out = write_specimen(config, tmp_path / "s")
    section = Section.from_dict(read_yaml(out / "truth/section.yaml"))
    slide, pixel_um = open_slide(out / "slide.ome.tif").read()
    volume = tifffile.imread(out / "truth/labels.tif")

    def dice(where):
        image = resample_slide(slide, pixel_um, where, (64, 64), 80.0)
        labels = sample_volume(volume, (80.0,) * 3, where, (64, 64), 80.0, order=0, fill=-1)
        # An oblique section in this flat volume extends beyond it.
        screw, black = labels == Label.SCREW, (image.max(axis=-1) < 60) & (labels >= 0)
        assert screw.sum() > 500
        return 2 * (screw & black).sum() / (screw.sum() + black.sum())

    assert dice(section) > 0.95
    displaced = section.slide_to_section + np.array([[0, 0, 80], [0, 0, 80]])
    assert dice(Section(section.origin_um, section.row, section.column, displaced)) < 0.95


def test_the_same_file_grows_the_same_bits(folder, tmp_path):
    specimen = load_specimen(folder)
    again = write_specimen(specimen.config, tmp_path / "again")
    slices = sorted((folder / "volume").iterdir())
    assert len(slices) >= 40
    for path in slices:
        assert path.read_bytes() == (again / "volume" / path.name).read_bytes()
    for name in ("truth/labels.tif", "truth/slide_labels.tif"):
        np.testing.assert_array_equal(tifffile.imread(folder / name), tifffile.imread(again / name))
    # Compare the generated specimen, not only its configuration.
    volume, labels = tomograph(specimen.anatomy)
    np.testing.assert_array_equal(volume, open_volume(folder / "volume").read(0, 40))
    np.testing.assert_array_equal(labels, tifffile.imread(folder / "truth/labels.tif"))
    np.testing.assert_array_equal(
        open_slide(folder / "slide.ome.tif").read()[0], open_slide(again / "slide.ome.tif").read()[0]
    )


def test_nothing_is_overwritten_unasked(folder):
    before = (folder / "specimen.yaml").read_bytes()
    with pytest.raises(InputError, match="overwrite=True"):
        write_specimen(config_of(seed=9), folder)
    assert (folder / "specimen.yaml").read_bytes() == before


def test_a_folder_without_a_specimen_is_named(tmp_path):
    with pytest.raises(InputError, match=r"specimen\.yaml: no such file"):
        load_specimen(tmp_path)
    (tmp_path / "specimen.yaml").write_text("id: x\n")
    with pytest.raises(InputError, match="key 'config' is missing"):
        load_specimen(tmp_path)


def test_a_study_continues_and_can_be_prepared(tmp_path):
    tiny = {"shape": (10, 40, 40), "voxel_um": 130.0, "pixel_um": 65.0, "orientation": "lying"}
    configs = {name: PhantomConfig.from_dict(tiny | {"seed": seed}) for name, seed in (("a", 1), ("b", 2))}
    write_study(tmp_path / "study", {"a": configs["a"]})
    stamp = (tmp_path / "study/a/specimen.yaml").stat().st_mtime_ns
    table = write_study(tmp_path / "study", configs)
    assert (tmp_path / "study/a/specimen.yaml").stat().st_mtime_ns == stamp
    dataset = prepare_specimens(table, tmp_path / "dataset", PrepareConfig(test_subjects=("b",)))
    assert dataset.ids == ("a", "b")
    assert dataset.test == ("b",)


def test_a_study_is_the_same_from_several_processes(tmp_path):
    tiny = {"shape": (10, 40, 40), "voxel_um": 130.0, "pixel_um": 65.0}
    configs = {name: PhantomConfig.from_dict(tiny | {"seed": seed}) for name, seed in (("a", 1), ("b", 2))}
    reports = []
    write_study(tmp_path / "one", configs)
    write_study(tmp_path / "two", configs, jobs=2, progress=lambda *report: reports.append(report[1:]))
    assert reports == [(0, 2), (1, 2), (2, 2)]
    for name in configs:
        for file in ("truth/histology_ideal.tif", "truth/labels.tif", "specimen.yaml"):
            assert (tmp_path / "one" / name / file).read_bytes() == (tmp_path / "two" / name / file).read_bytes()
