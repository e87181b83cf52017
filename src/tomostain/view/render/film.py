"""Films as MP4 with H.264 in yuv420p, which PowerPoint, Keynote and all browsers play."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tomostain.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

QUALITY = 18
"""Constant rate factor of x264 (0, lossless, to 51). 18 is visually almost lossless."""


def has_film() -> bool:
    """Whether the library that encodes films is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def require_film() -> None:
    """Raise unless a film can be encoded, before any frame is rendered.

    Raises
    ------
    InputError
        If PyAV is not installed, or was built without an encoder for H.264.
    """
    if not has_film():
        raise InputError("`to=mp4`: writing a film needs PyAV: pip install 'tomostain[film]', or set `to=gif`")
    import av

    if "libx264" not in av.codecs_available:
        raise InputError("`to=mp4`: this build of PyAV has no H.264; pip install 'tomostain[film]', or set `to=gif`")


def write_mp4(path: Path, pictures: Iterator[NDArray[np.uint8]], per_second: float | Fraction) -> None:
    """Write images as MP4 as they are produced. One image is in memory at a time.

    The colours are stored as BT.709 in limited range, and the file states this, because players assume a default.
    For an image with an odd side, the last row or column is repeated: colour is stored for squares of 2 × 2 pixels. The
    index is at the beginning, so that a browser plays the film before it is fully loaded.

    Parameters
    ----------
    path : Path
        Any name: the format does not depend on it.
    pictures : iterator of ndarray of uint8, shape (height, width, 3)
        RGB, all of the same size.
    per_second : float or Fraction
        Images per second.

    Raises
    ------
    InputError
        See `require_film`.
    """
    require_film()
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as film:
        stream: VideoStream | None = None
        for picture in pictures:
            even = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = _stream(film, even.shape[1], even.shape[0], per_second)
            film.mux(stream.encode(_frame(even)))
        if stream is not None:
            film.mux(stream.encode())


def _stream(film: "OutputContainer", width: int, height: int, per_second: float | Fraction) -> "VideoStream":
    """Add the only track of a film. The colour properties set here are written to its header."""
    from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

    # One thread: the same pictures give the same bytes on every machine.
    stream = film.add_stream("libx264", rate=Fraction(per_second).limit_denominator(1000))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.options = {"crf": str(QUALITY), "preset": "medium", "threads": "1"}
    codec = stream.codec_context
    codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
    codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    return stream


def _frame(picture: NDArray[np.uint8]) -> "VideoFrame":
    """Return an image with even sides as a frame in the colours of the film."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return frame.reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
