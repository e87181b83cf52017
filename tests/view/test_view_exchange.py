"""Models for other software: ONNX Runtime gives the colours of PyTorch, and the package passes the zoo's test."""

import json
import re
import shlex
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml

from tests.support.versions import EARLY_TORCH
from tests.test_offline import offline
from tomostain import __version__
from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import ModelSpec, load_model, read_image, save_model, write_stack
from tomostain.models import builtin_folder, builtin_names
from tomostain.networks import build_network, network_names
from tomostain.stain import load_stainer
from tomostain.stain.translator import load_translator
from tomostain.tiling.noise import NoiseSpec, SlicePosition, slice_noise
from tomostain.view import convert_model
from tomostain.view.exchange import graph, onnx_file, write

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra 'exchange'")
onnx = pytest.importorskip("onnx", reason="needs the extra 'exchange'")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "exchange.md"
_programs: dict[str, object] = {}


@pytest.fixture(autouse=True)
def one_trace_for_each_architecture(monkeypatch):
    """Trace each architecture once: that takes seconds. Another model of the same one gets its own weights."""

    def trace(network):
        spec = network.spec
        key = json.dumps([spec.generator, spec.ct_slices, spec.inverted_ct, spec.ct_window], default=str)
        if key not in _programs:
            _programs[key] = graph.trace_graph(network)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that were renamed in the graph; the parity would show it
                _programs[key].apply_weights(network.state_dict())
        return _programs[key]

    monkeypatch.setattr(write, "trace_graph", trace)


def random_model(folder: Path, generator: dict, **options) -> Path:
    """Write a model whose random weights draw images with contrast."""
    network = build_network(generator, torch.Generator().manual_seed(1))
    drawn = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=drawn) * 1.4 / parameter[0].numel() ** 0.5
    values = {"voxel_um": 5, "patch_px": 32, "stain": "h&e", "recipe": "", "tomostain_version": __version__}
    save_model(folder, ModelSpec(generator=generator, **values | options), network.state_dict())
    return folder


def inputs(spec, shape, seed=0):
    """Return µCT from below to above the window, smooth in one half, and the noise of the model, each (B, C, H, W)."""
    rng = np.random.default_rng(seed)
    batch, rows, columns = shape
    ct = rng.uniform(-3000, 60000, (batch, spec.ct_slices, rows, columns)).astype(np.float32)
    ct[..., : columns // 2] = np.linspace(0, 45000, columns // 2, dtype=np.float32)
    if not spec.noise_channels:
        return ct, None
    noise = [slice_noise(spec.noise, SlicePosition(seed=n), rows, columns) for n in range(batch)]
    return ct, np.stack(noise)


def largest_difference(model, path: Path, shapes) -> float:
    """Return the largest difference between ONNX Runtime and what `tomostain.stain` computes, grey levels."""
    translator, session = load_translator(model, "cpu"), onnxruntime.InferenceSession(path)
    differences = []
    for shape in shapes:
        ct, noise = inputs(translator.spec, shape)
        tile = ct if noise is None else np.concatenate([ct, noise], axis=1)
        expected = translator(torch.from_numpy(tile[:, 0] if tile.shape[1] == 1 else tile)).numpy()
        named = {"ct": ct} | ({} if noise is None else {"noise": noise})
        (colours,) = session.run(None, named)
        assert colours.shape == expected.shape == (shape[0], 3, *shape[1:])
        assert colours.dtype == np.float32
        assert expected.std() > 5
        differences.append(np.abs(colours - expected).max())
    return float(max(differences))


@pytest.mark.parametrize("name", builtin_names())
def test_a_built_in_model_has_the_same_colours_as_onnx(name, tmp_path, capsys):
    out = tmp_path / "model.onnx"
    assert run(["-q", "export", f"builtin:{name}", str(out), "--to", "onnx"]) == 0
    assert re.search(r"multiples of 32 px, at least 32 px; differs from PyTorch by at most", capsys.readouterr().out)
    difference = largest_difference(f"builtin:{name}", out, [(1, 32, 96), (3, 64, 32), (1, 96, 128)])
    assert difference <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    proto = onnx.load(out)
    onnx.checker.check_model(proto, full_check=True)
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 18)
    assert b"/site-packages/" not in out.read_bytes()
    assert b"src/tomostain" not in out.read_bytes()  # no paths of this machine
    stored = {entry.key: entry.value for entry in proto.metadata_props}
    assert stored["tomostain.model_hash"] == load_model(f"builtin:{name}").hash
    assert stored["tomostain.version"] == __version__
    assert stored["tomostain.size_multiple"] == "32"
    assert "diagnosis" in stored["tomostain.limits"]


SMALL: dict[str, dict] = {
    "resnet": {"name": "resnet", "in_channels": 3, "width": 4, "blocks": 1},
    "unet": {"name": "unet", "in_channels": 1, "width": 4, "downs": 2},
    "shuffle": {"name": "shuffle", "in_channels": 1, "width": 8, "blocks": 1, "norm": "channel"},
    "convnext-unet": {"name": "convnext-unet", "in_channels": 5, "width": 4, "downs": 2, "detail": 4, "norm": "none"},
    "gated": {"name": "gated", "in_channels": 1, "width": 4, "downs": 2, "detail": 4, "norm": "instance"},
}
OPTIONS = {
    "resnet": {"in_channels": 3, "inverted_ct": True},
    "unet": {"in_channels": 1},
    "shuffle": {"in_channels": 1},
    "convnext-unet": {"in_channels": 1, "ct_slices": 3, "noise": NoiseSpec(channels=2)},
    "gated": {"in_channels": 1},
}


def test_every_network_is_tried():
    assert SMALL.keys() == set(network_names("generator"))


@pytest.mark.parametrize("name", SMALL)
def test_a_network_has_the_same_colours_as_onnx(name, tmp_path):
    model = random_model(tmp_path / "model", SMALL[name], **OPTIONS[name])
    exported = convert_model(model, tmp_path / "model.onnx")
    assert exported.difference <= 1
    smallest = exported.shapes.minimum
    sizes = [(1, smallest, smallest), (3, smallest, 5 * smallest), (2, 7 * smallest, 3 * smallest)]
    if OPTIONS[name].get("ct_slices", 1) == 1:
        assert largest_difference(model, exported.path, sizes) <= 1
    else:
        assert largest_difference(model, exported.path, sizes[1:]) <= 1
        (ct,) = [each for each in onnx.load(exported.path).graph.input if each.name == "ct"]
        assert ct.type.tensor_type.shape.dim[1].dim_value == 3
    assert exported.shapes.multiple == 4


@pytest.mark.parametrize("norm", ["instance", "channel"])
@pytest.mark.parametrize("name", ["gated", "convnext-unet", "shuffle"])
def test_the_stated_minimum_is_possible(name, norm, tmp_path):
    spec = {"name": name, "in_channels": 1, "width": 4, "detail": 4, "norm": norm}
    model = load_model(
        random_model(tmp_path / "model", spec | ({} if name == "shuffle" else {"downs": 3}), in_channels=1)
    )
    network = graph.ExchangeNetwork(model)
    multiple, minimum = network.shapes.multiple, network.shapes.minimum
    assert network(torch.zeros(1, 1, minimum, minimum)).shape == (1, 3, minimum, minimum)
    # At the coarsest resolution one pixel has no variance.
    assert minimum == (2 * multiple if norm == "instance" else multiple)
    if norm == "instance":
        with pytest.raises(ValueError, match="more than 1 spatial element"):
            network(torch.zeros(1, 1, multiple, multiple))


def test_large_weights_are_written_next_to_the_graph(tmp_path, monkeypatch):
    model = random_model(tmp_path / "model", SMALL["unet"], **OPTIONS["unet"])
    monkeypatch.setattr(onnx_file, "MAX_FILE_BYTES", 100)
    out = tmp_path / "large.onnx"
    convert_model(model, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data", "model"]
    assert largest_difference(model, out, [(1, 16, 24)]) <= 1
    with pytest.raises(InputError, match=r"large\.onnx: the onnx file exists already"):
        convert_model(model, out)
    convert_model(model, out, overwrite=True)


def test_nothing_is_written_if_the_colours_differ(tmp_path, monkeypatch):
    model = random_model(tmp_path / "model", SMALL["unet"], **OPTIONS["unet"])
    ran = onnx_file.run_onnx
    monkeypatch.setattr(write, "run_onnx", lambda *arguments: ran(*arguments) + 2)
    for to, name in (("onnx", "a.onnx"), ("bioimageio", "a.zip"), ("bioimageio", "folder")):
        with pytest.raises(InputError, match="ONNX Runtime and PyTorch differ by 2 grey levels"):
            convert_model(model, tmp_path / name, to, **({} if to == "onnx" else {"authors": ["A"], "licence": "MIT"}))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(EARLY_TORCH, reason="an early version of torch takes one branch; the comparison of colours remains")
def test_a_network_that_onnx_cannot_express_is_named(tmp_path, monkeypatch):
    model = load_model(random_model(tmp_path / "model", SMALL["unet"], **OPTIONS["unet"]))
    monkeypatch.setattr(graph, "ct_to_network", lambda values, window: values if values.sum() > 0 else -values)
    with pytest.raises(InputError, match="network 'unet': cannot be written as ONNX"):
        graph.trace_graph(graph.ExchangeNetwork(model))


def test_missing_packages_give_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install 'tomostain\[exchange\]'"):
        convert_model("builtin:phantom-tb", tmp_path / "a.onnx")


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Return the package of a built-in model; next to it is a folder with its files."""
    path = tmp_path_factory.mktemp("package") / "phantom-he.zip"
    with offline() as asked:
        convert_model("builtin:phantom-he", path, "bioimageio")
    assert asked == []
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.with_suffix(""))
    return path


def test_the_package_of_a_built_in_model(package):
    with zipfile.ZipFile(package) as archive:
        names, texts = set(archive.namelist()), {n: archive.read(n) for n in ("rdf.yaml", "README.md")}
    description = yaml.safe_load(texts["rdf.yaml"])
    assert {"weights.onnx", "ct.npy", "histology.npy", "cover.png", "picture.png"} <= names
    assert description["authors"] == [{"name": "The tomostain developers"}]
    assert description["license"] == "BSD-3-Clause"
    assert "Irvine" in description["cite"][0]["text"]
    assert {"x-ray-microscopy", "in-silico-labeling", "unet", "virtual-staining"} <= set(description["tags"])
    assert description["config"]["tomostain"]["model_hash"] == load_model("builtin:phantom-he").hash
    validation = texts["README.md"].decode().split("## Validation\n")[1].split("\n## ")[0]
    assert "test_ssim: 0.664" in validation
    assert "tomostain evaluate" in validation
    assert "Do not use them for a diagnosis" in validation
    cover = read_image(package.with_suffix("") / "cover.png")
    assert cover.shape[1] == 2 * cover.shape[0]
    assert cover.std() > 30


def test_the_zoo_accepts_the_package(package):
    core = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed")
    summary = core.test_model(package)
    assert summary.status == "passed", summary.format()


def test_the_test_input_gives_the_test_output(package):
    folder = package.with_suffix("")
    (colours,) = onnxruntime.InferenceSession(folder / "weights.onnx").run(None, {"ct": np.load(folder / "ct.npy")})
    np.testing.assert_allclose(colours, np.load(folder / "histology.npy"), atol=1e-2)
    shown = read_image(folder / "histology.png")
    np.testing.assert_allclose(shown, np.moveaxis(colours[0], 0, -1), atol=0.51)
    assert tifffile.imread(folder / "ct.tif").shape == (128, 128)


def test_a_package_with_several_slices_noise_and_a_volume(tmp_path):
    model = random_model(tmp_path / "model", SMALL["convnext-unet"], **OPTIONS["convnext-unet"])
    grey = np.full((8, 64, 64), 1000, np.uint16) + np.random.default_rng(0).integers(0, 50, (8, 64, 64), np.uint16)
    grey[:, 20:44, 10:60] += 4000
    write_stack(tmp_path / "reco", grey, voxel_um=5.0)
    out = tmp_path / "package"
    words = ["--to", "bioimageio", "--ct", tmp_path / "reco", "--author", "A. Name", "--licence", "CC-BY-4.0"]
    assert run(["-q", "export", str(model), str(out), *map(str, words)]) == 0
    description = yaml.safe_load((out / "rdf.yaml").read_text(encoding="utf-8"))
    assert [each["id"] for each in description["inputs"]] == ["ct", "noise"]
    assert description["config"]["tomostain"]["test_input"] == "the centre of reco"
    ct = np.load(out / "ct.npy")
    assert ct.shape == (1, 3, 32, 32)
    assert abs(np.median(ct[ct > 20000]) - 30000) < 500
    core = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed")
    summary = core.test_model(out / "rdf.yaml")
    assert summary.status == "passed", summary.format()
    assert run(["-q", "export", str(model), str(out), *map(str, words)]) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    assert run(["-q", "export", str(model), str(tmp_path / "other"), *map(str, words), "--overwrite"]) == 2
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.tif", "--to", "onnx"], "an onnx file must be named *.onnx"),
        (["m.zip", "--to", "bioimageoi"], "unknown format; did you mean 'bioimageio'?"),
        (["m.onnx", "--to", "onnx", "--level", "1"], "--level: is not for onnx, a format of models; omit it"),
        (["m.zip", "--to", "bioimageio"], "needs the names of the authors; give --author"),
        (["m.zip", "--to", "bioimageio", "--author", "A/B"], "--author 'A/B': give a name without a slash"),
        (
            ["m.zip", "--to", "bioimageio", "--author", "A"],
            "such as CC-BY-4.0, and the model states none; give one as --licence",
        ),
        (["m.onnx", "--to", "onnx", "--author", "A"], "--author: is for bioimageio; an onnx file has none, omit it"),
        (
            ["m.vti", "--to", "vti"],
            "is a model, and vti is a format of volumes; formats of models: onnx and",
        ),
        (["m.zip", "--to", "bioimageio", "--author", "A", "--licence", "MIT License"], "'MIT License' is none"),
        (["m.vti", "--to", "vti", "--author", "A"], "--author: is not for vti, a format of volumes; omit it"),
    ],
)
def test_wrong_options_give_a_one_line_error(words, message, tmp_path, capsys):
    model = random_model(tmp_path / "model", SMALL["unet"], **OPTIONS["unet"])
    assert run(["export", str(model), str(tmp_path / words[0]), *words[1:]]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_a_volume_is_not_a_model(tmp_path, capsys):
    (tmp_path / "stained.ome.zarr").mkdir()
    assert run(["export", str(tmp_path / "stained.ome.zarr"), str(tmp_path / "a.onnx"), "--to", "onnx"]) == 2
    assert "is a volume, and onnx is a format of models" in capsys.readouterr().err


def test_check_recognises_exported_models_and_finds_damage(package, tmp_path, capsys):
    folder, onnx_file = package.with_suffix(""), tmp_path / "weights.onnx"
    onnx_file.write_bytes((folder / "weights.onnx").read_bytes())
    for path in (onnx_file, package, folder):
        assert run(["-q", "check", str(path)]) == 0
        assert f"{path}: exported model" in capsys.readouterr().out
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "ct.npy").write_bytes(b"other")
    onnx_file.write_bytes(onnx_file.read_bytes()[:2000])
    for path, message in ((copy, "ct.npy does not match its SHA-256"), (onnx_file, "is no valid ONNX file")):
        assert run(["-q", "check", str(path)]) == 2
        assert message in capsys.readouterr().err
    (copy / "ct.npy").unlink()
    assert run(["-q", "check", str(copy)]) == 2
    assert "ct.npy is missing or damaged" in capsys.readouterr().err


def test_the_commands_and_the_script_of_the_page_run(tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^    tomostain (export .*)$", text, flags=re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    random_model(tmp_path / "run" / "model", SMALL["unet"], **OPTIONS["unet"])
    for command in commands:
        assert run(["-q", *shlex.split(command)]) == 0
    assert re.findall(r"^    (bioimageio .*)$", text, flags=re.MULTILINE) == ["bioimageio test phantom-tb.zip"]
    assert Path("phantom-tb.zip").is_file()  # another test runs the zoo's test
    grey = np.random.default_rng(0).uniform(7000, 26000, (70, 100)).astype(np.uint16)
    tifffile.imwrite("slice.tif", grey)
    script = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    assert len([line for line in script.splitlines() if line.strip()]) == 10
    exec(compile(script, "exchange.md", "exec"), {})
    stained = tifffile.imread("stained.tif").astype(int)
    normalised = (10000 + 20000 * (grey.astype(np.float32) - 8200) / (21300 - 8200))[None, :64, :96]
    expected = load_translator(builtin_folder("phantom-tb"), "cpu")(torch.from_numpy(normalised))[0].numpy()
    assert np.abs(stained - np.moveaxis(expected, 0, -1)).max() <= 1
    assert load_stainer("builtin:phantom-tb", device="cpu").voxel_um == 20
