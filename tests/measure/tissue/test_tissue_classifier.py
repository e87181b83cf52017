"""Training, files and use of tissue classifiers, on volumes with known classes."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tomostain.errors import InputError, OutOfDistributionWarning
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import Volume
from tomostain.measure.classes import TissueClass
from tomostain.measure.tissue.channels import ct_channel, stain_channels
from tomostain.measure.tissue.classifier import ClassifierSpec, TissueClassifier, Weights
from tomostain.measure.tissue.classifier_files import (
    SPEC,
    WEIGHTS,
    builtin_classifier,
    builtin_classifiers,
    load_classifier,
    save_classifier,
)
from tomostain.measure.tissue.classify import ClassifyOptions, classify_image, classify_volume
from tomostain.measure.tissue.features import FeatureSpec, image_features, volume_features
from tomostain.measure.tissue.stain_vectors import TOLUIDINE_BLUE_PYRONIN, transmitted
from tomostain.measure.tissue.training import Samples, TrainingConfig, choose_voxels, train_classifier

FEATURES = FeatureSpec(scales=(1, 2), gradients=(1,), extremes=())
SPEC_CT = ClassifierSpec(variant="ct", voxel_um=20.0, features=FEATURES, hidden=8)
GREY = {TissueClass.VOID: 10000, TissueClass.SOFT: 13000, TissueClass.BONE: 30000, TissueClass.METAL: 55000}
QUICK = TrainingConfig(members=3, epochs=6, batch=256)


def blocks(seed: int, classes=tuple(GREY), shape=(24, 24, 24)):
    """Return labels in blocks of 8 voxels, and their noisy normalised µCT."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(classes, [side // 8 for side in shape])
    labels = coarse.astype(np.uint8)
    for axis in range(len(shape)):
        labels = np.repeat(labels, 8, axis=axis)
    grey = np.vectorize(lambda each: GREY.get(each, 10000), otypes=[float])(labels) + rng.normal(0, 800, labels.shape)
    return labels, np.clip(grey, 0, 65535).astype(np.uint16)


def samples_of(labels, ct, name, count=3000):
    features = volume_features(ct_channel(ct), FEATURES)
    chosen = choose_voxels(labels, count, 0)
    return Samples(name, features.reshape(len(features), -1)[:, chosen].T, labels.reshape(-1)[chosen])


@pytest.fixture(scope="module")
def classifier():
    return train_classifier([samples_of(*blocks(seed), f"block{seed}") for seed in range(4)], SPEC_CT, QUICK)


@pytest.fixture(scope="module")
def test_volume():
    labels, ct = blocks(99)
    return labels, Volume.from_array(ct, 20.0)


def test_a_known_volume_is_classified(classifier, test_volume):
    labels, ct = test_volume
    found = classify_volume(classifier, ct=ct)
    assert (found.labels == labels).mean() > 0.9
    wrong = found.labels != labels
    assert found.uncertainty[wrong].mean() > 1.5 * found.uncertainty[~wrong].mean()
    assert classifier.spec.training.dice["METAL"] > 0.95
    assert classifier.spec.training.held_out == (("block0", "block3"), ("block1",), ("block2",))


def test_the_parts_do_not_change_the_result(classifier, test_volume, monkeypatch):
    _, ct = test_volume
    whole = classify_volume(classifier, ct=ct)
    probabilities = classifier.predict(ct_channel(ct.read(0, 24)))
    labels, uncertainty = classifier.decide(probabilities)
    assert np.array_equal(labels, whole.labels)
    assert np.array_equal(uncertainty, whole.uncertainty)
    parts = []
    monkeypatch.setattr("tomostain.measure.tissue.classify._SLICES", 5)
    classify_volume(classifier, ct=ct, out=lambda *part: parts.append(part))
    assert [start for start, *_ in parts] == [0, 5, 10, 15, 20]
    assert np.array_equal(np.concatenate([each[1] for each in parts]), whole.labels)
    assert np.array_equal(np.concatenate([each[2] for each in parts]), whole.uncertainty)


def test_scans_in_another_scale_are_normalised(classifier, test_volume):
    _, ct = test_volume
    other = Volume.from_array((ct.read(0, 24) * 0.5 + 3000).astype(np.float32), 20.0)
    found = classify_volume(classifier, ct=other, reference=IntensityReference(8000, 18000))
    assert (found.labels == classify_volume(classifier, ct=ct).labels).mean() > 0.999


def test_probabilities_of_the_ensemble_are_the_mean_of_the_members(classifier):
    features = np.random.default_rng(0).normal(size=(len(SPEC_CT.feature_names), 500)).astype(np.float32)
    members = [classifier.probabilities(features, k) for k in range(3)]
    np.testing.assert_allclose(classifier.probabilities(features), np.mean(members, axis=0), atol=1e-6)
    assert not np.allclose(members[0], members[1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_probabilities_equal_torch_and_sum_to_1(seed):
    rng = np.random.default_rng(seed)
    n, hidden, outputs = len(SPEC_CT.feature_names), 8, 6
    arrays = [
        rng.normal(size=shape) for shape in ((n,), (1, hidden, n), (1, hidden), (1, outputs, hidden), (1, outputs))
    ]
    mean, w1, b1, w2, b2 = (each.astype(np.float32) for each in arrays)
    scale = rng.uniform(0.5, 2, n).astype(np.float32)
    one = TissueClassifier(SPEC_CT, Weights(mean, scale, w1, b1, w2, b2))
    x = rng.normal(size=(n, 50)).astype(np.float32)
    found = one.probabilities(x)
    t = torch.from_numpy((x.T - mean) / scale)
    expected = torch.softmax(torch.relu(t @ torch.from_numpy(w1[0]).T + b1[0]) @ torch.from_numpy(w2[0]).T + b2[0], 1)
    np.testing.assert_allclose(found, expected.numpy().T, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_bits():
    samples = [samples_of(*blocks(seed), str(seed), 500) for seed in range(2)]
    config = TrainingConfig(members=2, epochs=2, batch=128, seed=7)
    first, second = (train_classifier(samples, SPEC_CT, config) for _ in range(2))
    assert np.array_equal(first.weights.hidden, second.weights.hidden)
    other = train_classifier(samples, SPEC_CT, config.model_copy(update={"seed": 8}))
    assert not np.array_equal(first.weights.hidden, other.weights.hidden)


def test_augmentation_is_a_gain_and_offset_of_the_channels():
    from tomostain.measure.tissue.training import _Augmentation

    labels, ct = blocks(0)
    features = samples_of(labels, ct, "a", 200).features
    mean, scale = features.mean(axis=0), features.std(axis=0)
    config = TrainingConfig(gain=0.1, offset=0.2)
    augment = _Augmentation(SPEC_CT, config, (mean, scale), torch.Generator().manual_seed(0))
    changed = augment(torch.from_numpy((features - mean) / scale)).numpy() * scale + mean
    generator = torch.Generator().manual_seed(0)
    gain = 1 + 0.1 * torch.randn(200, 1, generator=generator).numpy()
    offset = 0.2 * torch.randn(200, 1, generator=generator).numpy()
    is_gradient = np.array(["gradient" in name for name in SPEC_CT.feature_names])
    np.testing.assert_allclose(changed, features * gain + offset * ~is_gradient, rtol=1e-3, atol=1e-4)


def test_not_measured_voxels_train_nothing():
    labels, ct = blocks(0)
    labels[:12] = TissueClass.NOT_MEASURED
    samples = samples_of(labels, ct, "half", 10**6)
    assert len(samples.classes) == labels.size // 2
    assert TissueClass.NOT_MEASURED not in samples.classes
    with pytest.raises(InputError, match="no measured voxels"):
        train_classifier([samples_of(np.full_like(labels, 255), ct, "none")], SPEC_CT, QUICK)


def test_a_section_is_classified():
    spec = ClassifierSpec(
        variant="section", stain="toluidine-blue", voxel_um=20.0, features=FEATURES.model_copy(update={"dimension": 2})
    )
    rng = np.random.default_rng(0)

    def image():
        classes = np.repeat(np.repeat(rng.choice([0, 1, 2], (6, 6)), 8, 0), 8, 1).astype(np.uint8)
        amounts = np.array([[0.02, 0.02], [0.6, 0.1], [0.2, 0.9]])[classes] + rng.normal(0, 0.05, (48, 48, 2))
        return classes, transmitted(np.maximum(amounts, 0) @ TOLUIDINE_BLUE_PYRONIN.density, np.full(3, 255))

    samples = []
    for name in "ab":
        classes, rgb = image()
        features = image_features(stain_channels(rgb, "toluidine-blue"), spec.features)
        samples.append(Samples(name, features.reshape(len(features), -1).T, classes.reshape(-1)))
    one = train_classifier(samples, spec, QUICK)
    classes, rgb = image()
    found = classify_image(one, rgb, 20.0)
    assert (found.labels == classes).mean() > 0.97
    with pytest.raises(InputError, match=r"pixels of 10 µm, but .* trained at 20 µm; resample the volume to 20 µm"):
        classify_image(one, rgb, 10.0)
    with pytest.raises(InputError, match="classifies sections"):
        classify_volume(one, ct=Volume.from_array(np.zeros((2, 8, 8), np.uint16), 20.0))


def test_another_batch_of_the_stain_is_separated_by_its_own_vectors(classifier):
    rgb = transmitted(np.array([[[0.5, 0.9, 0.2]]]), np.full(3, 255))
    default = stain_channels(rgb, "toluidine-blue")
    assert np.array_equal(stain_channels(rgb, TOLUIDINE_BLUE_PYRONIN), default)
    assert ClassifyOptions().vectors is None


def test_files_keep_every_bit(classifier, test_volume, tmp_path):
    save_classifier(tmp_path / "one", classifier)
    loaded = load_classifier(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [WEIGHTS, SPEC]
    assert loaded.spec == classifier.spec
    first, second = (classify_volume(each, ct=test_volume[1]) for each in (classifier, loaded))
    assert np.array_equal(first.labels, second.labels)
    assert first.far_share == second.far_share
    with pytest.raises(InputError, match="exists"):
        save_classifier(tmp_path / "one", classifier)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "no such file"),
        (lambda folder: (folder / SPEC).unlink(), "no folder of a classifier"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\x00" * 100), "is damaged"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-50]), "is damaged"),
        (lambda folder: _replace(folder, "hidden: 8", "hidden: 9"), "'hidden' is float32 of shape"),
        (lambda folder: _replace(folder, "variant: ct", "variant: xray"), "variant = 'xray'"),
        (lambda folder: _replace(folder, "- 5\n", "- 255\n"), "must be different tissue classes"),
        (lambda folder: _tensor(folder, "output", float("nan")), "holds NaN"),
        (lambda folder: _tensor(folder, "scale", 0.0), "not positive"),
        (lambda folder: _tensor(folder, "limits", float("inf")), "training reference holds NaN"),
    ],
)
def test_damaged_folders_are_refused(classifier, tmp_path, change, message):
    folder = save_classifier(tmp_path / "one", classifier)
    change(folder)
    with pytest.raises(InputError, match=message):
        load_classifier(folder)


def _replace(folder, old, new):
    text = (folder / SPEC).read_text(encoding="utf-8")
    assert old in text
    (folder / SPEC).write_text(text.replace(old, new, 1), encoding="utf-8")


def _tensor(folder, name, value):
    from tomostain.io.tensors import read_tensors, write_tensors

    tensors = read_tensors(folder / WEIGHTS)
    tensors[name] = torch.full_like(tensors[name], value)
    write_tensors(folder / WEIGHTS, tensors)


def test_wrong_inputs_are_refused(classifier, test_volume):
    _, ct = test_volume
    with pytest.raises(InputError, match="give `ct`"):
        classify_volume(classifier, stained=ct)
    with pytest.raises(InputError, match=r"`voxel_um` is 5 x 5 x 5 µm, but the tissue classifier was trained at 20 µm"):
        classify_volume(classifier, ct=Volume.from_array(np.zeros((2, 8, 8), np.uint16), 5.0))
    with pytest.raises(InputError, match="members 0 to 2"):
        classifier.predict(np.zeros((1, 4, 4, 4), np.float32), member=3)
    with pytest.raises(InputError, match=r"give \(1, Z, Y, X\)"):
        classifier.predict(np.zeros((2, 4, 4, 4), np.float32))
    with pytest.raises(InputError, match="no folder of a classifier"):
        load_classifier("nowhere")
    with pytest.raises(InputError, match="no such built-in classifier"):
        load_classifier("builtin:nothing")


def test_unlike_volumes_are_reported_and_like_ones_are_not(classifier):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(20, 26):
            classify_volume(classifier, ct=Volume.from_array(blocks(seed)[1], 20.0))
    rng = np.random.default_rng(0)
    noise = Volume.from_array(rng.integers(0, 65535, (24, 24, 24)).astype(np.uint16), 20.0)
    with pytest.warns(OutOfDistributionWarning, match="unlike the training data of the tissue classifier"):
        found = classify_volume(classifier, ct=noise)
    assert found.far_share > 0.5


def test_built_in_classifiers_load_and_are_small():
    from tomostain.measure.tissue.classifier_files import FOLDER

    assert {"phantom-ct", "phantom-tb-both", "phantom-tb-stain", "phantom-tb-section"} <= set(builtin_classifiers())
    for name in builtin_classifiers():
        one = load_classifier(f"builtin:{name}")
        assert one.familiarity is not None
        assert set(one.spec.training.dice) <= {each.name for each in TissueClass}
        assert sum(path.stat().st_size for path in (FOLDER / name).iterdir()) < 150_000
    assert builtin_classifier("ct") == "builtin:phantom-ct"
    assert builtin_classifier("section", "toluidine-blue") == "builtin:phantom-tb-section"
    with pytest.raises(InputError, match=r"no built-in one for the stain 'masson'.* `stain` to toluidine-blue or h&e"):
        builtin_classifier("stain", "masson")


def test_an_unknown_stain_can_be_set():
    with pytest.raises(InputError, match="stain is not known; set `stain` to toluidine-blue or h&e"):
        builtin_classifier("both", "unknown")
    with pytest.raises(InputError) as caught:
        builtin_classifier("section", "unknown")
    assert "labels" not in str(caught.value)  # a section has none


@pytest.mark.parametrize("name", ["HE", "H&E", "h-e", "h&e"])
def test_haematoxylin_and_eosin_have_several_names(name):
    assert builtin_classifier("both", name) == "builtin:phantom-he-both"


def test_nothing_of_a_folder_is_executed(classifier, tmp_path):
    folder = save_classifier(tmp_path / "one", classifier)
    (folder / "code.py").write_text("raise SystemExit", encoding="utf-8")
    torch.save({"weights": 1}, folder / "classifier.pt")
    assert load_classifier(folder).spec == classifier.spec
    shutil.copy(folder / "classifier.pt", folder / WEIGHTS)
    with pytest.raises(InputError, match="is damaged"):
        load_classifier(folder)
