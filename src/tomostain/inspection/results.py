"""Folders and films that this software writes: how they are recognised, and whether they are complete."""

from collections.abc import Callable, Iterable
from pathlib import Path

from tomostain.errors import InputError
from tomostain.input_files import refuse_special_file
from tomostain.inspection.exported_models import RDF, check_onnx, check_package, is_package
from tomostain.io.metadata.units import check_pixels
from tomostain.progress import Progress, silent, track

Details = tuple[str, ...]
Check = Callable[[Path, Progress], Details]
FILMS = (".gif", ".mp4")


def find_result(path: Path) -> tuple[str, Check] | None:
    """Return the kind of a result and the function that checks it; None if it is no result of this software."""
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix == ".vti":
            return "export", _vti
        if suffix == ".onnx":
            return "exported model", check_onnx
        if is_package(path):
            return "exported model", check_package
        return ("film", _film) if suffix in FILMS else ("export", _nrrd) if _is_rgba_nrrd(path) else None
    for marker, kind, check in _MARKERS:
        if (path / marker).is_file():
            return kind, check
    return None


def _pair(path: Path, progress: Progress) -> Details:
    from tomostain.dataset.pair import load_pair

    pair = load_pair(path)
    rows, columns = pair.ct.shape
    _read_pictures(path.glob("*.png"), progress)
    return (f"{rows} x {columns} px of {pair.voxel_um:g} µm, mask {pair.mask.mean():.0%}",)


def _evaluation(path: Path, progress: Progress) -> Details:
    from tomostain.config import read_yaml
    from tomostain.io.csv_files import read_csv

    read_yaml(path / "evaluate.yaml")
    tables = sorted(path.rglob("*.csv"))
    if not tables:
        raise InputError(f"{path}: has no tables (*.csv); evaluate again, or copy the whole folder")
    lines = [f"{table.relative_to(path)}: {len(read_csv(table).rows)} rows" for table in tables]
    return (*lines, f"{_read_pictures(path.rglob('*.png'), progress)} pictures were read")


def _tiff_export(path: Path, progress: Progress) -> Details:
    """Check that all slices of an exported stack are there, and read them."""
    from tomostain.config import read_yaml
    from tomostain.io.tiff import TIFF_SUFFIXES

    values = read_yaml(path / "export.yaml")
    shape, channels = values.get("shape"), {"rgb-tiff": 3, "rgba-tiff": 4}.get(str(values.get("to")))
    if not isinstance(shape, list) or len(shape) != 3 or channels is None:
        raise InputError(f"{path / 'export.yaml'}: states no shape or format; export the volume again")
    slices = sorted(file for file in path.iterdir() if file.name.lower().endswith(TIFF_SUFFIXES))
    if len(slices) != shape[0]:
        raise InputError(
            f"{path}: has {len(slices)} slices, but export.yaml states {shape[0]}; export the volume again"
        )
    for file in track(slices, "reading", progress):
        if (shape_on_disk := _tiff_shape(file)) != (*shape[1:], channels):
            raise InputError(f"{file}: has the shape {shape_on_disk}, but export.yaml states {(*shape[1:], channels)}")
    size = " x ".join(str(n) for n in shape)
    return (f"{values['to']}, {size} voxels, level {values.get('level')}; all {len(slices)} slices were read",)


def _sections_export(path: Path, progress: Progress) -> Details:
    """Read all files of the sections that were exported for QuPath."""
    import json

    from tomostain.config import read_yaml

    listed = path / "sections.yaml"
    sections = read_yaml(listed).get("sections")
    if not isinstance(sections, list):
        raise InputError(f"{listed}: lists no sections; export the volume again")
    try:
        files = [str(name) for section in sections for name in section["files"].values()]
    except (TypeError, KeyError, AttributeError):
        raise InputError(f"{listed}: lists no sections; export the volume again") from None
    for name in track(files, "reading", progress):
        file = path / name
        if not file.is_file():
            raise InputError(f"{file}: is missing, but sections.yaml lists it; export the volume again")
        if file.suffix == ".geojson":
            try:
                json.loads(file.read_bytes())
            except ValueError as error:
                raise InputError(f"{file}: cannot be read ({error}); export the volume again") from None
        else:
            _tiff_shape(file)
    number = f"{len(sections)} section{'s' * (len(sections) != 1)}"
    return (f"qupath, {number}; all {len(files)} files were read",)


def _tiff_shape(file: Path) -> tuple[int, ...]:
    import tifffile

    from tomostain.io.tiff import tiff_errors

    refuse_special_file(file)
    try:
        with tiff_errors(file):
            return tuple(tifffile.imread(file).shape)
    except InputError:
        raise
    except Exception as error:  # tifffile and its codecs raise many types
        raise InputError(f"{file}: cannot be read ({error}); export the volume again, or copy it again") from None


def _candidates(path: Path, progress: Progress) -> Details:
    from tomostain.config import read_yaml

    files = sorted(path.glob("candidate-*.yaml"))
    for file in files:
        read_yaml(file)
    _read_pictures(path.glob("*.png"), progress)
    return (f"{len(files)} poses of an uncertain registration; see the pictures of the same names",)


def _registrations(path: Path, progress: Progress) -> Details:
    """Check the pairs that `prepare` registered."""
    pairs = sorted(folder.parent for folder in path.glob("*/pair.yaml"))
    return tuple(f"{pair.name}: {_pair(pair, silent)[0]}" for pair in track(pairs, "reading", progress))


def _figures(path: Path, progress: Progress) -> Details:
    return (f"{_read_pictures(path.glob('*.png'), progress)} pictures were read",)


def _film(path: Path, progress: Progress) -> Details:
    """Decode all frames of a fly-through."""
    if path.suffix.lower() == ".mp4":
        try:
            import av
        except ImportError:
            raise InputError(f"{path}: checking mp4 needs PyAV: pip install 'tomostain[film]'") from None
        try:
            with av.open(str(path)) as container:
                frames = sum(1 for _ in container.decode(video=0))
        except (OSError, ValueError, IndexError) as error:  # those of PyAV are subclasses
            raise InputError(f"{path}: cannot be decoded ({error}); export the film again") from None
    else:
        from PIL import Image, ImageSequence

        try:
            with Image.open(path, formats=["GIF"]) as image:
                check_pixels(path, (image.height, image.width))
                frames = sum(1 for frame in ImageSequence.Iterator(image) if frame.load() is not None)
        except InputError:  # a ValueError itself
            raise
        except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
            raise InputError(f"{path}: cannot be decoded ({error}); export the film again") from None
    if not frames:
        raise InputError(f"{path}: has no frames; export the film again")
    return (f"all {frames} frames were decoded",)


def _vti(path: Path, progress: Progress) -> Details:
    """Read VTK image data as ParaView does."""
    try:
        from vtkmodules.vtkCommonCore import vtkObject
        from vtkmodules.vtkIOXML import vtkXMLImageDataReader
    except ImportError:
        raise InputError(f"{path}: checking vti needs VTK: pip install 'tomostain[render]'") from None
    shown = vtkObject.GetGlobalWarningDisplay()
    vtkObject.SetGlobalWarningDisplay(0)
    try:
        reader = vtkXMLImageDataReader()
        reader.SetFileName(str(path))
        errors: list[str] = []
        reader.AddObserver("ErrorEvent", lambda *_: errors.append("error"))  # type: ignore[arg-type]
        reader.Update()
        colours = reader.GetOutput().GetPointData().GetScalars()
        size = reader.GetOutput().GetDimensions()[::-1]
    finally:
        vtkObject.SetGlobalWarningDisplay(shown)
    if errors or reader.GetErrorCode() or colours is None:
        raise InputError(f"{path}: VTK cannot read it; the file is truncated or damaged, export it again")
    return (f"{' x '.join(map(str, size))} voxels, {colours.GetNumberOfComponents()} channels; all were read",)


def _is_rgba_nrrd(path: Path) -> bool:
    from tomostain.io.itk_files import itk_header

    return path.suffix.lower() == ".nrrd" and itk_header(path).components == 4


def _nrrd(path: Path, progress: Progress) -> Details:
    from tomostain.io.itk_files import itk_header, itk_region

    header = itk_header(path)
    itk_region(path, header, 0, header.shape[0])
    return (f"{' x '.join(map(str, header.shape))} voxels, {header.components} channels; all were read",)


def _read_pictures(paths: Iterable[Path], progress: Progress) -> int:
    from tomostain.io import read_image

    files = sorted(paths)
    for file in track(files, "reading", progress):
        read_image(file)
    return len(files)


_MARKERS: tuple[tuple[str, str, Check], ...] = (
    ("evaluate.yaml", "evaluation", _evaluation),
    ("pair.yaml", "pair", _pair),
    ("export.yaml", "export", _tiff_export),
    ("sections.yaml", "export", _sections_export),
    ("candidate-1.yaml", "registration candidates", _candidates),
    ("scores.csv", "registrations", _registrations),
    ("planes.png", "figures", _figures),
    (RDF, "exported model", check_package),
)
"""The file by which a folder is recognised, the name of its kind, and its check."""
