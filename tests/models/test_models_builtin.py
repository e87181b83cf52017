"""Built-in models: found by name in this package and in others, and accepted by everything that takes a model."""

import shutil
import sys

import numpy as np
import pytest

import tomostain as ts
from tests.support.packages import install_models, install_package
from tests.support.toys import LEVELS, grey_values, toy_model
from tomostain.cli.main import run
from tomostain.dataset.pair import Pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.inspection import check_against, check_path
from tomostain.io import copy_model, list_models, load_model, read_model_card, write_image, write_stack
from tomostain.models import builtin_folder, builtin_names, catalogue, find_model
from tomostain.stain import load_translator

ABOUT = {"stain": "toluidine-blue", "recipe": "toy", "steps": 7, "patch_px": 32, "summary": "Toy: for tests"}
SMALL = {"patch_px": 32, "stride_px": 32}


@pytest.fixture(autouse=True)
def _no_models(tmp_path, monkeypatch):
    """Begin without any built-in model."""
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path / "own")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Install a model with random weights as `builtin:toy-tb`."""
    folder = toy_model(tmp_path / "a" / "model", **ABOUT)
    install_models(monkeypatch, tmp_path / "package", toy_tb=folder)
    return folder


@pytest.fixture
def volume(tmp_path):
    write_stack(tmp_path / "volume", grey_values((3, 40, 44)), voxel_um=5.0)
    return tmp_path / "volume"


def test_without_models_the_list_is_empty_and_the_error_states_it(capsys):
    assert builtin_names() == []
    assert list_models() == []
    with pytest.raises(InputError, match=r"builtin:phantom-tb: no such built-in model; none is installed"):
        ts.load_stainer("builtin:phantom-tb")
    assert run(["models"]) == 0
    assert capsys.readouterr().out == "no built-in models are installed\n"


def test_a_folder_of_this_package_is_a_model_and_takes_precedence(toy, tmp_path):
    toy_model(tmp_path / "own" / "toy-he", **ABOUT | {"stain": "h&e"})
    shutil.copytree(toy, tmp_path / "own" / "toy-tb")
    (tmp_path / "own" / "__pycache__").mkdir()
    assert builtin_names() == ["toy-he", "toy-tb"]
    assert builtin_folder("builtin:toy-tb") == tmp_path / "own" / "toy-tb"
    he, tb = list_models()
    assert (he.name, he.spec.stain, tb.name) == ("builtin:toy-he", "h&e", "builtin:toy-tb")
    assert repr(tb).startswith("BuiltinModel(builtin:toy-tb: toluidine-blue, 5 µm, toy, 7 steps, ")
    assert tb.size_bytes == sum(path.stat().st_size for path in toy.iterdir())


def test_unknown_names_list_what_exists(toy):
    with pytest.raises(InputError, match=r"no such built-in model; did you mean 'toy-tb'\? \(known: builtin:toy-tb\)"):
        find_model("builtin:toy-bt")
    with pytest.raises(InputError, match=r"builtin:zzz: no such built-in model; known: builtin:toy-tb"):
        find_model("builtin:zzz")
    with pytest.raises(InputError, match=r"toy-tb: no such model folder; did you mean 'builtin:toy-tb'\?"):
        load_model("toy-tb")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("model = '/nowhere'", "gives /nowhere, which has no model.yaml"),
        ("def model(): raise OSError('not today')", r"cannot be loaded from broken_models:model \(not today\)"),
        ("", "cannot be loaded from broken_models:model"),
    ],
)
def test_a_package_without_its_model_is_named(tmp_path, monkeypatch, code, message):
    monkeypatch.delitem(sys.modules, "broken_models", raising=False)
    install_package(
        monkeypatch, tmp_path / "p", "broken_models", code, "[tomostain.models]\nbroken = broken_models:model\n"
    )
    with pytest.raises(InputError, match=f"builtin:broken: .*{message}"):
        builtin_folder("broken")


def test_every_function_takes_the_name(toy, volume, tmp_path):
    name = "builtin:toy-tb"
    expected = load_model(toy)
    assert load_model(name).hash == load_translator(name, "cpu").hash == expected.hash
    assert find_model(name) == toy
    assert check_path(name).kind == "model"
    ct = grey_values((40, 44))
    reference = ts.load_stainer(toy, device="cpu")
    np.testing.assert_array_equal(
        ts.load_stainer(name, device="cpu")(ct, intensity=LEVELS), reference(ct, intensity=LEVELS)
    )
    stained = ts.stain_volume(name, volume, config=ts.StainConfig(**SMALL), intensity=LEVELS, device="cpu")
    assert stained.shape == (3, 40, 44, 3)
    with pytest.raises(InputError, match="has no training reference"):
        list(check_against(name, [volume]))
    frame = ts.evaluate_models(name, _dataset(tmp_path), baselines=False, patch_px=32, device="cpu", stain=SMALL)
    assert set(frame["model"]) == {"toy-tb"}


def test_every_verb_takes_the_name(toy, volume, tmp_path, capsys):
    name, dataset = "builtin:toy-tb", _dataset(tmp_path)
    grey = ["--background", "100", "--bone", "900"]
    small = ["--patch-px", "32", "--stride-px", "32"]
    out = tmp_path / "stained.ome.zarr"
    assert run(["-q", "stain", name, str(volume), str(out), *grey, *small]) == 0
    write_image(tmp_path / "slice.png", grey_values((40, 44)).astype(np.uint8))
    assert run(["stain", name, str(tmp_path / "slice.png"), str(tmp_path / "stained.png"), *grey]) == 0
    assert run(["check", name]) == 0
    assert "checksums agree; recipe toy, 7 steps" in capsys.readouterr().out
    options = ["--lpips", "none", "--patch-px", "32", "--no-baselines"]
    assert run(["-q", "evaluate", name, str(dataset), str(tmp_path / "evaluation"), *options]) == 0
    assert run(["-q", "compare", str(tmp_path / "comparison"), name, "--dataset", str(dataset)]) == 0
    assert run(["doctor"]) == 0
    assert "built-in models: builtin:toy-tb" in capsys.readouterr().out


def test_the_verb_lists_describes_and_copies(toy, tmp_path, capsys):
    assert run(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("builtin:toy-tb: toluidine-blue, 5 µm, toy, 7 steps, 0.0 MB")
    assert lines[1] == "  Toy: for tests"
    for name in ("toy-tb", "builtin:toy-tb", str(toy), str(toy.parent)):
        assert run(["models", "describe", name]) == 0
        assert capsys.readouterr().out == read_model_card(toy) == (toy / "README.md").read_text(encoding="utf-8")
    copied = tmp_path / "copied"
    assert run(["models", "copy", "toy-tb", str(copied)]) == 0
    assert load_model(copied).hash == load_model(toy).hash
    assert {path.name for path in copied.iterdir()} == {path.name for path in toy.iterdir()}


def test_wrong_uses_of_the_verb_give_a_one_line_error(toy, tmp_path, capsys):
    def fails(*arguments):
        assert run([str(argument) for argument in arguments]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "give one of list, describe, copy, such as: models describe toy-tb" in fails("models", "toy-tb")
    assert "give NAME and OUT" in fails("models", "copy", "toy-tb")
    assert "give one NAME" in fails("models", "describe")
    assert "takes no name" in fails("models", "list", "toy-tb")
    assert "neither a built-in model (builtin:toy-tb) nor a model folder" in fails("models", "describe", tmp_path)
    assert "is the model itself" in fails("models", "copy", "toy-tb", toy)
    assert "which would be replaced" in fails("models", "copy", "toy-tb", tmp_path / "own" / "..")


def test_a_damaged_model_is_not_copied(toy, tmp_path):
    (toy / "generator.safetensors").write_bytes(b"0")
    with pytest.raises(InputError, match="does not match its checksum"):
        copy_model("toy-tb", tmp_path / "copied")
    assert not (tmp_path / "copied").exists()


def _dataset(folder):
    def pair(seed):
        rng = np.random.default_rng(seed)
        bone = grey_values((48, 48), seed) > 500
        ct = np.where(bone, 30000, 10000).astype(np.uint16)
        histology = rng.integers(0, 255, (48, 48, 3)).astype(np.uint8)
        return Pair(f"p{seed}", ct, histology, np.ones(bone.shape, bool), 5.0, stain="toluidine-blue")

    path = folder / "dataset"
    return path if path.exists() else save_dataset(path, [pair(0), pair(1)], test=["p1"]).path
