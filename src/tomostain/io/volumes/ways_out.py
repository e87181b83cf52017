"""What to do with a file whose format is not read."""

from pathlib import Path

_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar")
_PLAIN_VALUES = (".raw", ".vol", ".img", ".dat", ".bin", ".data")
_HEADERS = (".mhd", ".nhdr")
_BIO_FORMATS = "save the volume as OME-TIFF (Fiji: File > Import > Bio-Formats)"
_PARTIAL = "the download or copy is not complete; wait for it, or start it again"
_SCANCO = "export the volume as TIFF slices or DICOM (Scanco IPL, or itk-ioscanco)"
_OTHERS = {
    ".am": "export the volume as TIFF slices or NRRD (Amira, Avizo)",
    ".dcm": "convert the DICOM series to NIfTI or NRRD (dcm2niix, or 3D Slicer)",
    ".hdr": "it is the header of another file; convert the pair to one .nii (nibabel, or 3D Slicer)",
    ".n5": "save the volume as OME-Zarr or TIFF slices (Fiji: File > Import > N5)",
    ".npy": "open the array in Python (`Volume.from_array`), or save it as TIFF (tifffile)",
    ".pca": "it describes a scan; give the reconstructed slices",
    ".txm": "export the volume as TIFF slices or DICOM (Zeiss XMController, or Dragonfly)",
    ".txrm": "it holds projections; reconstruct it, and export TIFF slices",
    ".vgi": "it describes the values in the .vol next to it; {mhd}",
    ".xtekct": "it describes a scan; {mhd}",
    ".aim": _SCANCO,
    ".crdownload": _PARTIAL,
    ".ims": "it is HDF5: copy it to NAME.h5, and name one of its datasets with `dataset`",
    ".isq": _SCANCO,
    ".lif": _BIO_FORMATS,
    ".mat": "a file of MATLAB 7.3 is HDF5: copy it to NAME.h5; save an older one with save(…, '-v7.3')",
    ".mnc": "convert it to NIfTI (mnc2nii)",
    ".mrc": "save the volume as TIFF slices (Fiji, or IMOD: mrc2tif)",
    ".nc": "a file of netCDF-4 is HDF5: copy it to NAME.h5; convert an older one with 'nccopy -k nc4'",
    ".nd2": _BIO_FORMATS,
    ".npz": "open the array in Python (`Volume.from_array`), or save it as TIFF (tifffile)",
    ".part": _PARTIAL,
    ".rec": "save the volume as TIFF slices (Fiji, or IMOD: mrc2tif)",
    ".rek": "export the volume as TIFF slices (the program of the scanner, or Fiji: File > Import > Raw)",
    ".vgl": "it is a project of VGStudio; export the volume as TIFF slices",
    ".vti": "save it as NRRD or MHA (ParaView, or 3D Slicer)",
    ".vtk": "save it as NRRD or MHA (ParaView, or 3D Slicer)",
    ".log": "give the folder of the slices, or the file of the volume",
}
_MHD = (
    "describe {values} in a text file {stem}.mhd next to it, with the lines 'ObjectType = Image', 'NDims = 3', "
    "'BinaryData = True', 'BinaryDataByteOrderMSB = False', 'DimSize = COLUMNS ROWS SLICES', 'ElementType = "
    "MET_USHORT' (or MET_UCHAR, MET_FLOAT), 'DistanceUnits = um', 'ElementSpacing = 5 5 5' and "
    "'ElementDataFile = {values}', and give {stem}.mhd"
)


def way_out(path: Path) -> str:
    """Return what to do with a file of a format that is not read: the end of a message; "" if nothing is known.

    Parameters
    ----------
    path : Path
        A file. Headers with its name, next to it, are looked for.

    Examples
    --------
    >>> way_out(Path("scan.tif.gz")), way_out(Path("scan.xyz"))
    ('it is compressed; unpack it', '')
    """
    suffix = path.suffix.lower()
    if suffix in _PACKED:
        return "it is compressed; unpack it"
    header = next((path.with_suffix(end) for end in _HEADERS if path.with_suffix(end).is_file()), None)
    if header is not None:
        return f"its header is next to it: give {header}"
    if suffix in _PLAIN_VALUES:
        if path.with_suffix(".hdr").is_file():
            return f"it is described by {path.with_suffix('.hdr').name}; convert the pair to one .nii, or {_mhd(path)}"
        described = path.with_suffix(".vgi")
        source = f" (its size and type are in {described.name})" if described.is_file() else ""
        return f"it holds values without a header{source}; {_mhd(path)}"
    return _OTHERS.get(suffix, "").replace("{mhd}", _mhd(path))


def _mhd(path: Path) -> str:
    values = path.with_suffix(".vol") if path.suffix.lower() == ".vgi" else path
    if path.suffix.lower() == ".xtekct":
        values = path.with_suffix(".vol")
    return _MHD.format(values=values.name, stem=path.stem)
