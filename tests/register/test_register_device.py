"""The search on a GPU: the same pose as on a CPU, and no step that waits for the device or mixes devices.

Where there is no GPU, tensors on the device "meta" show this: they have no values, so reading one fails, and so does
an operation on tensors of two devices.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.register.conftest import SMALL
from tests.register.planar_scenes import PIXEL_UM, classes, ct_of, slide_of
from tomostain.geometry.section import Section
from tomostain.imaging.intensity_estimation import estimate_reference
from tomostain.io import open_slide, open_volume
from tomostain.register import register_slide
from tomostain.register.config import RegisterConfig
from tomostain.register.find import refine_with_learned_values
from tomostain.register.hints import Hint, read_section
from tomostain.register.planar_pose import PlanarPose
from tomostain.register.pose_confidence import _fine_correlation
from tomostain.register.poses import Poses, _rodrigues, _rotation
from tomostain.register.preparation import prepare_search
from tomostain.register.refine import Freedom, _refine, refine
from tomostain.register.resolution import ResolutionLevel
from tomostain.register.search import _Bank, _correlate, _highest, _planes
from tomostain.register.task import SearchTask
from tomostain.register.template_sampling import TemplatePicture, sample_slab

SEARCH = RegisterConfig(thorough=False, candidates=120, step_deg=20.0, side=18, restarts=4)
DEVICES = ("cuda", "cpu")
META = torch.device("meta")


def scene(seed=0, points=40, poses=3):
    """Return a smooth random volume, a picture and poses."""
    draws = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(draws.random((12, 14, 16)), 2.0).astype(np.float32)
    resolution = ResolutionLevel.of(values, np.array([2.0, 2.0, 3.0]), np.zeros(3))
    u = torch.from_numpy(draws.uniform(-6, 6, (points, 2)).astype(np.float32))
    picture = TemplatePicture(u, torch.from_numpy(draws.random((2, points)).astype(np.float32)), torch.ones(points))
    assert (resolution.voxel_range_um, picture.reach_um > 0) == (
        (2.0, 3.0),
        True,
    )  # read while the values lie on the host
    frame = np.linalg.qr(draws.standard_normal((poses, 3, 3)))[0]
    centre = resolution.middle_um.double().numpy() + draws.uniform(-1, 1, (poses, 3))
    return resolution, picture, Poses.from_linear(frame[:, :, :2], centre)


def without_values(resolution, picture, poses):
    """Return the same on a device on which no value can be read."""
    return resolution.to(META), picture.to(META), poses.to(META)


@pytest.mark.parametrize("slab_um", [0.0, 9.0])
@pytest.mark.parametrize("freedom", [Freedom(strain=0.01, bound=0.03), Freedom(in_plane=True)], ids=["strain", "plane"])
def test_a_refinement_neither_waits_for_the_device_nor_mixes_devices(freedom, slab_um):
    refined, scores = _refine(*without_values(*scene()), freedom, 3, slab_um)
    assert {value.device for value in (refined.centre_um, refined.rotation, refined.strain, scores)} == {META}
    assert scores.shape == (3,)


def test_reading_a_value_and_mixing_devices_are_detected():
    resolution, picture, poses = without_values(*scene())
    with pytest.raises(RuntimeError, match="device"):
        sample_slab(resolution, torch.zeros(1, 4, 3), poses.rotation[:1, :, 2], 0.0)
    del vars(picture)["reach_um"]
    with pytest.raises(RuntimeError, match="meta"):
        _refine(resolution, picture, poses, Freedom(), 1, 0.0)


def test_the_search_neither_waits_for_the_device_nor_mixes_devices():
    n, depth, turns = 16, 5, 6
    planes, inside = _planes(scene()[0].to(META), torch.eye(3, device=META), n, depth, 3.0)
    assert planes.shape == inside.shape == (2 * depth + 1, n, n)
    spectra = [torch.fft.rfft2(planes), torch.fft.rfft2(planes**2), torch.fft.rfft2(inside)]
    pictures = torch.empty(turns, 2, n, n // 2 + 1, dtype=torch.complex64, device=META)
    peaks = _highest(spectra, _Bank(pictures, pictures[:, 0], torch.empty(turns, device=META)), n, 3)
    assert {(part.device, part.shape) for part in peaks} == {(META, (turns, 2, 3))}


def test_rotations_searched_together_have_the_peaks_of_single_ones():
    draws = torch.Generator().manual_seed(0)
    n, turns = 12, 5
    spectra = [torch.fft.rfft2(torch.rand(7, n, n, generator=draws) ** power) for power in (1, 2, 0)]
    pictures = torch.fft.rfft2(torch.randn(turns, 3, n, n, generator=draws)).conj()
    bank = _Bank(pictures, torch.fft.rfft2(torch.rand(turns, n, n, generator=draws)).conj(), torch.full((turns,), 72.0))
    single = _correlate(spectra, bank, n, 2)

    score, place = _highest(spectra, bank, n, 2, together=2)
    assert torch.equal(place.flatten(), single.place)
    torch.testing.assert_close(score.flatten(), single.score)
    assert single.hypothesis.tolist()[:7] == [0, 0, 1, 1, 2, 2, 0]
    assert single.turn.tolist()[5:8] == [0, 1, 1]


def test_the_formula_of_a_gpu_gives_the_rotation_of_the_matrix_exponential():
    draws = torch.Generator().manual_seed(0)
    vectors = torch.randn(20, 3, generator=draws) * torch.logspace(-8, 0.4, 20)[:, None]
    torch.testing.assert_close(_rodrigues(vectors), _rotation(vectors), atol=2e-6, rtol=0)


def test_fine_structure_is_compared_on_one_device():
    v, t, w = (torch.empty(3, 40, device=META) for _ in range(3))
    total, by_region = _fine_correlation(v, t, w, torch.empty(40, 5, device=META), torch.empty(40, 9, device=META))
    assert (total.device, by_region.shape) == (META, (3, 9))


def test_a_volume_is_copied_to_a_device_once():
    resolution, _, _ = scene()
    assert resolution.to(META) is resolution.to(META)
    assert resolution.to(META).voxel_range_um == resolution.voxel_range_um == (2.0, 3.0)
    assert resolution.to(torch.device("cpu")) is resolution


def apart_voxels(one: Section, other: Section, size_um: np.ndarray) -> float:
    """Return the largest distance between the positions of the points of a slide under two sections, voxels."""
    rows, columns = np.meshgrid(*(np.linspace(0, side, 15) for side in size_um), indexing="ij")
    points = np.stack([rows, columns], axis=-1).reshape(-1, 2)
    places = [section.to_volume_um(section.slide_to_section_um(points)) for section in (one, other)]
    return float(np.linalg.norm(places[0] - places[1], axis=1).max() / SMALL["voxel_um"])


@pytest.mark.gpu
def test_a_gpu_finds_the_pose_of_the_cpu(specimen):
    slide = open_slide(specimen / "slide.ome.tif")
    inputs = (specimen / "volume", slide, SEARCH)
    sections = [register_slide(*inputs, device=device).section for device in DEVICES]
    assert apart_voxels(*sections, np.array(slide.shape) * slide.pixel_um) < 0.05


@pytest.mark.gpu
def test_a_gpu_refines_over_the_thickness_of_a_section_as_the_cpu_does(specimen):
    volume, slide = open_volume(specimen / "volume"), open_slide(specimen / "slide.ome.tif")
    prepared = prepare_search(volume, slide, estimate_reference(np.asarray(volume), "volume"), SEARCH)
    resolution, template = prepared.resolution, prepared.template
    start = Poses.from_section(read_section(specimen / "truth" / "section.yaml"), template.middle_um)
    places = []
    for device in DEVICES:
        task = SearchTask(resolution, template, Freedom(0.01, bound=0.03), device)
        pose, _ = refine_with_learned_values(task, start, slab_um=3 * SMALL["voxel_um"])
        places.append(pose.points_um(template.corners_um))
    assert (places[0] - places[1]).norm(dim=-1).max() < 0.05 * SMALL["voxel_um"]


@pytest.mark.gpu
def test_a_gpu_has_the_scores_of_the_cpu():
    resolution, picture, poses = scene(points=200, poses=50)
    freedom = Freedom(strain=0.01, bound=0.03)
    (actual, scores), (expected, expected_scores) = (
        refine(resolution, picture, poses, freedom, steps=3, device=device) for device in DEVICES
    )
    torch.testing.assert_close(scores, expected_scores, atol=1e-4, rtol=1e-3)
    apart = (actual.points_um(picture.u_um) - expected.points_um(picture.u_um)).norm(dim=-1).amax(dim=1)
    assert apart.median() < 1e-3
    assert scores.device.type == actual.centre_um.device.type == "cpu"


@pytest.mark.gpu
def test_the_planar_registration_is_the_same_with_a_gpu():
    shape = (80, 96)
    middle_um = np.array(shape) * PIXEL_UM / 2
    image, pose = classes(shape=shape), PlanarPose(middle_um, 0.4, False, middle_um, np.zeros((2, 2)))
    volume, slide = (ct_of(image)[None], PIXEL_UM), (slide_of(image, pose), PIXEL_UM)
    sections = [register_slide(volume, slide, device=device, hint=Hint(accept=True)).section for device in DEVICES]
    assert sections[0].to_dict() == sections[1].to_dict()
