"""Model folders: written models are read back, and modified files are refused."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import ModelSpec, check_state, load_model, save_model
from tomostain.networks import build_network

NETWORK = {"name": "resnet", "width": 2, "blocks": 1}


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec(
        generator=NETWORK,
        reverse=NETWORK,
        voxel_um=5.0,
        stain="toluidine-blue",
        recipe="paired-cyclegan-cpu",
        fold=0,
        fingerprint={"q01": 9000.0, "q99": 31000.0},
        metrics={"ssim": 0.59, "psnr": 15.0},
        steps=1000,
        tomostain_version="0.1.0",
    )


@pytest.fixture
def folder(tmp_path: Path, spec: ModelSpec) -> Path:
    save_model(tmp_path / "model", spec, _weights(0), _weights(1))
    return tmp_path / "model"


def _weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    weights = dict(build_network(NETWORK).state_dict())
    square = [name for name, tensor in weights.items() if tensor.ndim == 4 and tensor.shape[0] == tensor.shape[1]]
    # A transposed view and another view of the same memory. safetensors refuses both unless they are copied.
    weights[square[0]] = torch.randn(weights[square[0]].shape).transpose(0, 1)
    weights[square[1]] = weights[square[0]]
    return weights


def test_a_model_comes_back_bit_for_bit(folder: Path, spec: ModelSpec) -> None:
    model = load_model(folder)
    assert model.spec == spec
    assert model.reverse_state is not None
    for state, seed in ((model.state, 0), (model.reverse_state, 1)):
        assert state.keys() == _weights(seed).keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in _weights(seed).items())


def test_the_hash_names_weights_and_spec_and_not_the_card(folder: Path, tmp_path: Path, spec: ModelSpec) -> None:
    save_model(tmp_path / "same", spec, _weights(0), _weights(1))
    save_model(tmp_path / "other", spec, _weights(2), _weights(1))
    assert load_model(folder).hash == load_model(tmp_path / "same").hash
    assert load_model(folder).hash != load_model(tmp_path / "other").hash
    (folder / "README.md").write_text("edited manually")
    assert load_model(folder).hash == load_model(tmp_path / "same").hash


def test_the_checksums_are_those_of_sha256sum(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["generator.safetensors", "reverse.safetensors", "model.yaml"]
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_card_says_what_the_model_is(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    for phrase in ("toluidine-blue", "paired-cyclegan-cpu", "1000 steps", "fold 0", "5 µm", "ssim: 0.59", "## Limits"):
        assert phrase in card


@pytest.mark.parametrize("name", ["generator.safetensors", "reverse.safetensors", "model.yaml"])
def test_a_changed_or_missing_file_is_refused(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: does not match its checksum in SHA256SUMS"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name}: is missing from the model folder"):
        load_model(folder)


def _sign(folder: Path) -> None:
    names = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


def test_a_misspelt_key_is_named(folder: Path) -> None:
    path = folder / "model.yaml"
    path.write_text(path.read_text().replace("voxel_um", "voxel_size_um"))
    _sign(folder)
    with pytest.raises(InputError, match=r"model.yaml: .*'?voxel_"):
        load_model(folder)


def test_weights_that_are_not_safetensors_are_refused(folder: Path) -> None:
    torch.save(_weights(0), folder / "generator.safetensors")
    _sign(folder)
    with pytest.raises(InputError, match=r"generator\.safetensors: is not a safetensors file"):
        load_model(folder)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_in_the_folder_is_not_opened(folder: Path) -> None:
    for name in ("generator.pt", "pytorch_model.bin", "reverse.pkl"):
        (folder / name).write_bytes(pickle.dumps(_Bomb()))
    assert set(load_model(folder).state) == set(_weights(0))


@pytest.mark.parametrize("line", ["0" * 64 + "  ../secret", "0" * 64 + "  generator.pt", "short  model.yaml"])
def test_checksums_of_anything_else_are_refused(folder: Path, line: str) -> None:
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"is not a (checksum|model file); export the model again"):
        load_model(folder)


def test_folders_that_are_not_a_model_are_refused(folder: Path, tmp_path: Path, spec: ModelSpec) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        load_model(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is not a model folder"):
        load_model(tmp_path / "empty")
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(InputError, match=r"does not list generator\.safetensors"):
        load_model(folder)
    with pytest.raises(InputError, match="exists already"):
        save_model(folder, spec, _weights(0), _weights(1))
    with pytest.raises(ValueError, match="go together"):
        save_model(tmp_path / "b", spec, _weights(0))


def test_weights_of_another_network_are_named() -> None:
    expected = torch.nn.Linear(3, 4).state_dict()
    check_state(expected, expected, "m")
    with pytest.raises(InputError, match=r"m: tensor 'bias' is missing"):
        check_state({"weight": expected["weight"]}, expected, "m")
    with pytest.raises(InputError, match=r"tensor 'weight' has shape \(4, 5\), but the network expects \(4, 3\)"):
        check_state(torch.nn.Linear(5, 4).state_dict(), expected, "m")
    with pytest.raises(InputError, match=r"tensor 'extra' is unknown"):
        check_state({**expected, "extra": expected["bias"]}, expected, "m")


def _changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = yaml.safe_load((folder / "model.yaml").read_text())
    change(values)
    (folder / "model.yaml").write_text(yaml.safe_dump(values))
    _sign(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["generator"].update(name="evil"), "name: 'evil' is unknown"),
        (lambda v: v["generator"].update(width=[1]), "width"),
        (lambda v: v["generator"].update(width=4), "tensor .* has shape"),
        (lambda v: v.update(generator={}), "name: '' is unknown"),
        (lambda v: v["generator"].update(out_channels=1), r"maps 3 channel\(s\) to 1"),
        (lambda v: v.update(in_channels=1), "in_channels 1"),
        (lambda v: v.update(noise={"channels": 1, "correlation_px": 4.0}), r"1 channel\(s\) of noise"),
        (lambda v: v["reverse"].update(blocks=2), "reverse generator: tensor .* is missing"),
        (lambda v: v.update(reverse={"name": "patch"}), "network 'patch' in model.yaml is no generator"),
    ],
)
def test_a_network_that_the_weights_do_not_fit_is_refused(folder: Path, change, message: str) -> None:
    """Also by what does not stain: `check`, `models copy`."""
    _changed(folder, change)
    with pytest.raises(InputError, match=message):
        load_model(folder)
    assert run(["check", str(folder)]) == 2
    assert run(["models", "copy", str(folder), str(folder.parent / "copy")]) == 2


@pytest.mark.parametrize("kind", [torch.bool, torch.int32])
@pytest.mark.parametrize("name", ["generator", "reverse"])
def test_weights_that_are_not_floating_point_are_refused(folder: Path, name: str, kind: torch.dtype) -> None:
    state = load_file(folder / f"{name}.safetensors")
    first = next(iter(state))
    save_file(state | {first: state[first].to(kind)}, folder / f"{name}.safetensors")
    _sign(folder)
    with pytest.raises(InputError, match=r"but weights are"):
        load_model(folder)


def test_a_training_reference_of_another_type_is_refused(folder: Path) -> None:
    save_file({"values": torch.zeros(3, dtype=torch.bfloat16)}, folder / "seen.safetensors")
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  seen.safetensors\n")
    _sign(folder)
    with pytest.raises(InputError, match=r"tensor 'values' is bfloat16"):
        load_model(folder)


def test_a_file_instead_of_a_model_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(InputError, match="is a file, but a model is a folder"):
        load_model(tmp_path / "model")


def test_text_that_is_not_utf_8_is_shown_or_refused_in_one_line(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "README.md").write_bytes("# Modell für Knochen".encode("latin-1"))
    assert run(["models", "describe", str(folder)]) == 0
    assert "# Modell f" in capsys.readouterr().out
    (folder / "model.yaml").write_bytes("stain: für".encode("latin-1"))
    _sign(folder)
    assert run(["check", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
