"""Weight files of installed packages. Only the files are read; the packages are never imported."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tomostain.errors import InputError
from tomostain.io.checksums import sha256


@dataclass(frozen=True)
class PackagedFile:
    """A file of a package from the Python Package Index.

    Attributes
    ----------
    package : str
        Name of the distribution.
    path : str
        The file, relative to ``site-packages``.
    sha256 : str
        SHA-256 of the file.
    install : str
        The command that installs the package.
    """

    package: str
    path: str
    sha256: str
    install: str

    def locate(self, metric: str) -> Path:
        """Return the path of the installed file after checking its SHA-256.

        Raises
        ------
        InputError
            If the package is not installed, or the file is missing or differs; the message names the metric.
        """
        try:
            file = Path(str(distribution(self.package).locate_file(self.path)))
        except PackageNotFoundError:
            raise InputError(
                f"metric '{metric}': the package {self.package}, which has its weights, is not installed; run: "
                f"{self.install}",
                parameter="metrics",
            ) from None
        if not file.is_file():
            raise InputError(
                f"metric '{metric}': {file} is missing; install the package again: {self.install}", parameter="metrics"
            )
        digest = _sha256(file, file.stat().st_mtime_ns)
        if digest != self.sha256:
            raise InputError(
                f"metric '{metric}': {file}: SHA-256 is {digest[:12]}…, expected {self.sha256[:12]}…; install the "
                f"tested version: {self.install}",
                parameter="metrics",
            )
        return file


@cache
def _sha256(file: Path, changed_ns: int) -> str:
    return sha256(file)
