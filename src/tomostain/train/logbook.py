"""Records of a run: metrics.csv, TensorBoard events if it is installed, and sample images."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tomostain.errors import InputError
from tomostain.imaging.network_range import histology_from_network
from tomostain.integers import to_integers
from tomostain.io.atomic import atomic_file
from tomostain.io.csv_files import CsvTable, append_csv, read_csv, write_csv
from tomostain.train.terms import RENAMED

METRICS = "metrics.csv"


class Logbook:
    """Writes the metrics of a run.

    When it is opened, rows after `step` are dropped: an interrupted run may have left some. A run that began with older
    names of terms keeps them as its columns.

    Parameters
    ----------
    run : Path
    columns : list of str
        Columns after step, epoch and seconds.
    step : int
        Number of steps done.

    Raises
    ------
    InputError
        If there is a damaged `metrics.csv`.
    """

    def __init__(self, run: Path, columns: list[str], step: int) -> None:
        self.path = run / METRICS
        self._labels: dict[str, str] = {}
        table = read_csv(self.path) if self.path.is_file() else None
        if table is not None:
            self._labels = {
                name: older for older, name in RENAMED.items() if older in table.columns and name in columns
            }
        self.columns = ["step", "epoch", "seconds", *(self._labels.get(name, name) for name in columns)]
        rows = [] if table is None else self._rows_until(step, table)
        write_csv(self.path, self.columns, rows)
        self._events: Any = _event_writer(run, step)

    def _rows_until(self, step: int, table: CsvTable) -> list[dict[str, str]]:
        """Return the rows up to a step.

        Raises
        ------
        InputError
            If the file has other columns, or a step is not a number.
        """
        way_out = "restore it, or remove it to begin a new one"
        unknown = [name for name in table.columns if name not in self.columns]
        if unknown or (table.columns and "step" not in table.columns):
            problem = f"an unknown column '{unknown[0][:40]}'" if unknown else "no column 'step'"
            raise InputError(f"{self.path}: has {problem}; {way_out}")
        rows = []
        for line, row in zip(table.lines, table.rows, strict=True):
            if not row["step"].isdecimal():
                raise InputError(f"{self.path}, line {line}: step '{row['step'][:40]}' is not a number; {way_out}")
            if int(row["step"][:30]) <= step:
                rows.append(row)
        return rows

    def write(self, step: int, epoch: int, seconds: float, values: dict[str, float]) -> None:
        """Append one row."""
        values = {self._labels.get(name, name): value for name, value in values.items()}
        row = {"step": step, "epoch": epoch, "seconds": f"{seconds:.2f}"} | {k: f"{v:.6g}" for k, v in values.items()}
        append_csv(self.path, self.columns, row)
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish the event file."""
        if self._events is not None:
            self._events.close()


def _event_writer(run: Path, step: int) -> Any:
    """Return the writer of TensorBoard, or None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run), purge_step=step + 1)


def sample_picture(rows: list[list[Tensor]]) -> NDArray[np.uint8]:
    """Arrange images in rows, as in Fig. 4 (a) of the paper: µCT, generated histology, mask, histology, generated µCT.

    Parameters
    ----------
    rows : list of list of Tensor, shape (1|3, P, P)
        In [-1, 1].

    Returns
    -------
    ndarray of uint8, shape (rows · (P + 2), columns · (P + 2), 3)
        With a grey frame around each image, so that the edges of white images are visible.
    """
    lines = []
    for row in rows:
        images = [histology_from_network(image.detach().cpu().float().expand(3, -1, -1)) for image in row]
        framed = [np.pad(np.rint(image.numpy()), ((0, 0), (1, 1), (1, 1)), constant_values=128) for image in images]
        lines.append(np.concatenate(framed, axis=2))
    return to_integers(np.concatenate(lines, axis=1).transpose(1, 2, 0), np.uint8, "sample images")


def write_sample(run: Path, step: int, picture: NDArray[np.uint8]) -> None:
    """Write `run`/samples/step-000123.png."""
    from PIL import Image

    with atomic_file(run / "samples" / f"step-{step:06d}.png") as temporary:
        Image.fromarray(picture).save(temporary)
