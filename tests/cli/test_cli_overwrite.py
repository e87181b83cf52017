"""No verb replaces an input or a file of the user, also with --overwrite."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image

from tests.support.toys import grey_values, toy_model
from tomostain.cli.main import app, run
from tomostain.io import create_stained, open_stained, write_stack
from tomostain.io.images import write_image
from tomostain.io.ome_zarr.reader import StainedVolume

Fails = Callable[..., str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a scan, a stained volume, two images and a table."""
    folder = tmp_path_factory.mktemp("inputs")
    toy_model(folder / "model")
    write_stack(folder / "scan", grey_values((3, 40, 41)), voxel_um=5.0)
    writer = create_stained(folder / "stained.ome.zarr", (3, 40, 41), 5.0, provenance={})
    writer.write(0, np.full((3, 40, 41, 3), 200, np.uint8))
    writer.finish()
    writer.release()
    tifffile.imwrite(folder / "slice.tif", grey_values((40, 41)))
    write_image(folder / "slide.png", np.zeros((40, 41, 3), np.uint8))
    (folder / "table.csv").write_text("specimen,volume,slide,measures,material,group\na,scan,slide.png,m,x,y\n")
    dataset = folder / "dataset"
    dataset.mkdir()
    (dataset / "dataset.yaml").write_text("pairs: []\n")
    return folder


@pytest.fixture
def work(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the inputs as working folder, and a scan of the user with notes."""
    shutil.copytree(inputs, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    shutil.copytree("scan", "mine")
    Path("mine/notes.txt").write_text("mine")
    return tmp_path / "work"


GREYS = ("--background", "100", "--bone", "900")
COMMANDS = {
    # verb: the words with OUT, and the folders that it reads
    "stain": [("stain model scan OUT", "scan model")],
    "resample": [("resample scan OUT --voxel-um 10", "scan")],
    "export": [
        ("export stained.ome.zarr OUT --to rgb-tiff", "stained.ome.zarr"),
        ("export stained.ome.zarr OUT --to ome-zarr-0.4", "stained.ome.zarr"),
        ("export stained.ome.zarr OUT --to qupath --planes 1", "stained.ome.zarr"),
        ("export model OUT --to bioimageio --author A --licence MIT", "model"),
    ],
    "view": [("view scan --out OUT", "scan"), ("view stained.ome.zarr --out OUT", "stained.ome.zarr")],
    "prepare": [
        ("prepare table.csv OUT --voxel-um 5", "scan"),
        ("prepare --aligned scan scan OUT --voxel-um 5", "scan"),
    ],
    "register": [("register scan slide.png OUT --pixel-um 5", "scan")],
    "train": [("train dataset OUT", "dataset")],
    "evaluate": [("evaluate model dataset OUT", "model dataset")],
    "compare": [("compare OUT model --dataset dataset", "model dataset")],
    "measure": [
        ("measure stained.ome.zarr OUT --without-implant", "stained.ome.zarr"),
        ("measure OUT --study table.csv", ""),
    ],
    "models": [("models copy model OUT", "model")],
    "phantom": [("phantom OUT --size 16", "")],
    "section": [],  # writes files
}
FOLDERS = [(words, read.split()) for listed in COMMANDS.values() for words, read in listed]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_verb_that_replaces_is_listed() -> None:
    commands = typer.main.get_command(app).commands
    replacing = {name for name, command in commands.items() if "overwrite" in [each.name for each in command.params]}
    assert replacing == set(COMMANDS)


@pytest.mark.parametrize(("words", "read"), FOLDERS, ids=[words for words, _ in FOLDERS])
def test_no_folder_of_the_user_and_no_input_is_replaced(work: Path, words: str, read: list[str], fails: Fails) -> None:
    before = tree(work)
    # A folder of slices may hold the output. It is read by the names of its files.
    inside = [f"{each}/inside" for each in read if each != "scan"]
    for out in ("mine", *read, *inside):
        fails("-q", *words.replace("OUT", out).split(), "--overwrite")
        after = tree(work)
        assert after == before, (out, sorted(set(before) ^ set(after)))


FILES = [
    ("stain model slice.tif OUT --voxel-um 5 --background 100 --bone 900", "slice.tif"),
    ("stain model slice.tif OUT --voxel-um 5 --background 100 --bone 900", "slide.png"),
    ("stain model scan new.ome.zarr --background 100 --bone 900 --intensity-figure OUT", "slide.png"),
    ("export stained.ome.zarr OUT --to nrrd", "mine.nrrd"),
    ("export stained.ome.zarr OUT --to vti", "mine.vti"),
    ("export stained.ome.zarr OUT --to gif", "mine.gif"),
    ("export model OUT --to bioimageio --author A --licence MIT", "mine.zip"),
    ("section stained.ome.zarr OUT --axis z --through 5,0,0", "mine.ome.tif"),
]


@pytest.mark.parametrize(("words", "out"), FILES)
def test_no_file_of_the_user_is_replaced(work: Path, words: str, out: str, fails: Fails) -> None:
    if out == "slide.png":  # as another program writes it
        Image.fromarray(grey_values((40, 41)).astype(np.uint8)).save(out)
    if out.startswith("mine."):
        Path(out).write_bytes(b"NRRD0004\ntype: short\n\nvalues" if out == "mine.nrrd" else b"of the user")
    before = tree(work)
    line = fails("-q", *words.replace("OUT", out).split(), "--overwrite")
    assert out in line
    assert tree(work) == before


def test_earlier_output_is_replaced(work: Path, fails: Fails) -> None:
    for words in (
        "export stained.ome.zarr slices --to rgb-tiff",
        "export stained.ome.zarr older.ome.zarr --to ome-zarr-0.4",
        "export stained.ome.zarr new.nrrd --to nrrd",
        "section stained.ome.zarr cut.ome.tif --axis z --through 5,0,0",
        "stain model slice.tif one.tif --voxel-um 5 --background 100 --bone 900",
        "stain model slice.tif one.png --voxel-um 5 --background 100 --bone 900",
        "stain model scan volume.ome.zarr --background 100 --bone 900",
        "resample scan coarse --voxel-um 10",
        "models copy model copy",
    ):
        assert run(["-q", *words.split()]) == 0
        assert run(["-q", *words.split(), "--overwrite"]) == 0, words
    (work / "volume.ome.zarr" / "notes.txt").write_text("mine")
    line = fails("-q", "stain", "model", "scan", "volume.ome.zarr", *GREYS, "--overwrite")
    assert "notes.txt: is not a file of a stained volume" in line
    assert open_stained(work / "volume.ome.zarr").shape == (3, 40, 41)


def test_an_output_that_is_refused_leaves_no_figure(work: Path, fails: Fails) -> None:
    for name in ("a.ome.zarr", "b.ome.zarr"):
        (work / name).write_text("mine") if name[0] == "a" else (work / name).symlink_to(work / "nowhere")
        assert "is not a stained volume" in fails("-q", "stain", "model", "scan", name, *GREYS)
        assert not list(work.glob("*-levels.png"))


def test_a_volume_without_checksums_is_reported(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "stained.ome.zarr" / "0" / "SHA256SUMS").unlink()
    assert run(["export", "stained.ome.zarr", "slices", "--to", "rgb-tiff"]) == 0
    assert "has no checksums (0/SHA256SUMS)" in capsys.readouterr().err


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("to", "out"), [("rgb-tiff", "OUT"), ("ome-zarr-0.4", "OUT.ome.zarr"), ("nrrd", "OUT.nrrd")])
def test_one_of_two_exports_to_one_path_is_refused(
    work: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch, to: str, out: str, overwrite: bool
) -> None:
    words = f"-q export stained.ome.zarr {out} --to {to} {'--overwrite' if overwrite else ''}".split()
    if overwrite:
        assert run(words) == 0
    read, codes = StainedVolume.read, []

    def read_and_export_again(self: StainedVolume, *arguments: int) -> object:
        monkeypatch.setattr(StainedVolume, "read", read)
        codes.append(run(words))  # the whole other command, while the first one reads
        return read(self, *arguments)

    monkeypatch.setattr(StainedVolume, "read", read_and_export_again)
    message = fails(*words)
    assert codes == [0]
    assert re.search("(appeared|changed|added or changed) while this command ran", message)
    assert not [path.name for path in work.iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    monkeypatch.chdir(work)
    assert run(["check", out]) == 0
