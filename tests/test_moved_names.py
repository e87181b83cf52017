"""Public names that moved to another module keep their older place, with a warning."""

import importlib

import pytest

MOVED = {
    "tomostain.dataset.pair": ("save_exclude",),
    "tomostain.imaging.intensity": ("estimate_reference", "manual_reference", "reference_regions", "volume_reference"),
    "tomostain.io.volumes.volume": ("open_volume",),
    "tomostain.measure.morphometry.spheres": ("squared_distances",),
    "tomostain.measure.run": ("MAPS",),
    "tomostain.ood.regional_reference": ("fit_reference",),
    "tomostain.register.locate": ("check_sizes", "shows_metal"),
    "tomostain.train.data": ("LoadedDataset", "PairSource"),
    "tomostain.train.sampling": ("network_scale", "patch_at"),
    "tomostain.view.report.measures": ("labels_over", "reduced_labels"),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in MOVED.items() for name in names])
def test_a_moved_name_works_with_a_warning(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{name} is now tomostain\.\S+{name}"):
        value = getattr(importlib.import_module(module), name)
    assert value is not None
    with pytest.raises(AttributeError):
        getattr(importlib.import_module(module), f"{name}_that_never_was")
