"""A decoded film shows the original pictures at their time, in a form that players accept."""

import sys
from fractions import Fraction

import numpy as np
import pytest

from tomostain.errors import InputError
from tomostain.view import export
from tomostain.view.render.film import write_mp4
from tomostain.view.render.flight import fly_through
from tomostain.view.render.rgba import rgba

av = pytest.importorskip("av")

SOLID = [(200, 30, 40), (255, 255, 255), (0, 0, 0), (60, 20, 150), (230, 180, 200)]


def pictures(height=96, width=128):
    """Uniform colours with a bright square that moves by 8 px per picture."""
    for number, colour in enumerate(SOLID):
        picture = np.full((height, width, 3), colour, np.uint8)
        picture[16:32, 8 * number : 8 * number + 16] = (240, 220, 60)
        yield picture


def decoded(path):
    """Return time, RGB and the raw planes' form of every frame, by FFmpeg's own decoder, not the encoder's library."""
    with av.open(str(path)) as film:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]


def test_the_frames_that_went_in_come_out(tmp_path):
    path = tmp_path / "film"
    write_mp4(path, pictures(), 8)
    frames = decoded(path)
    assert [time for time, _ in frames] == [Fraction(number, 8) for number in range(5)]
    for (_, frame), picture in zip(frames, pictures(), strict=True):
        wrong = np.abs(frame.astype(int) - picture)
        assert np.median(wrong) <= 2  # limited range in 8 bits
        assert wrong.mean() < 3
        # Away from edges, which 2 × 2 pixels of one colour and the compression soften.
        assert wrong[40:].max() <= 6
    square = [frame[18:30, 8 * n + 2 : 8 * n + 14].mean(axis=(0, 1)) for n, (_, frame) in enumerate(frames)]
    np.testing.assert_allclose(square, [(240, 220, 60)] * 5, atol=10)


def test_the_form_that_powerpoint_and_browsers_play(tmp_path):
    write_mp4(tmp_path / "film.mp4", pictures(), 24)
    with av.open(str(tmp_path / "film.mp4")) as film:
        (stream,) = film.streams
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 128, 96)
        assert (stream.average_rate, stream.frames) == (24, 5)
        assert "mp4" in film.format.name
        # BT.709, limited range: the numbers of ISO/IEC 23091-2 and FFmpeg's AVCOL_RANGE_MPEG.
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
    content = (tmp_path / "film.mp4").read_bytes()
    assert content[4:8] == b"ftyp"
    assert content.index(b"moov") < content.index(b"mdat")  # plays before the file is complete


def test_odd_sides_are_filled_up_and_the_same_pictures_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_mp4(tmp_path / name, pictures(95, 127), 8)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    frame = decoded(tmp_path / "a")[3][1]
    assert frame.shape == (96, 128, 3)
    np.testing.assert_allclose(frame[-1, :, :], np.broadcast_to(SOLID[3], (128, 3)), atol=6)


def test_a_flight_as_film(tmp_path):
    pytest.importorskip("vtkmodules")
    cube = np.full((16, 16, 16, 3), 255, np.uint8)
    cube[4:12, 4:12, 4:12] = (180, 20, 20)
    shown = list(fly_through(rgba(cube), (5.0, 5.0, 5.0), frames=4, size=(320, 180)))
    write_mp4(tmp_path / "cube.mp4", iter(shown), 2)
    for (_, frame), picture in zip(decoded(tmp_path / "cube.mp4"), shown, strict=True):
        assert np.abs(frame.astype(int) - picture).mean() < 3
        assert (frame[..., 0] > 1.5 * frame[..., 2].clip(1)).sum() > 500


def test_export_writes_it_whole_or_refuses_it(tmp_path, monkeypatch):
    pytest.importorskip("vtkmodules")
    from tomostain.io import create_stained

    module = sys.modules["tomostain.view.export.formats"]  # its name in the package equals that of its function

    colours = np.full((12, 20, 24, 3), 255, np.uint8)
    colours[3:9, 5:15, 6:18] = (150, 40, 120)
    writer = create_stained(tmp_path / "s.ome.zarr", colours.shape[:3], (5, 5, 5), z_chunk=12, provenance={})
    writer.write(0, colours)
    writer.finish()
    monkeypatch.setattr(module, "FILM_FRAMES", 3)
    monkeypatch.setattr(module, "FILM_SIZE", (160, 90))
    out = export(tmp_path / "s.ome.zarr", tmp_path / "talk.mp4", "mp4")
    frames = decoded(out)
    assert [frame.shape for _, frame in frames] == [(90, 160, 3)] * 3
    assert all((frame.min(axis=2) < 150).sum() > 300 for _, frame in frames)
    with pytest.raises(InputError, match=r"must be named \*\.mp4"):
        export(tmp_path / "s.ome.zarr", tmp_path / "talk.mov", "mp4")
    with pytest.raises(InputError, match="overwrite=True"):
        export(tmp_path / "s.ome.zarr", out, "mp4")
    with pytest.raises(InputError, match="more than the maximum of mp4"):
        export(tmp_path / "s.ome.zarr", tmp_path / "large.mp4", "mp4", max_bytes=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.ome.zarr", "talk.mp4"]


def test_without_the_library_the_error_says_what_to_install_before_rendering(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"needs PyAV: pip install 'tomostain\[film\]', or set `to=gif`"):
        write_mp4(tmp_path / "film.mp4", pictures(), 8)
    assert not (tmp_path / "film.mp4").exists()


def test_a_build_without_the_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"h264", "mpeg4"})
    with pytest.raises(InputError, match=r"has no H\.264"):
        write_mp4(tmp_path / "film.mp4", pictures(), 8)


def test_the_flight_looks_into_the_cut_while_it_is_deep():
    pytest.importorskip("vtkmodules")
    cube = np.full((20, 20, 20, 3), 255, np.uint8)
    cube[2:18, 2:18, 2:18] = (30, 40, 160)
    cube[6:14, 6:14, 6:14] = (190, 30, 20)  # hidden until the cut opens it
    whole, opening, *_ = fly_through(rgba(cube), (5.0, 5.0, 5.0), frames=4, size=(320, 180))
    red = [int((frame[..., 0] > 1.5 * frame[..., 2].clip(1)).sum()) for frame in (whole, opening)]
    assert red[0] == 0
    assert red[1] > 300
