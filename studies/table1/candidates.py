"""Candidates for the recipe `tomostain` that a recipe file cannot describe.

Each is a trainer with one addition to the trainer of the package, for the recipe `wide` of recipes/. Their names are
rows of `studies.table1.validate`. A candidate enters the package only if it improves the results.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tomostain.config import read_yaml
from tomostain.dataset.dataset import Dataset
from tomostain.dataset.pair import Pair
from tomostain.geometry.section import Section
from tomostain.imaging.common_grid import cut_volume
from tomostain.imaging.intensity import IntensityReference, normalise_ct
from tomostain.imaging.network_range import CT_BACKGROUND, ct_to_network
from tomostain.io import open_volume
from tomostain.tiling.grid import tile_starts, tile_weights
from tomostain.train import load_recipe
from tomostain.train.augment import jitter_ct, jitter_histology
from tomostain.train.objective import TERMS, Step, Term
from tomostain.train.sampling import PatchSampler
from tomostain.train.trainer import Trainer
from tomostain.train.transforms import Transforms, sampling_grid, sampling_positions, window_px
from tomostain.train.windows import Batch, _cut, _cut_into, network_scale
from tomostain.train.windows import fill_window as _fill

RECIPE = Path(__file__).parent / "recipes" / "wide-cpu.yaml"
Float32 = NDArray[np.float32]


def planes(specimens: Path, dataset: Path, pair: Pair, offsets_um: Sequence[float]) -> Float32:
    """Resample planes parallel to the section of a pair from its volume, on its grid: (N, Y, X) in [-1, 1]."""
    volume = open_volume(specimens / pair.id / "volume")
    section = Section.from_dict(pair.section or {})
    levels = IntensityReference(**read_yaml(dataset / "pairs" / pair.id / "pair.yaml")["levels"]["ct"])
    slices = []
    for offset_um in offsets_um:
        origin_um = section.origin_um + offset_um * section.normal
        plane = Section(origin_um, section.row, section.column, section.slide_to_section)
        raw = cut_volume(volume, volume.voxel_um, plane, pair.ct.shape, pair.voxel_um, source=pair.id)
        ct = normalise_ct(np.where(np.isnan(raw), levels.background, raw), levels)
        slices.append(ct_to_network(ct.astype(np.float32)))
    return np.stack(slices).astype(np.float32)


class StackSampler(PatchSampler):
    """Patches whose µCT has additional channels: `extra`, one array (E, Y, X) in [-1, 1] per pair."""

    def __init__(self, pairs: Sequence[Pair], extra: Sequence[Float32], **options: object) -> None:
        super().__init__(pairs, **options)  # type: ignore[arg-type]
        self.extra = [torch.from_numpy(values) for values in extra]

    def original_on_device(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a pair without transforms; its µCT has all channels."""
        ct, histology, mask = super().original_on_device(number)
        return torch.cat([ct_to_network(ct)[None], self.extra[number]]), histology, mask

    def apply(self, transforms: Transforms) -> Batch:
        """Return the patches that `transforms` describes."""
        size = window_px(self.patch_px, float(transforms.scale.min()))
        windows_at = list(zip(transforms.pair.tolist(), transforms.corner.tolist(), strict=True))
        background = float(ct_to_network(np.float32(CT_BACKGROUND)))
        stack = torch.empty(len(windows_at), 5, size, size)
        for window, (i, c) in zip(stack, windows_at, strict=True):
            _cut_into(window, self.table.image(i), c, _fill(self.ct_window))
        extra = [_cut(self.extra[i], c, size, background) for i, c in windows_at]  # type: ignore[arg-type]
        windows = torch.cat([*network_scale(stack), torch.stack(extra)], dim=1)
        grid = sampling_grid(sampling_positions(transforms.scale.numpy(), transforms.flip.numpy(), self.patch_px, size))
        patches = functional.grid_sample(windows, grid, mode="bilinear", padding_mode="border", align_corners=True)
        x = jitter_ct(torch.cat([patches[:, :1], patches[:, 5:]], dim=1), transforms.ct_jitter.to(patches))
        y = jitter_histology(patches[:, 1:4], transforms.histology_jitter.to(patches))
        return Batch(x, y.contiguous(), (patches[:, 4:5] >= 0.5).float(), tuple(self.ids[i] for i, _ in windows_at))


class Plain(Trainer):
    """The unchanged recipe, the base class of the others."""

    channels = 1
    terms: ClassVar[dict[str, float]] = {}

    def __init__(self, data: Dataset, specimens: Path, seed: int = 0, fold: int = 0) -> None:
        self.data, self.specimens = data, specimens
        recipe = load_recipe(RECIPE)
        update = {"in_channels": self.channels, "terms": recipe.terms | self.terms}
        super().__init__(recipe.model_copy(update=update), data, fold, seed, "cpu")

    def judged(self, pair: Pair) -> Float32:
        """Return the input of `draw` for a pair."""
        return pair.ct.astype(np.float32)


class Stacked(Plain):
    """The generator sees additional channels: `extra` of a pair."""

    channels = 3

    def extra(self, pair: Pair) -> Float32:
        """Return the additional channels of a pair, (E, Y, X) in [-1, 1]."""
        raise NotImplementedError

    def _sampler(self, data: Dataset, ids: Sequence[str]) -> PatchSampler:
        pairs, recipe = [data.load(pair_id) for pair_id in ids], self.recipe
        sizes = {"patch_px": recipe.patch_px, "batch": recipe.batch, "augment": recipe.augment}
        return StackSampler(pairs, [self.extra(pair) for pair in pairs], device="cpu", in_channels=1, **sizes)

    def judged(self, pair: Pair) -> Float32:
        """Return all channels of a pair."""
        return np.concatenate([ct_to_network(pair.ct.astype(np.float32))[None], self.extra(pair)])

    @torch.no_grad()
    def draw(self, ct: Float32) -> Float32:
        """Stain (C, Y, X) and return (Y, X, 3) in [-1, 1], blended as in staining."""
        network, patch = self.state.networks.staining.eval(), self.recipe.patch_px
        weights = torch.from_numpy(tile_weights(patch, "hann"))
        total, weight = torch.zeros(3, *ct.shape[1:]), torch.zeros(ct.shape[1:])
        for row in tile_starts(ct.shape[1], patch, patch // 2):
            for column in tile_starts(ct.shape[2], patch, patch // 2):
                window = np.s_[row : row + patch, column : column + patch]
                total[:, *window] += network(torch.from_numpy(ct[:, *window].copy())[None])[0] * weights
                weight[window] += weights
        network.train()
        return (total / weight).permute(1, 2, 0).numpy()

    def draw_images(self, images: Tensor) -> Tensor:
        """Stain (N, C, Y, X) and return (N, 3, Y, X)."""
        return torch.from_numpy(np.stack([self.draw(image.numpy()) for image in images])).permute(0, 3, 1, 2)


class Slab(Stacked):
    """2.5D: the slice and its neighbours at ± 20 µm. Together they are as thick as the section."""

    def extra(self, pair: Pair) -> Float32:
        """Return the two neighbours."""
        return planes(self.specimens, self.data.path, pair, (-20.0, 20.0))


class Material(Stacked):
    """The material of the implant: magnesium or not, polymer or not (suggested in the outlook of the paper)."""

    def extra(self, pair: Pair) -> Float32:
        """Return two constant channels."""
        flags = [1.0 if pair.implant.startswith("Mg") else -1.0, 1.0 if pair.implant == "PEEK" else -1.0]
        return np.broadcast_to(np.array(flags, np.float32)[:, None, None], (2, *pair.ct.shape)).copy()


class Coupled(Stacked):
    """Neighbouring slices, 20 µm apart, should be similar where their µCT is similar."""

    channels = 1
    terms: ClassVar[dict[str, float]] = {"coupling": 5.0}

    def __init__(self, data: Dataset, specimens: Path, seed: int = 0, fold: int = 0) -> None:
        TERMS["coupling"] = Term(self.coupling)
        super().__init__(data, specimens, seed, fold)

    def extra(self, pair: Pair) -> Float32:
        """Return the neighbour."""
        return planes(self.specimens, self.data.path, pair, (20.0,))

    def _sampler(self, data: Dataset, ids: Sequence[str]) -> PatchSampler:
        sampler = super()._sampler(data, ids)
        draw = sampler.draw

        def draw_one(generator: torch.Generator) -> Batch:
            batch = draw(generator)
            self.neighbour = batch.x[:, 1:]
            return Batch(batch.x[:, :1], batch.y, batch.mask, batch.ids)

        sampler.draw = draw_one  # type: ignore[method-assign]
        return sampler

    def coupling(self, step: Step) -> Tensor:
        """Return the mean difference of the stains where the difference of the µCT is small."""
        weight = torch.exp(-(step.x - self.neighbour).abs() / 0.1)
        return (weight * (step.fake_y - step.networks.g_xy(self.neighbour)).abs()).mean()

    def draw(self, ct: Float32) -> Float32:
        """Stain the slice itself."""
        return super().draw(ct[:1])


class Degraded(Plain):
    """Half of the µCT patches are blurred by up to 1 px and get noise of up to a tenth of the window."""

    def _sampler(self, data: Dataset, ids: Sequence[str]) -> PatchSampler:
        sampler = super()._sampler(data, ids)
        draw = sampler.draw

        def draw_degraded(generator: torch.Generator) -> Batch:
            batch = draw(generator)
            chance, sigma, level = torch.rand(3, generator=generator).tolist()
            x = batch.x
            if chance < 0.5:
                x = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma)))
                x = (x + 0.1 * level * torch.randn(x.shape, generator=generator)).clip(-1, 1)
            return Batch(x, batch.y, batch.mask, batch.ids)

        sampler.draw = draw_degraded  # type: ignore[method-assign]
        return sampler


class Spectral(Plain):
    """Spectral normalisation of the discriminator (Miyato et al. 2018, arXiv 1802.05957)."""

    def __init__(self, data: Dataset, specimens: Path, seed: int = 0, fold: int = 0) -> None:
        super().__init__(data, specimens, seed, fold)
        for layer in self.state.networks.discriminators()["d_y"].modules():
            if isinstance(layer, nn.Conv2d):
                parametrizations.spectral_norm(layer)


class R1(Plain):
    """R1, every fourth step (Mescheder et al. 2018, arXiv 1801.04406; every few steps as in Karras et al. 2020)."""

    every, gamma = 4, 1.0

    def _improve_discriminators(self, parts: Sequence[Step]) -> dict[str, float]:
        values = super()._improve_discriminators(parts)
        if self.state.step % self.every == 0:
            real = torch.cat([step.y for step in parts]).detach().requires_grad_()
            scores = self.state.networks.discriminators()["d_y"](real)
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            penalty = slope.square().sum(dim=(1, 2, 3)).mean()
            self._descend("discriminators", lambda _: {"total": self.every * self.gamma / 2 * penalty})
        return values


class Pretrained(Plain):
    """For the first `steps` steps, the generator completes unlabelled slices that are partly masked."""

    steps, blots, blot_px = 700, 10, 20

    def __init__(self, data: Dataset, specimens: Path, seed: int = 0, fold: int = 0) -> None:
        super().__init__(data, specimens, seed, fold)
        offsets_um = [um for um in range(-240, 241, 60) if um]
        self.slices = [planes(specimens, data.path, data.load(i), offsets_um) for i in data.split(fold).train]
        self.done = 0

    def take_step(self) -> dict[str, float]:
        """Take a step of the pretraining, later a step of the recipe."""
        if self.done >= self.steps:
            return super().take_step()
        self.done += 1
        draws, patch = self.state.draws, self.recipe.patch_px

        def below(high: int) -> int:
            return int(torch.randint(high, (1,), generator=draws))

        stack = self.slices[below(len(self.slices))]
        row, column = below(stack.shape[1] - patch + 1), below(stack.shape[2] - patch + 1)
        x = torch.from_numpy(stack[below(len(stack)), row : row + patch, column : column + patch].copy())[None, None]
        masked = x.clone()
        for _ in range(self.blots):
            r, c = below(patch - self.blot_px), below(patch - self.blot_px)
            masked[..., r : r + self.blot_px, c : c + self.blot_px] = 0
        loss = (self.state.networks.g_xy(masked) - x).abs().mean()
        values = self._descend("generators", lambda _: {"total": loss})
        self._update_average()
        return {"painting": values["total"]}


CANDIDATES: dict[str, type[Plain]] = {
    "wide": Plain,
    "wide-slab": Slab,
    "wide-material": Material,
    "wide-coupled": Coupled,
    "wide-degraded": Degraded,
    "wide-spectral": Spectral,
    "wide-r1": R1,
    "wide-pretrained": Pretrained,
}


def candidate(name: str, data: Dataset, specimens: Path) -> Plain:
    """Return the trainer of a candidate."""
    return CANDIDATES[name](data, specimens)
