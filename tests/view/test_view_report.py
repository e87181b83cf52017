"""The report page: well-formed, self-contained, escaped, with readable pictures and training curves."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tomostain.errors import InputError
from tomostain.evaluate import Table
from tomostain.figures.curves import read_curves, smooth, training_curves
from tomostain.io import write_image
from tomostain.view.report.blocks import (
    Compare,
    Figure,
    Frames,
    KeyFigures,
    Legend,
    MetricTable,
    Panels,
    Report,
    ReportSection,
    Row,
)
from tomostain.view.report.evaluation import evaluation_page
from tomostain.view.report.writer import write_report

VOID = {"meta", "img", "input", "br", "hr", "link"}
HOSTILE = """<script>alert("x")</script> & 'quoted' "text" </style>"""


class Outline(HTMLParser):
    """Check that tags close in order; store tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(path):
    parser = Outline()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open == []
    return parser


def photo(rows=40, columns=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def report(text="plain", image=None):
    image = photo() if image is None else image
    table = MetricTable(
        ("model", "SSIM ↑"), ((text, "0.59 [0.48, 0.71] *"), ("raw µCT", "0.15 [0.1, 0.2]")), ("raw µCT",), text
    )
    blocks = (
        Figure(image, text, text),
        Row((Figure(image, text), Figure(image, text, narrow=True))),
        Compare(image, image, (text, "stained"), text),
        Frames([image, image, image], ["a", text, "c"], text),
        table,
    )
    return Report(text, (text,), ((text, text),), (ReportSection(text, (text,), blocks),), (text,), {text: text})


def test_the_page_is_well_formed_and_needs_nothing_else(tmp_path):
    path = write_report(tmp_path / "report.html", report())
    page = outline(path)
    assert not re.search(
        r"https?://|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", path.read_text()).replace("// The page", "")
    )
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert all("src" not in attributes for tag, attributes in page.tags if tag != "img")
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert page.text.count("Figure 1") == 1
    assert "Figure 5" in page.text


def test_pictures_are_readable_and_described(tmp_path):
    drawing = np.full((30, 50, 3), 255, np.uint8)
    drawing[10:20] = (10, 20, 200)
    for image, kind in ((photo(1200, 2000), "jpeg"), (drawing, "png")):
        path = write_report(tmp_path / f"{kind}.html", report(image=image))
        images = [attributes for tag, attributes in outline(path).tags if tag == "img"]
        assert len(images) == 8
        for attributes in images:
            head, data = attributes["src"].split(",")
            assert head == f"data:image/{kind};base64"
            decoded = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            assert decoded.size == (int(attributes["width"]), int(attributes["height"]))
            assert decoded.width <= 1600
            assert attributes["alt"]
    np.testing.assert_array_equal(np.asarray(decoded), drawing)  # drawings are stored without loss


def test_html_in_values_is_escaped(tmp_path):
    page = outline(write_report(tmp_path / "report.html", report(HOSTILE)))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert page.text.count(HOSTILE) >= 6
    assert {"h1", "h2", "pre", "dd", "caption"} <= {tag for tag, _ in page.tags}
    assert any(attributes.get("alt") == HOSTILE for _, attributes in page.tags)


def test_the_baselines_stand_apart_and_the_best_is_bold(tmp_path):
    text = write_report(tmp_path / "report.html", report()).read_text(encoding="utf-8")
    assert '<td class="best">0.59<small>[0.48, 0.71]</small></td>' in text
    body, baselines = re.findall(r"<tbody.*?</tbody>", text)
    assert baselines.startswith('<tbody class="baselines">')
    assert "raw µCT" in baselines
    assert "raw µCT" not in body


def test_metric_table_of_an_evaluation():
    from tomostain.evaluate.table import Table

    records = [
        {"model": m, "ssim": v, "lpips": float("nan"), "psnr": 10 * v} for m, v in (("ours", 0.6), ("raw µCT", 0.1))
    ]
    table = MetricTable.of(Table.from_records(records, notes=("a note",)))
    assert table.rows[0] == ("ours", "0.600 [0.600, 0.600] *", "6.0 [6.0, 6.0] *", "1")
    assert table.baselines[0] == "raw µCT"
    with pytest.warns(DeprecationWarning, match="baselines"):
        assert table.floor == table.baselines
    assert table.caption.endswith("a note")


def test_the_baselines_are_those_of_the_evaluation():
    from tomostain.evaluate.measure import LOOKUP, MEAN_IMAGE, RAW_CT, RAW_INPUT
    from tomostain.view.report import blocks

    assert blocks.BASELINES == (RAW_CT, RAW_INPUT, MEAN_IMAGE, LOOKUP)
    with pytest.warns(DeprecationWarning, match="BASELINES"):
        assert blocks.FLOORS == blocks.BASELINES


def test_the_opening_comes_before_the_summary(tmp_path):
    picture = photo(1000, 1200)
    opening = (
        Panels((picture, picture), ("a", "<b>"), "side by side"),
        Legend((((118, 108, 100), "<grey>"),), "the stain"),
    )
    numbers = ReportSection("numbers", (), (KeyFigures((("SSIM", "0.61", "0.05 better"),)),))
    path = write_report(tmp_path / "report.html", Report("t", ("the summary",), sections=(numbers,), opening=opening))
    page, text = outline(path), path.read_text(encoding="utf-8")
    assert text.index("side by side") < text.index("the summary") < text.index("0.05 better")
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["width"] for image in images] == ["1200", "1200"]
    assert ("i", {"style": "background: rgb(118, 108, 100)"}) in page.tags
    assert "<grey>" in page.text
    assert "<b>" in page.text


def test_a_page_that_grows_too_large_gets_smaller_pictures_or_one_line(tmp_path):
    large = report(image=photo(900, 1500))
    path = write_report(tmp_path / "report.html", large, max_bytes=6_000_000)
    assert path.stat().st_size <= 6_000_000
    with pytest.raises(InputError, match="show fewer of them"):
        write_report(tmp_path / "other.html", large, max_bytes=100_000)
    assert not (tmp_path / "other.html").exists()


def test_overwriting_and_unreadable_pictures(tmp_path):
    path = write_report(tmp_path / "report.html", Report("one"))
    with pytest.raises(InputError, match="overwrite=True"):
        write_report(path, Report("two"))
    assert "two" in write_report(path, Report("two"), overwrite=True).read_text()
    missing = Figure(tmp_path / "missing.png", "caption")
    with pytest.raises(InputError, match=r"missing\.png: no such file"):
        write_report(tmp_path / "b.html", Report("b", sections=(ReportSection("s", (), (missing,)),)))


def metrics(tmp_path, text):
    path = tmp_path / "metrics.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_curves_hold_the_terms_and_leave_gaps_out(tmp_path):
    path = metrics(
        tmp_path, "step,epoch,seconds,G,D_x,lr\n1,0,0.1,2.0,,1e-4\n2,0,0.2,1.0,0.5,1e-4\n3,0,0.3,nan,0.25,1e-4\n"
    )
    series = read_curves(path)
    assert list(series) == ["G", "D_x"]
    assert series["G"][0].tolist() == [1, 2]
    assert series["D_x"][1].tolist() == [0.5, 0.25]
    picture = training_curves(path)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert ((picture != 255).any(axis=-1)).mean() > 0.005


def test_many_points_are_drawn(tmp_path):
    lines = "".join(f"{step},{np.exp(-step / 99):.5f},{step % 7}\n" for step in range(400))
    picture = training_curves(metrics(tmp_path, "step,G,D\n" + lines))
    line = (np.abs(picture.astype(int) - (0x5B, 0x4A, 0x94)).max(axis=-1) < 12).any(axis=0)
    assert line[: picture.shape[1] // 2].sum() > picture.shape[1] / 4  # the line runs through the first panel


def test_smoothing_against_scipy():
    from scipy import ndimage

    values = np.random.default_rng(1).normal(size=200)
    kernel = ndimage.gaussian_filter1d(values, 4.0, mode="constant", radius=12)
    weight = ndimage.gaussian_filter1d(np.ones(200), 4.0, mode="constant", radius=12)
    np.testing.assert_allclose(smooth(values, 4.0), kernel / weight, atol=1e-12)
    assert smooth(np.array([5.0]), 3.0).tolist() == [5.0]


@pytest.mark.parametrize(
    ("text", "message"), [("", "no column 'step'"), ("a,b\n1,2\n", "no column 'step'"), ("step,G\n1,\n", "no numbers")]
)
def test_tables_without_curves(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        training_curves(metrics(tmp_path, text))
    with pytest.raises(InputError, match="no such file"):
        training_curves(tmp_path / "none.csv")


def test_the_page_of_an_evaluation_names_the_metrics_in_which_a_baseline_is_better(tmp_path):
    rows = [("run", 0.8, 0.1), ("raw µCT", 0.4, 0.7), ("grey-value look-up", 0.84, 0.2)]
    table = Table.from_records([{"model": name, "ssim": ssim, "lpips": lpips} for name, ssim, lpips in rows])
    write_image(tmp_path / "boxplots.png", np.zeros((8, 8, 3), np.uint8))
    facts = "{pairs: [p3], dataset: data, options: {split: test}, lpips_network: LPIPS}"
    (tmp_path / "evaluate.yaml").write_text(facts, encoding="utf-8")
    page = evaluation_page(tmp_path, table, tmp_path / "run").read_text(encoding="utf-8")
    text = " ".join(page.split())
    assert (
        "run is better than every baseline in LPIPS. In SSIM the grey-value look-up is better (0.840, run 0.800)."
        in text
    )
    assert "1 pair of data, split" in text
