"""LPIPS: equal to the authors' own figures; wrong weight files are refused."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from skimage.io import imread

from tomostain.errors import InputError
from tomostain.evaluate import Lpips
from tomostain.evaluate.metrics.lpips import (
    TAPS,
    features_of_torchvision,
    load_squeezenet,
    squeezenet_features,
)
from tomostain.networks.perceptual import alexnet_features, load_weights

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "../shared/data/lpips/alexnet_features.npz"


@pytest.fixture(scope="module")
def lpips():
    return Lpips("alex")


@pytest.fixture(scope="module")
def examples():
    return {name: imread(DATA / f"ex_{name}.png") for name in ("ref", "p0", "p1")}


# The README of github.com/richzhang/PerceptualSimilarity gives 0.722 and 0.138 for these images with AlexNet.
@pytest.mark.parametrize(("name", "distance"), [("p0", 0.722), ("p1", 0.138)])
def test_authors_example_distances(lpips, examples, name, distance):
    assert lpips(examples[name], examples["ref"]) == pytest.approx(distance, abs=5e-4)


@pytest.mark.skipif(not SHARED.is_file(), reason="the single-precision AlexNet weights are not here")
@pytest.mark.parametrize("name", ["p0", "p1"])
def test_half_precision_weights_change_the_distance_by_less_than_a_thousandth(lpips, examples, name):
    single = Lpips("alex")
    with np.load(SHARED) as arrays:
        state = {key: torch.from_numpy(arrays[key]) for key in arrays.files if not key.startswith("lin")}
    single._features.load_state_dict(state)
    difference = abs(single(examples[name], examples["ref"]) - lpips(examples[name], examples["ref"]))
    assert difference < 1e-3
    assert difference < 5e-5  # stated in the docstring of Lpips; 1.7e-5 and 0.3e-5 when measured


def test_equal_images_have_no_distance_and_order_does_not_matter(lpips, examples):
    assert lpips(examples["p0"], examples["p0"]) == 0
    assert lpips(examples["p0"], examples["p1"]) == pytest.approx(lpips(examples["p1"], examples["p0"]), rel=1e-6)


# torchvision's documentation gives 61,100,840 parameters for AlexNet, of which 58,631,144 are in its three linear
# layers (9216·4096+4096 + 4096·4096+4096 + 4096·1000+1000), and 1,235,496 for SqueezeNet 1.1, 513,000 of them in its
# classifier.
@pytest.mark.parametrize(
    ("build", "parameters"),
    [(alexnet_features, 61_100_840 - 58_631_144), (squeezenet_features, 1_235_496 - 513_000)],
)
def test_networks_have_the_parameters_that_torchvision_documents(build, parameters):
    assert sum(p.numel() for p in build().parameters()) == parameters


def test_squeezenet_maps_fit_the_learned_weights():
    heads = load_weights("lpips_heads.npz")
    x, channels = torch.zeros(1, 3, 64, 64), []
    for index, layer in enumerate(squeezenet_features()):
        x = layer(x)
        if index in TAPS["squeeze"]:
            channels.append(x.shape[1])
    assert channels == [len(heads[f"squeeze.lin{layer}"]) for layer in range(7)]
    assert all((head >= 0).all() for head in heads.values())  # the authors train them non-negative


def test_torchvision_keys_load_into_squeezenet():
    # Keys as in torchvision/models/squeezenet.py: features.0, features.N.{squeeze,expand1x1,expand3x3}, classifier.1.
    fires = [
        f"features.{n}.{part}" for n in (3, 4, 6, 7, 9, 10, 11, 12) for part in ("squeeze", "expand1x1", "expand3x3")
    ]
    keys = {f"{name}.{kind}" for name in ("features.0", *fires) for kind in ("weight", "bias")}
    state = {f"features.{key}": value for key, value in squeezenet_features().state_dict().items()}
    assert set(state) == keys
    squeezenet_features().load_state_dict(features_of_torchvision({**state, "classifier.1.bias": torch.zeros(1000)}))


def test_the_error_of_squeezenet_without_weights_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"SqueezeNet's weights for LPIPS are missing; download https:"):
        load_squeezenet(cache=tmp_path)


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "squeezenet1_1-b8a52dc0.pth"
    torch.save({f"features.{key}": value for key, value in squeezenet_features().state_dict().items()}, path)
    with pytest.raises(InputError, match=r"SHA-256 is .*, expected b8a52dc049b6"):
        Lpips("squeeze", weights=path)


@pytest.fixture
def served(tmp_path):
    """Serve a folder on this machine; return the folder and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_bad_download_leaves_nothing_behind(tmp_path, monkeypatch, served):
    folder, url = served
    (folder / "served.pth").write_bytes(b"not the weights")
    monkeypatch.setattr("tomostain.evaluate.metrics.lpips.SQUEEZE_URL", f"{url}/served.pth")
    with pytest.raises(InputError, match="SHA-256"):
        load_squeezenet(fetch=True, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unreachable_download_is_reported(tmp_path, monkeypatch, served):
    monkeypatch.setattr("tomostain.evaluate.metrics.lpips.SQUEEZE_URL", f"{served[1]}/gone.pth")
    with pytest.raises(InputError, match="cannot be fetched"):
        load_squeezenet(fetch=True, cache=tmp_path / "cache")


def test_wrong_input_is_named(lpips):
    small, large = np.zeros((31, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="31 × 64 px; both sides must be 32 px"):
        lpips(small, small)
    with pytest.raises(InputError, match="one shape"):
        lpips(small, large)
    with pytest.raises(InputError, match="did you mean 'alex'"):
        Lpips("alexnet")
    with pytest.raises(InputError, match="use 'squeeze'"):
        Lpips("alex", weights="squeezenet.pth")


def test_the_label_names_the_network(lpips):
    assert lpips.label == "LPIPS (AlexNet)"
