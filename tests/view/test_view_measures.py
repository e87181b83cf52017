"""The pages of measures and of a study."""

import math
import re

import numpy as np
import pytest

from tomostain.io import create_stained
from tomostain.measure.classes import COLOURS, TissueClass
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.measures import Definition, Measure
from tomostain.measure.results import Bars, Curve, FigureData, Histogram, MeasureResult, SectionImage, SectionResult
from tomostain.measure.rows import measure_rows
from tomostain.measure.study import measure_study
from tomostain.view.report.measure_pictures import labels_over, reduced_labels
from tomostain.view.report.measures import measures_page, section_page, wider_intervals
from tomostain.view.report.study import study_page

BIC = Definition(
    "trial_bic",
    "BIC (surface)",
    "bone-implant contact",
    "%",
    3,
    "trial-bic-1",
    "Faces of the implant at bone, up to `gap_um`.",
)
BV = Definition("trial_bv", "BV/TV", "bone volume fraction", "%", 3, "trial-bv-1", "Bone voxels.")
PLANE = Definition("trial_bic_plane", "BIC (2D)", "bone-implant contact", "%", 2, "trial-bic-plane-1", "In a plane.")


def label_volume(shape=(24, 40, 48)):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    distance = np.hypot(y - shape[1] / 2, x - shape[2] / 3) + 0 * z
    labels = np.full(shape, TissueClass.SOFT, np.uint8)
    labels[:, :, shape[2] // 2 :] = TissueClass.BONE
    labels[distance < 9] = TissueClass.DEGRADATION
    labels[distance < 7] = TissueClass.METAL
    return labels


def figure_data():
    x = np.arange(0.0, 500.0, 50.0)
    return FigureData(
        new_bone_profile=Curve(x, {"stained": 20 * np.exp(-x / 200)}, "distance from the implant [µm]", "new bone [%]"),
        bone_by_shell=Bars(("0-100", "100-250"), {"stained": np.array([30.0, 40.0])}, "BV/TV [%]"),
        thickness=Histogram(np.arange(0.0, 220.0, 20.0), {"trabeculae": np.arange(10.0)}, "thickness [µm]"),
        confusion=np.eye(6, dtype=np.int64) * 100,
    )


@pytest.fixture
def result(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    labels = LabelArray(label_volume(), 20.0)
    writer = create_stained(tmp_path / "stained.ome.zarr", labels.shape, 20.0, provenance={})
    for start, stop in writer.z_chunks():
        writer.write(start, np.full((stop - start, 40, 48, 3), 180, np.uint8))
    writer.finish()
    measures = [
        Measure(BIC, 41.234, sd_model=0.83, note="80 % of the surface is in the field of view"),
        Measure(BV, 35.0, region="0-100 µm"),
        Measure(BV, math.nan, region="100-250 µm", note="no tissue <there>"),
    ]
    rows = measure_rows(measures, specimen="rat5", source="both")
    rows += measure_rows(measures[:1], specimen="rat5", source="both", voxels="without refused")
    return MeasureResult(
        out=out,
        specimen="rat5",
        measures=measures,
        rows=rows,
        voxel_um=(20.0, 20.0, 20.0),
        labels_path=write_labels(out / "labels.ome.zarr", labels),
        stained=writer.path,
        figures=figure_data(),
        notes=["The implant touches two faces of the volume."],
        provenance={"classifier": "toluidine blue, both"},
    )


def test_page_of_a_volume(result):
    page = measures_page(result)
    assert page == result.out / "report.html"
    text = page.read_text(encoding="utf-8")
    for part in (
        "Measures of rat5",
        "41.23 ± 0.83",
        "both, without refused",
        "BIC (surface): 80 % of the surface is in the field of view.",
        "BV/TV (100-250 µm): no tissue &lt;there&gt;.",
        "The implant touches two faces of the volume.",
        "method trial-bic-1): Faces of the implant at bone, up to gap_um.",
        "degradation layer",
        "toluidine blue, both",
    ):
        assert part in text, part
    assert text.index("<table") < text.index("BIC (surface): 80 %")
    assert "`" not in re.sub(r"<script.*?</script>|data:[^\"]*", "", text, flags=re.DOTALL)
    assert "new woven bone" not in re.search(r'<ul class="legend">.*?</ul>', text, re.DOTALL)[0]
    assert text.count("<img") == 6
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_page_without_stain_and_figures(result):
    bare = MeasureResult(result.out, "rat5", result.measures, result.rows, labels_path=result.labels_path)
    text = measures_page(bare).read_text(encoding="utf-8")
    assert text.count("<img") == 1
    assert "Plots" not in text
    none = MeasureResult(result.out, "rat5", [], [])
    assert "<img" not in measures_page(none).read_text(encoding="utf-8")


def test_page_of_a_section(tmp_path):
    rng = np.random.default_rng(0)
    images = {
        name: SectionImage(rng.integers(0, 256, (30, 50, 3)).astype(np.uint8), label_volume()[0, :30, :48])
        for name in ("real section", "virtual section")
    }
    images = {name: SectionImage(each.colours[:, :48], each.labels) for name, each in images.items()}
    measures = {"real section": [Measure(PLANE, 40.0)], "virtual section": [Measure(PLANE, 44.0, sd_registration=3.0)]}
    rows = [row for name, each in measures.items() for row in measure_rows(each, specimen="p1", source=name)]
    page = section_page(SectionResult(tmp_path, "p1", measures, rows, images, 20.0))
    text = page.read_text(encoding="utf-8")
    assert '<th scope="col">real section</th><th scope="col">virtual section</th>' in text
    assert "44.0 ± 3.0" in text
    assert text.count("<img") == 4
    assert text.count("method trial-bic-plane-1") == 1


def test_labels_have_the_colours_of_their_classes():
    labels = np.array([[TissueClass.METAL, TissueClass.BONE]], np.uint8)
    assert labels_over(None, labels)[0].tolist() == [list(COLOURS[TissueClass.METAL]), list(COLOURS[TissueClass.BONE])]
    mixed = labels_over(np.full((1, 2, 3), 200, np.uint8), labels)
    assert mixed[0, 0].tolist() == [round(0.6 * c + 0.4 * 200) for c in COLOURS[TissueClass.METAL]]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_reduced_labels(step):
    labels = label_volume((101, 20, 22))
    reduced = reduced_labels(LabelArray(labels, 20.0), step)
    np.testing.assert_array_equal(reduced, labels[::step, ::step, ::step])


def test_wider_intervals_keep_the_sum():
    histogram = Histogram(np.arange(0.0, 710.0, 10.0), {"bone": np.arange(70.0)}, "thickness")
    wider = wider_intervals(histogram)
    assert len(wider.series["bone"]) == 24
    assert wider.edges[:2].tolist() == [0, 30]
    assert wider.edges[-1] == 700
    assert wider.series["bone"].sum() == histogram.series["bone"].sum()
    few = Histogram(np.arange(4.0), {"bone": np.arange(3.0)}, "thickness")
    np.testing.assert_array_equal(wider_intervals(few).series["bone"], few.series["bone"])


def test_page_of_a_study(tmp_path):
    rows = ["specimen,subject,implant,BIC (%),score,loss [%]"]
    rows += [f"s{k},rat{k // 2},{'Ti' if k < 16 else 'Mg'},{40 + k % 5 + k},{k % 3},{k % 7}" for k in range(32)]
    table = tmp_path / "study.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    result = measure_study(table, tmp_path / "out")
    text = study_page(result).read_text(encoding="utf-8")
    assert "32 specimens of 16 animals in 2 groups: Ti, Mg." in text
    assert "Ti − Mg" in text
    assert "random intercept for each of the 16 animals" in text
    assert text.count("<img") == 3
