"""Public names that moved to another module keep their older place, with a warning."""

import importlib
from pathlib import Path

import pytest

from tomostain.figures.row import captioned_row
from tomostain.paths import StrPath

SRC = Path(__file__).parents[1] / "src" / "tomostain"

MOVED = {
    "tomostain.dataset.pair": ("save_exclude",),
    "tomostain.imaging.intensity": ("estimate_reference", "manual_reference", "reference_regions", "volume_reference"),
    "tomostain.io.atomic": ("is_full_disk", "naming_full_disk"),
    "tomostain.io.volumes.volume": ("open_volume",),
    "tomostain.measure.morphometry.spheres": ("squared_distances",),
    "tomostain.measure.run": ("MAPS",),
    "tomostain.napari.task_warnings": ("warnings_to",),
    "tomostain.ood.regional_reference": ("fit_reference",),
    "tomostain.register.locate": ("check_sizes", "shows_metal"),
    "tomostain.stain.job": ("Grey", "contexts_of", "filtered_chunk", "normalised_chunk", "with_volume_statistics"),
    "tomostain.stain.multi_axis": ("fuse", "HALF_WEIGHT_DISTANCE"),
    "tomostain.stain.uncertainty_stainer": ("comparison_bytes",),
    "tomostain.train.data": ("LoadedDataset", "PairSource"),
    "tomostain.train.distributed": ("is_distributed", "is_rank_zero"),
    "tomostain.train.host_copy": ("copy_together", "pack", "unpack"),
    "tomostain.train.losses": ("sample_bilinear",),
    "tomostain.train.sampling": ("network_scale", "patch_at"),
    "tomostain.view.report.measures": ("labels_over", "reduced_labels"),
    "tomostain.view.stained_input": ("warn_of_other_input",),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MOVED.items() for name in names])
def test_a_moved_name_works_with_a_warning(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now tomostain\.\S+{name}"):
        value = getattr(importlib.import_module(module), name)
    assert value is not None
    with pytest.raises(AttributeError):
        getattr(importlib.import_module(module), f"{name}_that_never_was")


@pytest.mark.parametrize(
    "module",
    [
        "measure.labelling",
        "view.browser.plane_layers",
        "view.exchange.options",
        "view.exchange.sample",
        "view.export.formats",
        "view.qupath.export",
        "view.sections",
    ],
)
def test_the_type_of_a_path_has_one_definition(module: str) -> None:
    with pytest.warns(DeprecationWarning, match=r"PathLike is now tomostain\.paths\.StrPath"):
        assert importlib.import_module(f"tomostain.{module}").PathLike == StrPath


def test_no_module_writes_the_type_of_a_path_again() -> None:
    written = [str(path) for path in SRC.rglob("*.py") if "str | os.PathLike[" in path.read_text(encoding="utf-8")]
    assert written == [str(SRC / "paths.py")]


@pytest.mark.parametrize("module", ["tomostain.evaluate", "tomostain.evaluate.figures"])
def test_a_row_of_images_has_one_name(module: str) -> None:
    with pytest.warns(DeprecationWarning, match=r"side_by_side is now (tomostain\.figures\.row\.)?captioned_row"):
        assert importlib.import_module(module).side_by_side is captioned_row
