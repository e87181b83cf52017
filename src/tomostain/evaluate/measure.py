"""Stain the pairs with every model and baseline, and compute the metrics of every scope."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomostain.dataset.pair import Pair
from tomostain.errors import InputError, SplitWarning, warn_user
from tomostain.evaluate.baselines import fit_baselines, raw_ct
from tomostain.evaluate.config import IMPLANT_EXCLUDED, PAPER, EvaluateConfig, Protocol
from tomostain.evaluate.figures import difference_image
from tomostain.evaluate.metrics.base import RGB, Metric, Scope, mean_of_parts, select_metrics
from tomostain.evaluate.metrics.implant import implant_region
from tomostain.evaluate.metrics.lpips import Lpips, with_lpips
from tomostain.evaluate.metrics.patch import PatchOptions, PatchRecord, background_colour, fill_background
from tomostain.evaluate.models import Candidates
from tomostain.evaluate.protocols import measure_protocols
from tomostain.evaluate.samples import (
    ImageSets,
    image_values,
    is_not_ct,
    pairs_rejected,
    pairs_trained,
    sample_of,
    shows_implant,
)
from tomostain.figures.row import captioned_row
from tomostain.io import open_stained, open_volume, write_image
from tomostain.io.atomic import temporary_folder
from tomostain.progress import Progress, silent, track
from tomostain.stain import Translator, stain_slice, stain_volume

if TYPE_CHECKING:
    import pandas as pd

Stainer = Callable[[Pair], RGB]

RAW_CT, RAW_INPUT = "raw µCT", "raw input"
MEAN_IMAGE = "mean training image"
LOOKUP = "grey-value look-up"
POSITION = ("row", "column", "height", "width", "overlap")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """An evaluation that is ready to run.

    Attributes
    ----------
    candidates : Candidates
    config : EvaluateConfig
    metrics : tuple of Metric
        All metrics, in the order of tables.
    stainers : mapping of str to callable
        From a pair to its stained image, by name: models first, then baselines.
    warnings : tuple of str
        Sentences for the notes of the table.
    """

    candidates: Candidates
    config: EvaluateConfig
    metrics: tuple[Metric, ...]
    stainers: Mapping[str, Stainer]
    warnings: tuple[str, ...]

    @classmethod
    def prepare(cls, candidates: Candidates, config: EvaluateConfig, lpips: Lpips | None) -> "Evaluation":
        """Select the metrics, fit baselines and metrics to the training pairs, and check that the metrics can run.

        Raises
        ------
        InputError
            If a metric is unknown, or lacks its volumes, labels, resolution or an optional package.
        """
        metrics = with_lpips(select_metrics(config.metrics), lpips)
        for metric in metrics:
            if metric.check is not None:
                metric.check()
        _check_volumes(metrics, config, candidates)
        metrics = tuple(_fitted(metric, candidates) for metric in metrics)
        _try_on_first_pair(metrics, candidates)
        stainers, notes = _stainers(candidates, config)
        return cls(candidates, config, metrics, stainers, tuple(notes))

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols of the options; without the implant by default only where the images show one."""
        config, candidates = self.config, self.candidates
        if "protocols" in config.model_fields_set or shows_implant(candidates.data, candidates.ids):
            return config.protocols
        return tuple(protocol for protocol in config.protocols if protocol != IMPLANT_EXCLUDED)

    def of_scope(self, scope: Scope) -> tuple[Metric, ...]:
        """Return the metrics of a scope."""
        return tuple(metric for metric in self.metrics if metric.scope == scope)

    def measure(self, pictures: Path | None = None, progress: Progress = silent) -> "pd.DataFrame":
        """Stain and measure.

        Parameters
        ----------
        pictures : Path, optional
            A folder for a picture of each pair: µCT, stained, real, differences.
        progress : Progress
            Called after every image.

        Returns
        -------
        DataFrame
            See `tomostain.evaluate.evaluate_models`.
        """
        import pandas as pd

        rows = [*self._measure_pairs(pictures, progress), *self._measure_volumes(progress)]
        if not any(row["scope"] == "patch" for row in rows):
            raise InputError(
                f"{self.candidates.data.path}: no {self.config.patch_px}-px patch of split '{self.config.split}' has "
                "half of it in the mask; choose a smaller `patch_px` or correct the masks",
                parameter="patch_px",
            )
        names = [metric.name for metric in self.metrics]
        first = ["model", "pair", "scope", "protocol", *POSITION, *names]
        frame = pd.DataFrame(rows)
        parts = [column for column in frame.columns if column not in first]
        return frame.reindex(columns=[*first, *parts])

    def _measure_pairs(self, pictures: Path | None, progress: Progress) -> list[PatchRecord]:
        data, ids = self.candidates.data, self.candidates.ids
        options = PatchOptions(self.of_scope("patch"), self.config.patch_px, self.config.stride_px)
        rows: list[PatchRecord] = []
        sets = ImageSets(self.of_scope("set"))
        jobs = track(list(self.stainers) * len(ids), "evaluating", progress)
        for pair in (data.load(pair_id, self.candidates.ct_slices) for pair_id in ids):
            colour, implant = background_colour(pair.histology, pair.mask), implant_region(pair.histology)
            sample = sample_of(data, pair) if self.of_scope("image") else None
            stained = {}
            for _ in self.stainers:
                name = next(jobs)
                stained[name] = image = self.stainers[name](pair)
                patches = measure_protocols(
                    image,
                    pair.histology,
                    pair.mask,
                    options,
                    colour=colour,
                    implant=implant,
                    protocols=self.protocols,
                )
                rows += [{"model": name, "pair": pair.id, "scope": "patch", **patch} for patch in patches]
                if sample is not None:
                    values = image_values(self.of_scope("image"), replace(sample, stained=image))
                    rows.append({"model": name, "pair": pair.id, "scope": "image", "protocol": "", **values})
                sets.add(name, image, pair, colour)
            if pictures is not None:
                of_models = {name: stained[name] for name in self.candidates.translators}
                write_image(pictures / f"{pair.id}.png", _picture(pair, of_models))
        next(jobs, None)  # ends the progress bar
        return rows + sets.rows()

    def _measure_volumes(self, progress: Progress) -> Iterator[PatchRecord]:
        """Stain the volumes to a temporary folder, and measure them."""
        metrics, config = self.of_scope("volume"), self.config
        if not metrics:
            return
        for path in config.volumes:
            ct = open_volume(path)
            for model, folder in self.candidates.folders.items():
                with temporary_folder("evaluation") as temporary:
                    out = temporary / "stained.ome.zarr"
                    stain_volume(folder, path, out, config=config.stain, device=config.device, progress=progress)
                    stained = open_stained(out)
                    values = {metric.name: mean_of_parts(metric.compute(stained, ct)) for metric in metrics}
                yield {"model": model, "pair": path.name, "scope": "volume", "protocol": "", **values}


def _check_volumes(metrics: Iterable[Metric], config: EvaluateConfig, candidates: Candidates) -> None:
    of_volumes = [metric.name for metric in metrics if metric.scope == "volume"]
    if of_volumes and not config.volumes:
        raise InputError(
            f"metric '{of_volumes[0]}': it is computed on stained volumes; name one or more µCT volumes as `volumes`",
            parameter="volumes",
        )
    if config.volumes and not of_volumes:
        raise InputError(
            "`volumes`: no metric needs them; add one, such as `metrics=stripe_index`", parameter="volumes"
        )
    loaded = [name for name in candidates.translators if name not in candidates.folders]
    if of_volumes and loaded:
        raise InputError(f"metric '{of_volumes[0]}': model '{loaded[0]}' is not a folder; give the path of the model")


def _fitted(metric: Metric, candidates: Candidates) -> Metric:
    if metric.fit is None:
        return metric
    data = candidates.data
    samples = (sample_of(data, data.load(pair_id)) for pair_id in data.split(candidates.fold).train)
    return replace(metric, compute=metric.fit(samples))


def _try_on_first_pair(metrics: Iterable[Metric], candidates: Candidates) -> None:
    """Compute the metrics of images on the first real image, so that unsuitable data fails before staining."""
    of_images = [metric for metric in metrics if metric.scope == "image"]
    if of_images:
        image_values(of_images, sample_of(candidates.data, candidates.data.load(candidates.ids[0])))


def _stainers(candidates: Candidates, config: EvaluateConfig) -> tuple[dict[str, Stainer], list[str]]:
    """Return the functions that stain a pair by name (models first), and notes."""

    def by_model(translator: Translator) -> Stainer:
        return lambda pair: stain_slice(translator, pair.context(translator.spec.ct_slices), config.stain)

    def by_grey(baseline: Callable[[NDArray[np.uint16]], RGB]) -> Stainer:
        return lambda pair: baseline(pair.ct)

    data, translators = candidates.data, candidates.translators
    stainers = {name: by_model(translator) for name, translator in translators.items()}
    notes = [
        f"{name} was trained at {t.spec.voxel_um:g} µm, the dataset has {data.voxel_um:g} µm."
        for name, t in translators.items()
        if not np.isclose(t.spec.voxel_um, data.voxel_um, rtol=0.05)
    ]
    notes += [sentence for name, t in translators.items() for sentence in pairs_rejected(name, t)]
    if config.split in ("test", "validation") and any(
        t.spec.training and t.spec.training.images for t in translators.values()
    ):
        digests = {pair_id: data.load(pair_id).image_digest() for pair_id in candidates.ids}
        trained = [sentence for name, t in translators.items() for sentence in pairs_trained(name, t, digests)]
        for sentence in trained:  # also for callers that get no table
            warn_user(sentence, SplitWarning)
        notes += trained
    if config.baselines:
        stainers[RAW_INPUT if is_not_ct(data) else RAW_CT] = by_grey(raw_ct)
        train = data.split(candidates.fold).train
        if train:
            mean, lookup = fit_baselines(data.load(pair_id) for pair_id in train)
            stainers |= {MEAN_IMAGE: by_grey(mean), LOOKUP: by_grey(lookup)}
        else:
            notes.append("The dataset has no training pairs, so the baselines that need them are left out.")
    return stainers, notes


def _picture(pair: Pair, stained: Mapping[str, RGB]) -> RGB:
    """Return µCT | stained by each model | real | differences, masked as in section 2.8."""
    colour = background_colour(pair.histology, pair.mask)
    real = fill_background(pair.histology, pair.mask, colour)
    fakes = {name: fill_background(image, pair.mask, colour) for name, image in stained.items()}
    differences = {f"|{name} - real|": difference_image(fake, real) for name, fake in fakes.items()}
    return captioned_row({"µCT": raw_ct(pair.ct), **fakes, "real": real, **differences}, pair.voxel_um)


def rows_of(frame: "pd.DataFrame", protocol: str = PAPER, scope: Scope | None = "patch") -> "pd.DataFrame":
    """Return the rows of one scope, or of all; of patches, those of one protocol."""
    chosen = (frame["scope"] != "patch") | (frame["protocol"] == protocol)
    return frame[chosen if scope is None else chosen & (frame["scope"] == scope)]
