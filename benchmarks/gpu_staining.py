"""Staining a slice on a GPU: the paper's way, ours in each precision, and the networks alone.

Weights are random: the time does not depend on what a network has learned.
"""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu_items import Row
from benchmarks.gpu_size import Size
from benchmarks.gpu_training import recipe_of, seconds_of
from tomostain import __version__
from tomostain.imaging.intensity import IntensityReference
from tomostain.imaging.network_range import ct_to_network
from tomostain.integers import to_integers
from tomostain.io import ModelSpec, save_model
from tomostain.networks.build import build_network
from tomostain.networks.precision import Precision
from tomostain.stain import StainConfig, Translator, load_translator, stain_slice
from tomostain.stain.runner import NetworkRunner
from tomostain.stain.slice_stainer import PendingColours, SliceStainer
from tomostain.stain.uncertainty_stainer import PendingUncertainty, UncertaintyStainer
from tomostain.stain.volume_statistics import fit_volume_statistics
from tomostain.tiling.grid import tile_starts
from tomostain.tiling.noise import FIRST_SLICE

PAPER, OURS = "paired-cyclegan", ("tomostain", "lean")
REFERENCE = IntensityReference(10000.0, 30000.0)
CHUNK = 16
AS_STAINED = "as it stains"
# Slices that are timed: those of two chunks, or as many as go into this time.
SECONDS = 1.5


def write_model(folder: Path, recipe: str, size: Size) -> Path:
    """Write a model folder with the generator of a recipe and random weights."""
    chosen = recipe_of(recipe, size, 1)
    generator = chosen.generator_spec()
    spec = ModelSpec(
        generator=generator,
        in_channels=chosen.in_channels,
        voxel_um=5,
        patch_px=size.patch_px,
        stain="",
        recipe=recipe,
        tomostain_version=__version__,
    )
    save_model(folder, spec, build_network(generator, torch.Generator().manual_seed(0)).state_dict())
    return folder


def precisions(size: Size) -> tuple[Precision, ...]:
    """Return the precisions to compare; a CPU may have no float16."""
    return ("float16", "float32") if size.device == "cuda" else ("float32",)


@torch.inference_mode()
def papers_way(translator: Translator, ct: NDArray[np.uint16], patch_px: int) -> NDArray[np.uint8]:
    """Stain a slice as the paper does: overlapping patches one by one, each copied to the host and added there."""
    stride = patch_px // 4
    total = np.zeros((*ct.shape, 3), np.float32)
    weight = np.zeros((*ct.shape, 1), np.float32)
    for row in tile_starts(ct.shape[0], patch_px, stride):
        for column in tile_starts(ct.shape[1], patch_px, stride):
            place = np.s_[row : row + patch_px, column : column + patch_px]
            patch = torch.from_numpy(ct[place].astype(np.float32)).to(translator.device)
            x = ct_to_network(patch, translator.spec.ct_window)
            drawn = translator.network(x.expand(1, translator.spec.in_channels, -1, -1))
            total[place] += ((drawn[0].float().clip(-1, 1) + 1) * 127.5).permute(1, 2, 0).cpu().numpy()
            weight[place] += 1
    return to_integers(total / weight, np.uint8, "colours")


def seconds_per_slice(stainer: SliceStainer | UncertaintyStainer, volume: NDArray[np.uint16], size: Size) -> float:
    """Return the time of a slice in z chunks: uploaded, normalised, stained and copied back, as `stain_volume` does."""
    positions = [FIRST_SLICE.moved(n) for n in range(len(volume))]

    def chunks(number: int) -> None:
        pending: PendingColours | PendingUncertainty | None = None
        for _ in range(number):
            passes = stainer.begin(stainer.upload(volume), positions)
            if pending is not None:
                pending.result()
            pending = passes
        if pending is not None:
            pending.result()

    chunks(1)
    once = seconds_of(lambda: chunks(1), size)
    number = max(1, min(4, int(SECONDS / once)))
    if number > 1:
        chunks(3)  # allocates the pinned memory of the chunks that are in work at the same time
    return seconds_of(lambda: chunks(number), size) / (number * len(volume))


def network_alone(translator: Translator, size: Size, layout: str) -> float:
    """Return the time of the network alone for a slice: in a memory format with torch's layers, or as it stains."""
    network, run = translator.network, translator.runner
    if layout != AS_STAINED:
        order = torch.channels_last if layout == "channels last" else torch.contiguous_format
        network, run = network.to(memory_format=order), NetworkRunner(fused=False)  # type: ignore[call-overload]
    shape = (1, translator.spec.in_channels, size.slice_px, size.slice_px)
    images = torch.rand(shape, device=size.device).to(next(network.parameters()).dtype)

    @torch.inference_mode()
    def once() -> None:
        if run is None:
            network(images)
        else:
            run(network, images)

    return timed(once, size)


def timed(run: Callable[[], object], size: Size) -> float:
    """Return the median time of a call, after two others; several calls without a wait where they are short."""
    for _ in range(2):
        once = seconds_of(run, size)
    number = max(1, min(10, int(0.1 / once)))

    def several() -> None:
        for _ in range(number):
            run()

    return statistics.median(seconds_of(several, size) / number for _ in range(3))


class _Ways:
    """The ways of staining a slice, with the models in a temporary folder."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder, self.size = folder, size
        for recipe in (PAPER, *OURS):
            write_model(folder / recipe, recipe, size)
        draws = np.random.default_rng(0)
        self.volume = draws.integers(8000, 32000, (CHUNK, size.slice_px, size.slice_px)).astype(np.uint16)
        self.paper_s = 0.0

    def load(self, recipe: str, precision: Precision) -> Translator:
        """Load a model for the device of the benchmark."""
        return load_translator(self.folder / recipe, self.size.device, precision=precision)

    def row(self, way: str, precision: str, seconds: float) -> Row:
        """Return a row of the table."""
        speed = self.size.slice_px**2 / seconds / 1e6
        times = self.paper_s / seconds
        return {"way": way, "precision": precision, "ms": 1000 * seconds, "times": times, "mvoxel_s": speed}

    def paper(self) -> Iterator[Row]:
        """Measure the paper's way, twice; the first time is longer."""
        model, side = self.load(PAPER, "float32"), self.size.patch_px
        papers_way(model, self.volume[0, : 2 * side, : 2 * side], side)
        self.paper_s = seconds_of(lambda: papers_way(model, self.volume[0], side), self.size)
        yield self.row(f"the paper's way: {side}/{side // 4}, one by one", "float32", self.paper_s)

    def ours(self, recipe: str, precision: Precision) -> Iterator[Row]:
        """Measure one of our recipes: slices of a volume, and a single one."""
        model = self.load(recipe, precision)
        config = StainConfig().for_model(self.size.patch_px, model.tile_invariant)
        seconds = seconds_per_slice(SliceStainer(model, config, REFERENCE), self.volume, self.size)
        yield self.row(f"`{recipe}`, {config.blend} tiles", precision, seconds)
        seconds = timed(lambda: stain_slice(model, self.volume[0], config), self.size)
        yield self.row(f"`{recipe}`, `stain_slice`", precision, seconds)

    def paired(self, precision: Precision) -> Iterator[Row]:
        """Measure the paper's network with the statistics of the volume, and in batches of overlapping patches."""
        model, side = self.load(PAPER, precision), self.size.patch_px
        tiles = np.random.default_rng(1).integers(8000, 32000, (4, side, side)).astype(np.float32)
        config = StainConfig(statistics="volume").for_model(side)
        stainer = SliceStainer(fit_volume_statistics(model, tiles), config, REFERENCE)
        seconds = seconds_per_slice(stainer, self.volume, self.size)
        yield self.row(f"`{PAPER}`, statistics of the volume, {config.blend} tiles", precision, seconds)
        stainer = SliceStainer(model, StainConfig().for_model(side), REFERENCE)
        seconds = seconds_per_slice(stainer, self.volume[:2], self.size)
        yield self.row(f"`{PAPER}`, {side}/{side // 4}, in batches", precision, seconds)

    def uncertain(self, recipe: str, precision: Precision) -> Iterator[Row]:
        """Measure one of our recipes with the disagreement of two models, which have no training reference."""
        models = [self.load(recipe, precision) for _ in range(2)]
        config = StainConfig().for_model(self.size.patch_px, models[0].tile_invariant)
        seconds = seconds_per_slice(UncertaintyStainer(models, config, REFERENCE), self.volume, self.size)
        yield self.row(f"`{recipe}`, with uncertainty (2 models)", precision, seconds)

    def alone(self, recipe: str, precision: Precision) -> Iterator[Row]:
        """Measure a network alone in both memory formats, and as it stains."""
        for layout in ("channels first", "channels last", AS_STAINED):
            seconds = network_alone(self.load(recipe, precision), self.size, layout)
            yield self.row(f"`{recipe}`, the network alone, {layout}", precision, seconds)


def measure(size: Size) -> Iterator[Row]:
    """Yield a row for each way: milliseconds for a slice, and how many times as fast as the paper's way."""
    with TemporaryDirectory() as name:
        ways = _Ways(Path(name), size)
        yield from ways.paper()
        for precision in precisions(size):
            for recipe in OURS:
                yield from ways.ours(recipe, precision)
            yield from ways.paired(precision)
        yield from ways.uncertain(OURS[0], precisions(size)[0])
        for precision in precisions(size):
            for recipe in (*OURS, PAPER):
                yield from ways.alone(recipe, precision)
