"""The page "How to add a generator", step by step: the test uses the class and the recipe of the page."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.support.toys import weights_of
from tests.support.training import toy_pair, toy_recipe
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.io import ModelSpec, save_model
from tomostain.networks import build_network, is_tile_invariant, network_names, parse_generator_spec
from tomostain.networks.registry import unregister
from tomostain.stain import StainConfig, load_translator, stain_slice
from tomostain.stain.volume_statistics import fit_volume_statistics
from tomostain.tiling.exact import exact_tiles, halo_of
from tomostain.train import Trainer, load_recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "add-a-generator.md").read_text(encoding="utf-8")
NAME = "my-generator"


def block(language):
    """Return the first code block of a language on the page."""
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install the class of the page as another package would be, with its entry point; return the folder."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "my_package" / "my_generator.py").write_text(block("python"), encoding="utf-8")
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    group, entry = re.search(r'\[project\.entry-points\."(.*?)"\]\n(.*)', block("toml")).groups()
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for module in ("my_package.my_generator", "my_package"):
        sys.modules.pop(module, None)
    if NAME in network_names():
        unregister(NAME)


def test_the_network_is_built_without_a_recipe(package):
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    exec(compile(code, "try.py", "exec"), {"__name__": "try"})


def test_the_page_names_the_files_that_hold_the_generators_of_tomostain():
    paths = re.findall(r"^\| `([^`]+/[^`]+)` \|", PAGE, re.MULTILINE)
    assert paths[0] == "src/tomostain/networks/my_generator.py"
    assert all((ROOT / path).parent.is_dir() for path in paths)
    assert all((ROOT / path).is_file() for path in paths if "my_generator" not in path)
    # Nothing else in the source names a generator class or its registered name.
    text = (ROOT / "src/tomostain/networks/__init__.py").read_text(encoding="utf-8")
    assert "generators  # noqa: F401" in text
    for path in (ROOT / "src" / "tomostain").rglob("*.py"):
        if path.parent.name != "networks":
            assert "ShuffleGenerator" not in path.read_text(encoding="utf-8"), path
            assert '"shuffle"' not in path.read_text(encoding="utf-8"), path


def test_the_members_on_the_page_have_the_defaults_that_it_states(package):
    spec = parse_generator_spec({"name": NAME})
    assert (spec.size_multiple, spec.min_size_px, spec.activation_bytes_per_pixel) == (1, 1, 1024)
    assert spec.narrowed() == spec


def test_an_unknown_name_is_looked_up_among_the_entry_points_of_installed_packages(package):
    assert NAME not in network_names()
    assert "my_package.my_generator" not in sys.modules
    assert parse_generator_spec({"name": NAME}).activation == "gelu"
    assert NAME in network_names("generator")


def test_a_package_that_cannot_be_imported_is_named(package):
    (package / "my_package" / "my_generator.py").write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(InputError, match=rf"'{NAME}': cannot import my_package\.my_generator:MyGenerator \(No module"):
        parse_generator_spec({"name": NAME})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expansion": "wide"}, "'my-generator': expansion is 'wide'; give a number"),
        ({"activation": "gelo"}, "'my-generator': activation is 'gelo'; give one of gelu, relu"),
        ({"norm": "batch"}, "'my-generator': norm is 'batch'; give one of instance, channel, none"),
        ({"width": 3}, "'my-generator': unknown key 'width'; known: activation, expansion, in_channels, norm"),
        ({"activatoin": "relu"}, "unknown key 'activatoin'; did you mean 'activation'"),
    ],
)
def test_its_specification_is_checked_by_its_own_fields(package, change, message):
    with pytest.raises(InputError, match=message):
        parse_generator_spec({"name": NAME} | change)


def test_a_recipe_takes_it(package, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(block("yaml"), encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.generator == yaml.safe_load(block("yaml"))["generator"]
    network = build_network(recipe.generator_spec(), torch.Generator().manual_seed(0))
    again = build_network(network.spec, torch.Generator().manual_seed(0))
    assert torch.equal(network.layers[0].weight, again.layers[0].weight)
    assert network(torch.zeros(1, recipe.ct_channels, 20, 31)).shape == (1, 3, 20, 31)


def test_it_is_trained(package, tmp_path):
    save_dataset(tmp_path / "pairs", [toy_pair(f"p{i}", i) for i in range(2)])
    recipe = toy_recipe(generator={"name": NAME, "norm": "channel"}, checkpoint_activations=True)
    trainer = Trainer(recipe, load_dataset(tmp_path / "pairs"), None, 0, "cpu")
    before = trainer.state.networks.g_xy.layers[0].weight.clone()
    assert np.isfinite(list(trainer.take_step().values())).all()
    assert not torch.equal(trainer.state.networks.g_xy.layers[0].weight, before)


def model(folder, norm):
    """Write a model with this generator and random weights."""
    spec = {"name": NAME, "in_channels": 1, "expansion": 0.5, "norm": norm}
    about = ModelSpec(
        generator=spec, in_channels=1, voxel_um=5, patch_px=16, stain="h&e", recipe="test", tomostain_version="0"
    )
    save_model(folder, about, weights_of(spec).state_dict())
    return load_translator(folder, "cpu")


@pytest.mark.parametrize("norm", ["channel", "instance"])
def test_models_exact_tiles_and_volume_statistics_work_with_it(package, tmp_path, norm):
    ct = np.random.default_rng(0).integers(0, 40_000, (45, 61)).astype(np.uint16)
    translator = model(tmp_path / "model", norm)
    assert translator.tile_invariant == (norm == "channel")
    assert StainConfig().for_model(16, translator.tile_invariant).blend == ("exact" if norm == "channel" else "mean")
    if norm == "instance":
        with pytest.raises(InputError, match=r"exact.*over the whole tile.*set `statistics=volume`"):
            stain_slice(translator, ct, StainConfig(blend="exact"))
        translator = fit_volume_statistics(translator, ct[None, :40, :40].astype(np.float32))
        assert translator.tile_invariant
    spec = translator.spec.generator
    halo = halo_of(spec, translator.has_volume_statistics)
    assert halo == 4  # two 5 × 5 convolutions
    whole = translator(torch.from_numpy(ct.astype(np.float32))[None])[0].permute(1, 2, 0).numpy()
    tiled = exact_tiles(translator, ct, 20, halo, parse_generator_spec(spec).size_multiple)
    assert np.ptp(whole) > 1
    np.testing.assert_allclose(tiled, whole, atol=0.05)


def test_its_tile_invariance_is_measured(package):
    assert is_tile_invariant({"name": NAME, "norm": "channel"})
    assert not is_tile_invariant({"name": NAME})
    assert is_tile_invariant({"name": NAME}, volume_statistics=True)
