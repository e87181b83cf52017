"""Recipes and models whose numbers would fill the memory or never end: one line, before anything is built."""

import json
import pickle
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.support.training import toy_pair, toy_recipe
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.io.checksums import format_sums, sha256
from tomostain.io.models import CHECKED, GENERATOR, SPEC, SUMS
from tomostain.stain import load_translator
from tomostain.train import load_recipe, train
from tomostain.train.checkpoint import read_checkpoint
from tomostain.train.logbook import Logbook
from tomostain.train.requirements import check_requirements


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_dataset(tmp_path_factory.mktemp("toy") / "dataset", [toy_pair(f"p{n}", n) for n in range(2)]).path


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return train(dataset, folder / "run", recipe=toy_recipe(terms={"l1": 1}), max_steps=1) / "model"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("betas: [1, 0.999]", "betas.0 = 1: input should be less than 1"),
        ("betas: [0.5, 1.0]", "betas.1 = 1.0"),
        ("betas: [-0.1, 0.9]", "betas.0 = -0.1"),
        ("betas: [0.5]", "betas"),
        ("patch_px: 1000000", "patch_px = 1000000: input should be less than or equal to 8192"),
        (f"patch_px: {10**30}", "is not a possible number"),
        ("patch_px: 1e30", "patch_px = '1e30'"),
        (f"batch: {10**9}", "batch = 1000000000: input should be less than or equal to 65536"),
        ("accumulate: 7", "accumulate 7 does not divide batch"),
        (f"buffer: {10**9}", "buffer = 1000000000"),
        (f"epochs: {10**12}", "epochs = 1000000000000"),
        ("learning_rate: .inf", "learning_rate = inf"),
        ("learning_rate: 1e400", "learning_rate"),
        ("generator: {blocks: 4096}", "blocks"),
        ("generator: {width: 5000}", "width"),
        ("generator: {width: -1}", "width"),
        ("generator: {name: unet, downs: 4000}", "downs"),
        ("discriminator: {layers: 4096}", "layers"),
        ("ct_slices: 1000001", "ct_slices"),
        ("noise: {channels: 1000000}", "noise.channels"),
        ("terms: {l1: 1e400}", "terms"),
        ("batch: 1\nbatch: 2", "key 'batch' occurs twice, line 4"),
        ("augment: 2024-13-45", "is not a possible date, line 3"),
    ],
)
def test_impossible_values_of_a_recipe_give_a_one_line_error(tmp_path, line, message):
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: paired-cyclegan\nname: mine\n{line}\n")
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": {"name": "resnet", "width": 2048, "blocks": 9}},
        {"batch": 65536, "patch_px": 256},
        {"patch_px": 8192, "generator": {"name": "resnet", "width": 64, "blocks": 9}},
        {"generator": {"name": "unet", "width": 4096, "downs": 4}, "terms": {"conditional_adversarial": 1, "l1": 1}},
    ],
    ids=["wide", "batch", "patch", "unet"],
)
def test_networks_above_the_memory_are_refused_before_they_are_built(dataset, tmp_path, changes, monkeypatch):
    monkeypatch.setattr("tomostain.train.requirements.free_memory", lambda: 64 * 10**9)
    recipe, began = toy_recipe(**changes), time.process_time()
    with pytest.raises(
        InputError, match=r"recipe 'toy': a step needs about .* GB of memory, but 64 GB are free on cpu"
    ):
        train(dataset, tmp_path / "run", recipe=recipe, device="cpu", max_steps=1)
    assert time.process_time() - began < 30
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_too_small_is_named_before_the_start(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("tomostain.train.requirements.free_disk", lambda path: 1000)
    with pytest.raises(InputError, match=r"run: the run needs about .* on the disk, but 0.001 MB are free; free some"):
        train(dataset, tmp_path / "run", recipe=toy_recipe(), device="cpu", max_steps=1)


def changed(model, folder, spec=None, state=None):
    """Copy a model with another specification or other weights, and correct its checksums."""
    folder.mkdir()
    for path in model.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    if spec is not None:
        values = yaml.safe_load((folder / SPEC).read_text())
        (folder / SPEC).write_text(yaml.safe_dump(spec(values)))
    if state is not None:
        save_file(state(load_file(folder / GENERATOR)), folder / GENERATOR)
    sums = {name: sha256(folder / name) for name in CHECKED if (folder / name).exists()}
    (folder / SUMS).write_text(format_sums(sums))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {n: t.to(torch.int64) for n, t in s.items()}, "is int64, but weights are floating-point"),
        (lambda s: {n: t.to(torch.bool) for n, t in s.items()}, "is bool, but weights are floating-point"),
        (lambda s: {n: t.to(torch.complex64) for n, t in s.items()}, "is complex64, but weights are floating-point"),
        (lambda s: {n: t.half() if "bias" in n else t for n, t in s.items()}, "is float16, but weights are float32"),
        (
            lambda s: {n: t.to(torch.uint8) if "bias" in n else t for n, t in s.items()},
            "is uint8, but weights are float32",
        ),
    ],
    ids=["integer", "bool", "complex", "mixed", "mixed integer"],
)
def test_weights_of_another_type_are_refused(model, tmp_path, change, message):
    with pytest.raises(InputError, match=f"tensor '.*' {message}; the weights do not match"):
        load_translator(changed(model, tmp_path / "model", state=change), "cpu")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("patch_px", 20_000, "patch_px = 20000: input should be less than or equal to 8192"),
        ("generator", {"name": "resnet", "width": 2048, "blocks": 9}, "has shape"),
        ("generator", {"name": "resnet", "width": 2, "blocks": 4096}, "blocks"),
    ],
)
def test_a_model_with_impossible_sizes_is_refused_at_once(model, tmp_path, key, value, message):
    folder = changed(model, tmp_path / "model", spec=lambda values: values | {key: value})
    began = time.process_time()
    with pytest.raises(InputError, match=message):
        load_translator(folder, "cpu")
    assert time.process_time() - began < 10


def test_enough_memory_is_not_an_error(tmp_path):
    from tomostain.train.distributed import DistributedContext

    check_requirements(toy_recipe(), tmp_path / "run", DistributedContext("cpu"), resumed=False)
    assert json.loads(toy_recipe().model_dump_json())["deterministic"] is False


@pytest.mark.parametrize("name", ["ct.tif", "extra.tif"])
def test_an_endless_image_is_refused(tmp_path, name):
    dataset = save_dataset(tmp_path / "dataset", [toy_pair(f"p{n}", n) for n in range(2)]).path
    image = dataset / "pairs/p0" / name
    image.unlink(missing_ok=True)
    image.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name}: is a device, not a file"):
        train(dataset, tmp_path / "run", recipe=toy_recipe(terms={"l1": 1}), max_steps=1)


def test_augmentation_by_an_impossible_scale_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_text(toy_recipe().to_yaml().replace("- 1.1", "- 1000000000.0"))
    with pytest.raises(InputError, match=r"must be from 0\.05 to 20"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stap,epoch,seconds,total,l1\n", "an unknown column 'stap'"),
        ("This is not a table.\n", "an unknown column"),
        ("epoch,seconds\n1,2\n", "no column 'step'"),
        ("step,epoch,seconds\n-1,1,1\n", r"line 2: step '-1' is not a number"),
        ("step,epoch,seconds\nabc,1,1\n", r"line 2: step 'abc' is not a number"),
    ],
)
def test_a_damaged_table_of_metrics_is_named(tmp_path, text, message):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        Logbook(tmp_path, ["total", "l1"], 3)
    assert (tmp_path / "metrics.csv").read_text() == text


@pytest.mark.parametrize("change", [{"step": -1}, {"step": 10**30}, {"step": "abc"}, {"seconds": float("nan")}])
def test_a_checkpoint_of_an_impossible_step_is_refused(dataset, tmp_path, change):
    options = {"recipe": toy_recipe(terms={"l1": 1}), "max_steps": 1}
    train(dataset, tmp_path / "run", **options)
    values = torch.load(tmp_path / "run/last", weights_only=True)
    torch.save(values | change, tmp_path / "run/last")
    with pytest.raises(InputError, match=r"run/last: does not fit this run"):
        train(dataset, tmp_path / "run", resume=True, **options)


def test_a_checkpoint_of_another_pickle_protocol_gives_a_one_line_error(tmp_path, recwarn):
    (tmp_path / "last").write_bytes(pickle.dumps({"networks": {}}, protocol=4))
    with pytest.raises(InputError, match="broken, or not a checkpoint"):
        read_checkpoint(tmp_path / "last")
    assert not recwarn.list
