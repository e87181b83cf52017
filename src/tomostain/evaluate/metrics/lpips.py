"""Learned perceptual image patch similarity (LPIPS), without torchvision (paper section 2.10).

Zhang et al. (2018), CVPR, pp. 586–595: with unit-normalised feature maps f_l of a pretrained network,
``d(x, y) = Σ_l mean_hw Σ_c w_lc (f_l(x) - f_l(y))²``. The learned weights w_l are shipped for both networks; the
features of AlexNet are shipped too. SqueezeNet 1.1, which the paper used, is a download. Values of the
two networks are not comparable, so every table names its network.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB, Metric, register_metric
from tomostain.imaging.network_range import histology_to_network
from tomostain.io.checksums import sha256
from tomostain.networks.perceptual import (
    ALEXNET_TAPS,
    MIN_SIDE_PX,
    SCALE,
    SHIFT,
    alexnet_features,
    load_weights,
)
from tomostain.paths import StrPath, cache_folder

SQUEEZE_URL = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
SQUEEZE_SHA256 = "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"
NETWORK_NAMES = {"alex": "AlexNet", "squeeze": "SqueezeNet"}
TAPS = {"alex": ALEXNET_TAPS, "squeeze": (1, 4, 7, 9, 10, 11, 12)}


class Fire(nn.Module):
    """SqueezeNet's module: 1 × 1 squeeze, then 1 × 1 and 3 × 3 expansion side by side (Iandola et al. 2016)."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, 2 · expand, H, W)."""
        s = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(s).relu(), self.expand3x3(s).relu()], dim=1)


def squeezenet_features() -> nn.Sequential:
    """Build SqueezeNet 1.1's convolutions, untrained; numbered as torchvision's ``features``."""
    pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )


class Lpips:
    """The LPIPS distance between uint8 RGB images.

    Parameters
    ----------
    network : {"alex", "squeeze"}
        AlexNet (weights shipped) or SqueezeNet 1.1 (the paper's).
    weights : path, optional
        For SqueezeNet: torchvision's ``squeezenet1_1-b8a52dc0.pth``. Default: the file in the cache folder.
    fetch : bool
        For SqueezeNet: download the file into the cache folder if it is not there.
    device : str or torch.device
        Where to compute.

    Raises
    ------
    InputError
        If the network is unknown, or SqueezeNet's weights are missing or differ from the pinned SHA-256.

    Notes
    -----
    AlexNet's shipped weights are in half precision. On the authors' three example images the distance changes by less
    than 5e-5 against single precision.
    """

    def __init__(
        self,
        network: str = "alex",
        weights: StrPath | None = None,
        *,
        fetch: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        if network not in NETWORK_NAMES:
            raise InputError(f"LPIPS network {network!r} is unknown{suggest(network, list(NETWORK_NAMES))}")
        if network == "alex" and weights is not None:
            raise InputError(f"{weights}: weights are given for LPIPS network 'alex', which has its own; use 'squeeze'")
        self.network = network
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):  # the layers begin with random weights, which are replaced
            features = alexnet_features() if network == "alex" else squeezenet_features()
        if network == "alex":
            state = load_weights("alexnet_features_float16.npz")
        else:
            state = load_squeezenet(weights, fetch=fetch)
        features.load_state_dict(state)
        self._features = features.eval().requires_grad_(False).to(self.device)
        heads = load_weights("lpips_heads.npz")
        self._heads = [heads[f"{network}.lin{layer}"].to(self.device) for layer in range(len(TAPS[network]))]

    @property
    def label(self) -> str:
        """The name in tables and figures, such as ``LPIPS (AlexNet)``."""
        return f"LPIPS ({NETWORK_NAMES[self.network]})"

    @torch.inference_mode()
    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
        """Return the distance, 0 for equal images, larger is worse.

        Parameters
        ----------
        a, b : ndarray of uint8, shape (Y, X, 3)
            RGB images with both sides of at least 32 px.

        Raises
        ------
        InputError
            If an image is too small for the network, or the shapes differ.
        """
        if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
            raise InputError(f"LPIPS: image shapes {a.shape} and {b.shape}; give two RGB images of one shape")
        if min(a.shape[:2]) < MIN_SIDE_PX:
            raise InputError(
                f"LPIPS: image of {a.shape[0]} × {a.shape[1]} px; both sides must be {MIN_SIDE_PX} px or more"
            )
        fa, fb = self._maps(a), self._maps(b)
        return float(sum(_layer_distance(w, x, y) for w, x, y in zip(self._heads, fa, fb, strict=True)))

    def _maps(self, image: NDArray[np.uint8]) -> list[Tensor]:
        """Return the feature maps (C, H, W) of one image at the layers that LPIPS compares."""
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self.device, torch.float32)
        x = histology_to_network(x).permute(2, 0, 1)[None]
        shift, scale = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
        x = (x - shift) / scale
        maps = []
        for index, layer in enumerate(self._features):
            x = layer(x)
            if index in TAPS[self.network]:
                maps.append(x[0])
        return maps


@cache
def _alexnet() -> Lpips:
    return Lpips("alex")


@register_metric("lpips", label="LPIPS", larger_is_better=False, min_side_px=MIN_SIDE_PX, default=True)
def lpips_distance(a: RGB, b: RGB) -> float:
    """Learned perceptual image patch similarity.

    Uses AlexNet on the CPU. An evaluation replaces it by the network and device of its options (`with_lpips`).

    Parameters
    ----------
    a, b : ndarray of uint8, shape (Y, X, 3)
        RGB images with both sides of at least 32 px.

    Raises
    ------
    InputError
        If an image is too small, or the shapes differ.
    """
    return _alexnet()(a, b)


def with_lpips(metrics: Iterable[Metric], network: Lpips | None) -> tuple[Metric, ...]:
    """Let the metric "lpips" use a network. Without a network its values are NaN.

    Examples
    --------
    >>> from tomostain.evaluate.metrics.base import select_metrics
    >>> [metric.label for metric in with_lpips(select_metrics(scope="patch"), Lpips("alex"))]
    ['SSIM', 'LPIPS (AlexNet)', 'PSNR']
    """

    def changed(metric: Metric) -> Metric:
        if metric.compute is not lpips_distance:
            return metric
        if network is None:
            return replace(metric, compute=_not_computed)
        return replace(metric, compute=network, label=network.label)

    return tuple(map(changed, metrics))


def _not_computed(a: RGB, b: RGB) -> float:
    return float("nan")


def _layer_distance(w: Tensor, fx: Tensor, fy: Tensor) -> float:
    """Return mean over space of Σ_c w_c (f̂x - f̂y)², with f̂ of unit length along the channels."""
    fx, fy = (f / (f.square().sum(dim=0, keepdim=True).sqrt() + 1e-10) for f in (fx, fy))
    return float(torch.einsum("c,chw->hw", w, (fx - fy).square()).mean())


def load_squeezenet(
    path: StrPath | None = None, *, fetch: bool = False, cache: Path | None = None
) -> dict[str, Tensor]:
    """Read SqueezeNet 1.1's convolutions from torchvision's file, after checking its SHA-256.

    Parameters
    ----------
    path : path, optional
        The file; without it, ``squeezenet1_1-b8a52dc0.pth`` in the cache folder.
    fetch : bool
        Download it into the cache folder if it is not there (4.7 MB).
    cache : Path, optional
        The cache folder; without it, ``tomostain`` in the user's cache folder.

    Raises
    ------
    InputError
        If the file is missing, cannot be fetched, or is not the pinned one.
    """
    cache = cache or cache_folder()
    weights = Path(path) if path is not None else cache / SQUEEZE_URL.rsplit("/", 1)[1]
    if path is None and fetch and not weights.is_file():
        _download(SQUEEZE_URL, weights)
    if not weights.is_file():
        raise InputError(
            f"{weights}: SqueezeNet's weights for LPIPS are missing; download {SQUEEZE_URL} and give its path as "
            "`lpips_weights`, set `lpips_fetch=True`, or set `lpips=alex`"
        )
    _verify(weights)
    return features_of_torchvision(torch.load(weights, map_location="cpu", weights_only=True))


def features_of_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep the keys ``features.*`` of a torchvision state dictionary, without that prefix; the classifier is dropped.

    Examples
    --------
    >>> list(features_of_torchvision({"features.0.bias": torch.zeros(1), "classifier.1.bias": torch.zeros(1)}))
    ['0.bias']
    """
    return {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}


def _verify(path: Path) -> None:
    """Raise unless the file is torchvision's SqueezeNet 1.1."""
    digest = sha256(path)
    if digest != SQUEEZE_SHA256:
        raise InputError(
            f"{path}: SHA-256 is {digest[:12]}…, expected {SQUEEZE_SHA256[:12]}…; "
            f"delete it and download {SQUEEZE_URL} again"
        )


def _download(url: str, target: Path) -> None:
    """Download a file and verify its SHA-256. Nothing remains of a file that differs."""
    import pooch

    try:
        pooch.retrieve(url, known_hash=f"sha256:{SQUEEZE_SHA256}", fname=target.name, path=target.parent)
    except ValueError as error:
        raise InputError(f"{url}: SHA-256 of the download is wrong ({error}); try again later") from None
    except OSError as error:
        raise InputError(
            f"{url}: cannot be fetched ({error}); download it on another machine and give its path as `lpips_weights`, "
            "or set `lpips=alex`"
        ) from None
