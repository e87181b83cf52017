"""Staining on a simulated GPU: no operator mixes two devices, and the host waits only for copies of results."""

from collections import Counter

import pytest
import torch

from tests.support.simulated_gpu import GPU, is_possible, simulated_gpu
from tests.support.textures import pair, tissue
from tests.support.toys import LEVELS, RESNET, grey_values, toy_model, two_way_model
from tomostain.io import Volume
from tomostain.ood.neighbourhoods import neighbourhood_reference
from tomostain.ood.novelty import training_reference
from tomostain.ood.tensor_novelty import TensorNovelty
from tomostain.stain import StainConfig, stain_volume
from tomostain.tiling.noise import NoiseSpec

pytestmark = [
    pytest.mark.skipif(not is_possible(), reason="this torch has GPUs, or another layout"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),  # torch's own copy of a network
]

CHANNEL = RESNET | {"norm": "channel"}
SHAPE = (10, 50, 41)
# Before the first slice, and once for the comparison of the precision with float32, which runs in its own thread.
ONCE = {"translator._build", "precision_check.measure_deviation", "precision_check.<listcomp>"}
NOVELTIES = ["novelty", "older novelty", "two models and novelty"]


@pytest.fixture
def gpu(monkeypatch):
    with simulated_gpu(monkeypatch) as simulated:
        yield simulated


def stain(gpu, model, shape=SHAPE, **options):
    volume = Volume.from_array(grey_values(shape).astype("uint16"), voxel_um=5.0, name="array")
    config = StainConfig(patch_px=32, z_chunk=4, **options.pop("config", {}))
    stained = stain_volume(model, volume, config=config, intensity=LEVELS, device="cuda:0", **options)
    assert stained.shape == (*shape, 3)
    return Counter(where.partition(":")[0] for where in gpu.waits)


@pytest.fixture(params=["exact tiles", "blended patches", "slice context and noise"])
def model(request, tmp_path):
    if request.param == "slice context and noise":
        spec = {"in_channels": 1, "ct_slices": 3, "noise": NoiseSpec(channels=1)}
        return toy_model(tmp_path / "model", CHANNEL | {"in_channels": 4}, **spec)
    return toy_model(tmp_path / "model", CHANNEL if request.param == "exact tiles" else RESNET)


def test_nothing_waits_while_a_volume_is_stained(gpu, model):
    assert set(stain(gpu, model)) <= ONCE
    # Each z chunk is copied there once, as stored, and comes back once, with the number of wrong values of each slice.
    chunks = [4, 4, 2]
    assert [shape for shape in gpu.downloads if len(shape) == 4] == [(n, *SHAPE[1:], 3) for n in chunks]
    assert [shape for shape in gpu.downloads if len(shape) == 1] == [(n,) for n in chunks]
    assert len([shape for shape in gpu.uploads if len(shape) == 3 and shape[1:] == SHAPE[1:]]) == len(chunks)


@pytest.mark.parametrize("planes", ["z", "zyx"])
def test_more_slices_wait_no_more(gpu, model, planes):
    few = stain(gpu, model, config={"planes": planes})
    gpu.forget()
    assert stain(gpu, model, (30, *SHAPE[1:]), config={"planes": planes}) == few


def test_nothing_waits_while_a_volume_is_stained_along_three_axes(gpu, model):
    assert set(stain(gpu, model, config={"planes": "zyx"})) <= ONCE


def test_the_channels_of_a_stored_volume_come_back_before_the_rows(gpu, model, tmp_path):
    values = grey_values(SHAPE).astype("uint16")
    volume, out = Volume.from_array(values, voxel_um=5.0, name="array"), tmp_path / "out.ome.zarr"
    stain_volume(model, volume, out, config=StainConfig(patch_px=32, z_chunk=4), intensity=LEVELS, device="cuda:0")
    assert [shape for shape in gpu.downloads if len(shape) == 4] == [(n, 3, *SHAPE[1:]) for n in (4, 4, 2)]
    assert {where.partition(":")[0] for where in gpu.waits} <= ONCE


def test_statistics_of_a_volume_are_computed_on_the_device(gpu, tmp_path):
    model = toy_model(tmp_path / "model", RESNET)
    waits = set(stain(gpu, model, config={"statistics": "volume"})) - ONCE
    assert {where.partition(".")[0] for where in waits} <= {"volume_statistics", "integers"}


def seen(kind):
    """Return the training reference of the models, as stored."""
    pairs = [pair(tissue(seed, shape=(64, 64))) for seed in range(2)] if "novelty" in kind else []
    make = neighbourhood_reference if "older" in kind else training_reference
    return make(pairs).to_arrays() if pairs else None


def uncertain_models(kind, folder):
    """Return models, the number of seeds, and whether they see three slices."""
    if kind == "cycle error":
        return [two_way_model(folder / "model", CHANNEL)], 1
    number = {"two models": 2, "four models": 4, "two models and novelty": 2}.get(kind, 1)
    spec = {"in_channels": 1, "ct_slices": 3, "noise": NoiseSpec(channels=1), "seen": seen(kind)}
    models = [toy_model(folder / f"model{n}", CHANNEL | {"in_channels": 4}, n, **spec) for n in range(number)]
    return models, 5 if kind == "five seeds" else 1


@pytest.mark.parametrize("config", [{}, {"stride_px": 16}], ids=["exact tiles", "blended patches"])
@pytest.mark.parametrize("kind", ["two models", "four models", "five seeds", "cycle error", *NOVELTIES])
def test_nothing_waits_while_the_uncertainty_is_computed(gpu, tmp_path, kind, config):
    models, samples = uncertain_models(kind, tmp_path)
    options = {"uncertainty": tmp_path / "uncertainty.ome.zarr", "ensemble": models[1:], "noise_samples": samples}
    volume = Volume.from_array(grey_values(SHAPE).astype("uint16"), voxel_um=5.0, name="array")
    config = StainConfig(patch_px=32, z_chunk=4, **config)
    out = tmp_path / "out.ome.zarr"
    stain_volume(models[0], volume, out, config=config, intensity=LEVELS, device="cuda:0", **options)
    assert {where.partition(":")[0] for where in gpu.waits} <= ONCE
    # Each z chunk: colours, map, and the number of wrong values of each slice in each picture and in the novelty.
    assert [shape for shape in gpu.downloads if len(shape) == 4] == [(n, 3, *SHAPE[1:]) for n in (4, 4, 4, 4, 2, 2)]
    pictures = len(models) + samples - 1 + (kind == "cycle error") + (kind in NOVELTIES)
    assert [shape for shape in gpu.downloads if len(shape) == 2] == [(pictures, n) for n in (4, 4, 2)]
    assert len([shape for shape in gpu.uploads if len(shape) == 3 and shape[1:] == SHAPE[1:]]) == 3


def test_novelty_on_a_gpu_takes_few_operators_and_no_wait(gpu):
    reference = training_reference([pair(tissue(seed, shape=(96, 96))) for seed in range(2)])
    novelty = TensorNovelty([reference], GPU)
    operators = []
    for slices in (1, 8, 8):  # at the first slices the weights of the filters are copied, too
        gpu.forget()
        assert novelty(torch.zeros(slices, 1024, 1024, device=GPU)).shape == (slices, 1024, 1024)
        assert not gpu.waits
        operators.append(gpu.operators)
    assert operators[2] / 8 < 200
    assert all(len(shape) != 3 for shape in gpu.uploads)
