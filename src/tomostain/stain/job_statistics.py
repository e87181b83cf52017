"""The statistics of a volume for the models of a job: measured once, and shared by its processes in a file."""

from dataclasses import replace
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.locks import lock
from tomostain.io.tensors import read_tensors, write_tensors
from tomostain.stain.grey_chunks import contexts_of
from tomostain.stain.job import StainJob
from tomostain.stain.translator import Translator
from tomostain.stain.volume_statistics import (
    fit_volume_statistics,
    sample_tiles,
    statistics_of,
    tiles_for,
    with_statistics,
)


def with_volume_statistics(job: StainJob, file: Path | None) -> StainJob:
    """Return the job with models that normalise by the statistics of the volume.

    Parameters
    ----------
    job : StainJob
    file : Path or None
        The first process stores the statistics there and all others read them, so that the result depends neither on
        the number of processes nor on the machine that continues. None: compute them.
    """
    translators = job.ensemble or (job.translator,)
    if file is None:
        fitted = _fit(job, translators)
    else:
        with lock(file.with_suffix(".lock"), wait=True):
            stored = _from_file(translators, file)
            fitted = _fit(job, translators) if stored is None else stored
            if stored is None:
                statistics = [statistics_of(translator) for translator in fitted]
                write_tensors(file, {f"{n}.{name}": v for n, each in enumerate(statistics) for name, v in each.items()})
    return replace(job, translator=fitted[0], ensemble=tuple(fitted) if job.ensemble else ())


def _fit(job: StainJob, translators: tuple[Translator, ...]) -> list[Translator]:
    side = job.translator.spec.patch_px
    tiles = sample_tiles(lambda *span: contexts_of(job, *span), job.volume.shape, side)
    return [fit_volume_statistics(translator, tiles_for(translator, tiles)) for translator in translators]


def _from_file(translators: tuple[Translator, ...], file: Path) -> list[Translator] | None:
    """Return translators with the statistics of a file; None if it does not hold them."""
    stored = read_tensors(file) or {}
    try:
        return [
            with_statistics(t, {k.removeprefix(f"{n}."): v for k, v in stored.items() if k.startswith(f"{n}.")})
            for n, t in enumerate(translators)
        ]
    except InputError:  # a ValueError itself: the model has no instance normalisation
        raise
    except ValueError:
        return None
