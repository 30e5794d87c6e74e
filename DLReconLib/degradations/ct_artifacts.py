"""What sparse views, metal and uneven detectors do to CT slices.

Slices are (N, j, i) float32, attenuation relative to water's (air 0, water 1), that is HU / 1000 + 1.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from DLReconLib.degradations import Array, log_uniform
from DLReconLib.tomography import detectors, filtered_back_projection, project, view_angles

# Of 50, 70 and 100 keV: shares of the photons of a filtered 120 kV tube, and attenuation per mm (NIST XCOM); bone is
# cortical, 1.92 g/cm3.
SPECTRUM = np.array([0.35, 0.4, 0.25])
WATER = np.array([0.02269, 0.01929, 0.01707])
BONE = np.array([0.0814, 0.0499, 0.0356])
METALS = {
    "titanium": np.array([0.5460, 0.2480, 0.1225]),
    "steel": np.array([1.530, 0.667, 0.2916]),
    "cobalt-chrome": np.array([1.700, 0.741, 0.3230]),
    "amalgam": np.array([9.0, 4.1, 3.6]),
}
METAL_KINDS = ("hip", "screws", "rods", "fillings")
EFFECTIVE = 0.0193  # water per mm, what 1 means
BONE_FROM = 1.2
APERTURE = 0.7  # standard deviation of what a detector sees, focal spot and aperture, in pixels


@dataclass(frozen=True)
class Broken:
    """image, clean: (N, j, i); metal: (N, j, i) share of metal in the pixels, 0 without."""

    image: Array
    clean: Array
    metal: Array | None = None


def sparse_views(slices: Array, views: int, times: int, first: float = 0.0, kernel: str = "ramp") -> Broken:
    """Reconstructions from `views` views, and from `times` as many: the clean image is what the same scanner gives
    from all of them, so that the two differ by the streaks alone (Jin et al., IEEE TIP 26, 2017, section V)."""
    angles = view_angles(views * times, first)
    sinogram, shape = project(slices, angles), slices.shape[1:]
    few = filtered_back_projection(sinogram[:, ::times], angles[::times], shape, kernel)
    return Broken(few, filtered_back_projection(sinogram, angles, shape, kernel))


def limited_angle(slices: Array, views: int, share: float, first: float = 0.0, kernel: str = "ramp") -> Broken:
    """Reconstructions from the first part of half a turn, `share` of it, and from all of it."""
    angles = view_angles(views, first)
    sinogram, shape = project(slices, angles), slices.shape[1:]
    seen = max(2, round(share * views))
    part = filtered_back_projection(sinogram[:, :seen], angles[:seen], shape, kernel) * np.float32(seen / views)
    return Broken(part, filtered_back_projection(sinogram, angles, shape, kernel))


def detector_gains(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """-log(1 + gain error) of every detector in every view, 1 strong on the average of those that err;
    (1, views, detectors) for detectors on both sides of the centre alike (a whole turn) or not (half a turn).

    Some err alone, some in modules of 8 to 32, now and then in a part of the turn only.
    """
    count, views = detectors(shape), int(1.25 * max(shape))
    errors = np.zeros(count)
    if rng.random() < 0.8:
        errors += rng.standard_normal(count) * (rng.random(count) < log_uniform(rng, 0.02, 1))
    if rng.random() < 0.4:
        module = int(rng.integers(8, 33))
        errors += 0.4 * np.repeat(rng.standard_normal(count // module + 1), module)[:count]
    if rng.random() < 0.6:
        errors = np.where(np.arange(count) < count // 2, errors[::-1], errors)
    if not errors.any():
        errors[count // 2 + rng.integers(count // 2, size=4)] = rng.choice([-1, 1], 4)
    sinogram = np.repeat(errors[None], views, 0)
    if rng.random() < 0.3:
        begin, length = rng.integers(views), int(rng.uniform(0.2, 0.7) * views)
        sinogram *= (((np.arange(views) - begin) % views) < length)[:, None]
    return sinogram[None].astype(np.float32)


def rings(shape: tuple[int, int], centre: tuple[float, float], rng: np.random.Generator) -> Array:
    """Rings of gain errors about a centre (j, i) in pixels, (j, i), standard deviation 1 where there are any.

    A detector that measures (1 + g) I instead of I adds -log(1 + g) to all its line integrals, whatever is scanned
    (Muench et al., Opt. Express 17, 2009, section 2): rings are simply added.
    """
    far = [int(np.ceil(2 * max(c, n - 1 - c))) + 1 for c, n in zip(centre, shape, strict=True)]
    far = [n + 1 - n % 2 for n in far]  # an odd number: the centre lies on a pixel
    sinogram = detector_gains(tuple(far), rng)
    angles = view_angles(sinogram.shape[1])
    pattern = filtered_back_projection(sinogram, angles, tuple(far), "shepp-logan")[0]
    offset = [m // 2 - c for m, c in zip(far, centre, strict=True)]
    places = np.meshgrid(*(np.arange(n) + o for n, o in zip(shape, offset, strict=True)), indexing="ij")
    pattern = ndimage.map_coordinates(pattern, places, order=1, mode="nearest")
    return (pattern / (np.std(pattern) + 1e-9)).astype(np.float32)


def metal_shape(
    shape: tuple[int, int], body: Array, pixel_mm: float, rng: np.random.Generator, kind: str | None = None
) -> Array:
    """Share of metal in each pixel (j, i): something of METAL_KINDS somewhere in the body (j, i) bool."""
    inside = np.argwhere(ndimage.binary_erosion(body, iterations=4))
    inside = inside if len(inside) else np.argwhere(body)
    j, i = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")

    def ellipse(centre: Array, a: float, b: float, angle: float) -> Array:
        """Half axes a, b in mm; 1 inside, falling over a pixel."""
        x, y = (i - centre[1]) * pixel_mm, (j - centre[0]) * pixel_mm
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        reach = np.hypot(u / a, v / b)
        return np.clip((1 - reach) * min(a, b) / pixel_mm + 0.5, 0, 1)

    at = inside[rng.integers(len(inside))]
    turn = rng.uniform(0, np.pi)
    drawn = rng.choice(METAL_KINDS)
    kind = kind or drawn
    if kind == "hip":
        a = rng.uniform(6, 20)
        return ellipse(at, a, a * rng.uniform(0.6, 1), turn)
    total = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        near = at + rng.normal(0, 18 / pixel_mm, 2)
        if kind == "screws":
            part = ellipse(near, rng.uniform(8, 25), rng.uniform(1, 2.5), turn + rng.normal(0, 0.3))
        elif kind == "rods":
            part = ellipse(near, *[rng.uniform(1.2, 4)] * 2, 0)
        else:
            part = ellipse(near, rng.uniform(1.5, 4), rng.uniform(1.5, 4), rng.uniform(0, np.pi))
        total = np.maximum(total, part)
    total *= body
    return total if total.max() > 0.5 else ellipse(at, 3, 3, 0)


def metal_artifacts(
    slices: Array, metal: Array, material: str, pixel_mm: float, photons: float, rng: np.random.Generator
) -> Broken:
    """What a scanner makes of slices with metal in them: beam hardening, photon starvation and noise.

    I = sum_e w_e exp(-sum_m mu_m(e) L_m) photons reach a detector, counted by Poisson's law with electronic noise of
    5 photons where they met metal (Zhang & Yu, IEEE TMI 37, 2018, section III.A); water's hardening is corrected as
    scanners do, by the line integral of water that lets as much through. The streaks are the difference to the same
    without metal, so that the clean image is the slice itself.

    Args:
        metal: (N, j, i), its share in the pixels. material: one of METALS.
        photons: for each detector and view, without anything in the way.
    """
    shape = slices.shape[1:]
    angles = view_angles(2 * max(shape))
    bone = np.where(slices > BONE_FROM, slices, 0) * (EFFECTIVE / BONE[1])
    soft = np.where(slices > BONE_FROM, 0, np.clip(slices, 0, None))
    lengths = project(np.concatenate([soft, bone, metal, soft * metal, bone * metal]), angles) * pixel_mm
    soft, bone, iron, soft_lost, bone_lost = np.split(lengths, 5)
    count = 4000
    table = np.linspace(0, 1500, count)  # mm of water
    through = -np.log((SPECTRUM * np.exp(-table[:, None] * WATER)).sum(1))

    def measured(soft: Array, bone: Array, iron: Array, noisy: bool) -> Array:
        """Line integrals in pixels of water."""
        exponents = (soft[..., None] * WATER + bone[..., None] * BONE + iron[..., None] * METALS[material]).astype(
            np.float32
        )
        share = np.exp(-exponents) @ SPECTRUM.astype(np.float32)
        share = ndimage.gaussian_filter1d(share, APERTURE, axis=-1)
        if noisy:
            counts = rng.poisson(photons * share) + rng.normal(0, 5, share.shape)
            share = np.where(iron > 0, np.maximum(counts, 1) / photons, share)
        return np.interp(-np.log(np.maximum(share, 1e-9)), through, table) / pixel_mm

    noise_free = measured(soft, bone, 0 * iron, noisy=False)
    with_metal = measured(soft - soft_lost, bone - bone_lost, iron, noisy=True)
    change = (with_metal - noise_free).astype(np.float32)
    change = filtered_back_projection(change, angles, shape, "hann")  # a sharp one aliases at metal
    return Broken(slices + change, slices, metal)
