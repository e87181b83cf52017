"""Simulated tomography of a specimen (paper section 2.2): attenuation, then the effects of the instrument.

Every effect is a separate function. A 0 in the configuration switches it off.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.phantom.anatomy import Anatomy
from tomostain.phantom.config import TomographyConfig as TomographyConfig
from tomostain.phantom.materials import METALS, attenuation_table
from tomostain.phantom.sampler import sample_tissue_in_volume
from tomostain.phantom.tissue import Label
from tomostain.progress import Progress, silent

Float32 = NDArray[np.float32]
SLICES_AT_ONCE = 8
STREAK_SIDE_PX = 64
STREAK_ANGLES = 60


def tomograph(anatomy: Anatomy, progress: Progress = silent) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Simulate the µCT volume of a specimen.

    Parameters
    ----------
    anatomy : Anatomy
        Its configuration contains the size of the volume and the options of the instrument.
    progress : Progress
        Called for every part of the volume.

    Returns
    -------
    volume : ndarray of uint16, shape (Z, Y, X)
        Grey values, in a scale of this scan.
    labels : ndarray of uint8, shape (Z, Y, X)
        `Label` at the centre of every voxel.
    """
    config = anatomy.config.tomography
    rng = np.random.default_rng([anatomy.config.seed, 4])
    mu, labels = attenuation_volume(anatomy, progress)
    bone = attenuation_table(config.energy_kev, anatomy.config.material).bone
    metal = (labels == Label.SCREW) & (anatomy.config.material in METALS)  # PEEK is a polymer and causes no streaks
    scan = instrument(mu, metal, bone, anatomy.config.voxel_um, config, rng)
    return grey_scale(scan, bone, config, rng), labels


def attenuation_volume(anatomy: Anatomy, progress: Progress = silent) -> tuple[Float32, NDArray[np.uint8]]:
    """Return the mean linear attenuation of every voxel, 1/cm, and the label at its centre."""
    config = anatomy.config
    table = attenuation_table(config.tomography.energy_kev, config.material)
    n = config.tomography.samples
    offsets = (np.arange(n) + 0.5) / n - 0.5
    mu = np.zeros(config.shape, np.float32)
    labels = np.zeros(config.shape, np.uint8)
    depth, height, width = config.shape
    for first in range(0, depth, SLICES_AT_ONCE):
        last = min(first + SLICES_AT_ONCE, depth)
        progress("scanning", first, depth)
        index = np.stack(np.meshgrid(np.arange(first, last), np.arange(height), np.arange(width), indexing="ij"), -1)
        for offset in np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3):
            points = ((index + offset) * config.voxel_um).astype(np.float32)
            tissue = sample_tissue_in_volume(anatomy, points, finest_um=config.voxel_um / n)
            mu[first:last] += table.of(tissue) / n**3
        if n == 1:
            labels[first:last] = tissue.label
        else:
            centres = (index * config.voxel_um).astype(np.float32)
            labels[first:last] = sample_tissue_in_volume(anatomy, centres, finest_um=config.voxel_um).label
    progress("scanning", depth, depth)
    return mu, labels


def instrument(
    mu: Float32,
    metal: NDArray[np.bool_],
    bone: float,
    voxel_um: float,
    config: TomographyConfig,
    rng: np.random.Generator,
) -> Float32:
    """Add the effects of the instrument to an attenuation volume.

    Parameters
    ----------
    mu : ndarray of float32, shape (Z, Y, X)
        Attenuation, 1/cm. The rotation axis is along z through the centre.
    metal : ndarray of bool, shape (Z, Y, X)
        The metal, which causes streaks.
    bone : float
        Attenuation of dense bone, 1/cm: the unit of noise, rings and streaks.
    voxel_um : float
    config : TomographyConfig
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """
    scan = mu.copy()
    if config.blur:
        scan = ndimage.gaussian_filter(scan, config.blur, mode="nearest")
    if config.fringe:
        # Propagation adds the Laplacian of the projected phase, which is reconstructed as that of the object.
        scan -= config.fringe * ndimage.laplace(scan, mode="nearest")
    if config.streaks:
        scan += metal_streaks(mu, metal, voxel_um) * (config.streaks * bone)
    if config.noise:
        path = mu.mean(axis=(1, 2)) * mu.shape[2] * voxel_um * 1e-4
        for z, depth in enumerate(path):
            # A longer path transmits fewer photons: Poisson noise of the projections increases as exp(path / 2).
            scan[z] += projection_noise(mu.shape[1:], rng) * np.float32(config.noise * bone * np.exp(depth / 2))
    if config.rings:
        scan += ring_pattern(mu.shape, rng) * np.float32(config.rings * bone)
    return scan


def projection_noise(shape: tuple[int, int], rng: np.random.Generator) -> Float32:
    """Return one slice of noise of standard deviation 1 as filtered back-projection of white noise gives it.

    Its power spectrum increases as |f|: the ramp filter's |f|² times the 1/|f| density of projections in Fourier space
    (Kak & Slaney 1988, Principles of Computerized Tomographic Imaging, chapter 5). It is 0 above the
    Nyquist frequency of the detector, in the corners of Fourier space.
    """
    f = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    amplitude = np.sqrt(f) * (f <= 0.5)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * amplitude, s=shape)
    return (noise / noise.std()).astype(np.float32)


def ring_pattern(shape: tuple[int, int, int], rng: np.random.Generator) -> Float32:
    """Return rings around the centre of each slice, from gain errors of detector pixels.

    The standard deviation of the profile is 1. A pixel that is always slightly too bright adds, after the ramp filter,
    a thin ring at its distance from the axis. Neighbouring slices belong to neighbouring detector rows, whose errors
    are similar.
    """
    depth, height, width = shape
    n = int(np.ceil(np.hypot(height, width) / 2)) + 2
    errors = ndimage.gaussian_filter1d(rng.standard_normal((depth, n)), 2.0, axis=0, mode="nearest")
    profile = -np.diff(errors, n=2, axis=1, prepend=0, append=0)
    profile /= profile.std()
    radius = np.hypot(np.arange(height)[:, None] - (height - 1) / 2, np.arange(width)[None, :] - (width - 1) / 2)
    return np.stack([np.interp(radius, np.arange(n), row) for row in profile]).astype(np.float32)


def metal_streaks(mu: Float32, metal: NDArray[np.bool_], voxel_um: float) -> Float32:
    """Return streaks around metal from beam hardening, with a largest absolute value of 1.

    The metal is projected and back-projected on a coarse grid. The path length enters squared, as in the first term of
    beam hardening. Without metal the result is 0.
    """
    from skimage.transform import iradon, radon

    if not metal.any():
        return np.zeros_like(mu)
    factor = max(1, -(-max(mu.shape[1:]) // STREAK_SIDE_PX))
    dense = np.where(metal, mu, 0).astype(np.float32)
    zoom = [1 / factor] * 3
    coarse = ndimage.zoom(ndimage.uniform_filter(dense, factor), zoom, order=1, grid_mode=True, mode="nearest")
    side = max(coarse.shape[1:])
    square = np.zeros((len(coarse), side, side), np.float32)
    square[:, : coarse.shape[1], : coarse.shape[2]] = coarse
    angles = np.linspace(0, 180, STREAK_ANGLES, endpoint=False)
    length_cm = factor * voxel_um * 1e-4
    streaks = np.zeros_like(square)
    for z, plane in enumerate(square):
        if plane.any():
            lost = -((radon(plane, angles, circle=False) * length_cm) ** 2)
            back = iradon(lost, angles, circle=False, output_size=side)
            streaks[z] = back
    streaks = streaks[:, : coarse.shape[1], : coarse.shape[2]]
    fine = ndimage.zoom(streaks, np.array(mu.shape) / streaks.shape, order=1, grid_mode=True, mode="nearest")
    return (fine / max(np.abs(fine).max(), 1e-12)).astype(np.float32)


def grey_scale(scan: Float32, bone: float, config: TomographyConfig, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Map attenuation, 1/cm, to clipped 16-bit grey values, in a scale that is drawn for each scan."""
    drawn_background, drawn_bone = rng.uniform(6000, 16000), rng.uniform(26000, 40000)
    background = drawn_background if config.background_grey is None else config.background_grey
    top = drawn_bone if config.bone_grey is None else config.bone_grey
    return to_integers(background + scan * ((top - background) / bone), np.uint16, "µCT grey values", clip=True)
