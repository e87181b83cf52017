"""The code of the page "Add a volume reader" works, and the lists of formats match the registered readers."""

import importlib.metadata
import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tomostain.io.volumes
from tomostain.cli.main import run
from tomostain.errors import InputError
from tomostain.io import open_volume
from tomostain.io.volumes import Source, registry, volume_formats

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "add-a-volume-reader.md"
VALUES = np.random.default_rng(0).integers(0, 60000, (5, 6, 7)).astype("<u2")


@pytest.fixture(autouse=True)
def copied_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_READERS", list(registry._READERS))


@pytest.fixture
def code() -> str:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "scan.xyz"
    path.write_bytes(b"5 6 7 4.5\n" + VALUES.tobytes())
    return path


@pytest.fixture
def module(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Import the code of the page from its one file."""
    file = tmp_path / "xyz_reader.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("xyz_reader", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_page_names_one_file_in_the_package_of_readers() -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"^\| `(src/[^`]+)` \|", text, re.MULTILINE)
    assert files == ["src/tomostain/io/volumes/xyz.py"]
    assert (ROOT / files[0]).parent == Path(tomostain.io.volumes.__file__).parent


def test_the_modules_of_the_package_are_imported_automatically(tmp_path: Path, code: str, volume: Path) -> None:
    package = types.ModuleType("readers")
    package.__path__ = [str(tmp_path / "readers")]
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers" / "xyz.py").write_text(code, encoding="utf-8")
    sys.modules["readers"] = package
    try:
        registry.import_modules("readers", package.__path__)
        assert open_volume(volume).shape == VALUES.shape
    finally:
        del sys.modules["readers"], sys.modules["readers.xyz"]


def test_the_reader_of_the_page_opens_and_reads_a_volume(module: types.ModuleType, volume: Path) -> None:
    opened = open_volume(volume)
    assert (opened.shape, opened.dtype, opened.voxel_um) == (VALUES.shape, np.uint16, (4.5, 4.5, 4.5))
    np.testing.assert_array_equal(opened.read(1, 3), VALUES[1:3])
    np.testing.assert_array_equal(opened[2, ::2], VALUES[2, ::2])
    assert "XYZ" in volume_formats()
    volume.write_bytes(b"")
    with pytest.raises(InputError, match=r"scan\.xyz: has no line with four numbers"):
        open_volume(volume)


def test_the_command_line_checks_it(module: types.ModuleType, volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(volume)]) == 0
    assert "volume, 5 x 6 x 7 voxels of 4.5 x 4.5 x 4.5 µm" in capsys.readouterr().out


def _entry_points(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    point = importlib.metadata.EntryPoint("xyz", value, registry.ENTRY_POINTS)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else []
    )


def test_a_reader_of_another_package_is_imported_for_its_suffix(
    tmp_path: Path, code: str, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_package_xyz.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    _entry_points(monkeypatch, "other_package_xyz:open_xyz")
    with pytest.raises(InputError, match=r"use a folder of TIFF slices.* HDF5, .*\.xyz"):
        open_volume(ROOT / "README.md")
    assert "other_package_xyz" not in sys.modules
    assert open_volume(volume).shape == VALUES.shape
    del sys.modules["other_package_xyz"]


def test_a_reader_that_cannot_be_imported_is_named(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _entry_points(monkeypatch, "no_such_package:open_xyz")
    with pytest.raises(InputError, match=r"scan\.xyz: cannot load its reader from no_such_package:open_xyz: No module"):
        open_volume(volume)


def test_a_missing_library_is_named_with_its_extra(volume: Path) -> None:
    @registry.register_reader(suffixes=(".xyz",), label="XYZ", extra="io")
    def open_xyz(path: Path, dataset: str | None = None) -> Source:
        import no_such_library  # type: ignore[import-not-found]

        return no_such_library.open(path)

    with pytest.raises(InputError, match=r"reading XYZ needs no_such_library; pip install 'tomostain\[io\]'"):
        open_volume(volume)


def test_a_folder_is_recognised_by_its_content(tmp_path: Path) -> None:
    def is_mine(path: Path) -> bool:
        return (path / "mine.txt").is_file()

    @registry.register_reader(suffixes=(".mine",), label="mine", folder=is_mine)
    def open_mine(path: Path, dataset: str | None = None) -> Source:
        return Source((1, 2, 3), np.dtype(np.uint8), (5.0, 5.0, 5.0), lambda a, b: np.ones((b - a, 2, 3), np.uint8))

    (tmp_path / "a.mine").mkdir()
    (tmp_path / "b.tif").mkdir()
    (tmp_path / "b.tif" / "mine.txt").touch()
    for name in ("a.mine", "b.tif"):
        assert open_volume(tmp_path / name).shape == (1, 2, 3)
    (tmp_path / "c.tif").mkdir()
    with pytest.raises(InputError, match=r"c\.tif: no TIFF slices in this folder"):
        open_volume(tmp_path / "c.tif")


@pytest.mark.parametrize(
    "file", ["src/tomostain/cli/stain.py", "src/tomostain/cli/register.py", "docs/reference/files.md"]
)
def test_the_formats_are_listed_where_a_user_looks(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    missing = [label for label in volume_formats() if label not in text]
    assert not missing
