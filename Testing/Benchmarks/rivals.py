"""The rivals' side: runs in an environment of its own (requirements-rivals.txt), imports nothing of DLReconLib.

A worker: JSON lines in, JSON lines out, arrays (k, j, i) through .npy files.
  {"method": "bm4d", "settings": {...}, "input": "a.npy", "output": "b.npy", "spectrum": "c.npy" or null}
  -> {"seconds": wall, "cpu": processor seconds, "peak_mb": largest resident size so far} or {"error": "..."}
The first line out tells the versions. `threads` is the only argument.
"""

import contextlib
import json
import os
import sys
import time
from importlib import metadata

import numpy as np
from memory import peak_mb

Array = np.ndarray
PACKAGES = {"bm4d": "bm4d", "nlmeans": "dipy", "ants": "antspyx", "curvature": "SimpleITK", "tv": "scikit-image"}


def bm4d(image: Array, settings: dict, spectrum: Array | None, threads: int) -> Array:
    """Maggioni et al. 2013; Makinen et al. 2020 for correlated noise (a spectrum instead of sigma).

    "vst": stabilise the variance of Rician noise before, invert without bias after (Foi, ISBI 2011)."""
    from bm4d import BM4DProfile, BM4DProfile2D
    from bm4d import bm4d as run

    thin = image.shape[0] < 4
    profile = (BM4DProfile2D if thin else BM4DProfile)()
    profile.num_threads = threads
    sigma = (
        settings.get("sigma") if spectrum is None else np.moveaxis(spectrum * settings.get("factor", 1.0) ** 2, 0, 2)
    )
    image = np.moveaxis(image, 0, 2).astype(np.float64)  # its third axis may be short, the others not
    if settings.get("vst"):
        forward, inverse = rician_stabiliser(settings["sigma"], float(image.max()))
        result = inverse(np.asarray(run(forward(image), 1.0, profile)))
    else:
        result = np.asarray(run(np.squeeze(image), np.squeeze(sigma), profile)).reshape(image.shape)
    return np.moveaxis(result, 2, 0)


def rician_stabiliser(sigma: float, largest: float):
    """A function that gives Rician noise the variance 1, and its exact unbiased inverse, by tables.

    forward(m) is the integral of dm / standard deviation at mean m; inverse maps E[forward(M)] back to the
    signal (Foi, "Noise estimation and removal in MR imaging: the variance-stabilization approach", ISBI 2011).
    """
    from scipy import special, stats

    signal = np.linspace(0, largest / sigma * 1.2 + 5, 1500)
    half = signal**2 / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * half) * special.ive(0, half) + 2 * half * special.ive(1, half))
    deviation = np.sqrt(np.maximum(2 + signal**2 - mean**2, 1e-6))
    stable = np.concatenate([[0], np.cumsum(np.diff(mean) * 2 / (deviation[1:] + deviation[:-1]))])

    def table(m: Array) -> Array:
        below = (m - mean[0]) / deviation[0]
        above = stable[-1] + (m - mean[-1]) / deviation[-1]
        return np.where(m < mean[0], below, np.where(m > mean[-1], above, np.interp(m, mean, stable)))

    grid = np.linspace(0, signal[-1] + 8, 6000)
    step = grid[1] - grid[0]
    values = table(grid)
    expected = np.array([np.sum(stats.rice.pdf(grid, s) * values) * step for s in signal])
    expected = np.maximum.accumulate(expected) + np.arange(len(signal)) * 1e-9
    return lambda m: table(m / sigma), lambda d: np.interp(d, expected, signal) * sigma


def nlmeans(image: Array, settings: dict, spectrum: Array | None, threads: int) -> Array:
    """Non-local means, Coupe et al. 2008 (classic: Descoteaux et al. 2008). It takes no single slice, so that one is
    stacked: its copies lie in every neighbourhood alike and change no weight."""
    from dipy.denoise.nlmeans import nlmeans as run

    options = {k: settings[k] for k in ("patch_radius", "block_radius", "rician", "method")}
    copies = 2 * (settings["patch_radius"] + settings["block_radius"]) + 1 if len(image) == 1 else 1
    stack = np.repeat(image.astype(np.float64), copies, 0)
    return run(stack, settings["sigma"], num_threads=threads, **options)[copies // 2 : copies // 2 + len(image)]


def ants(image: Array, settings: dict, spectrum: Array | None, threads: int) -> Array:
    """Adaptive non-local means, Manjon et al. 2010; estimates the noise itself."""
    import ants as package

    thin = image.shape[0] == 1
    source = package.from_numpy(image[0] if thin else image)
    result = package.denoise_image(source, p=settings["p"], r=settings["r"], noise_model=settings["noise_model"])
    return result.numpy().reshape(image.shape)


def curvature(image: Array, settings: dict, spectrum: Array | None, threads: int) -> Array:
    """Curvature anisotropic diffusion (ITK), spacing 1, largest stable time step."""
    import SimpleITK as sitk

    source = sitk.GetImageFromArray(image if len(image) > 1 else image[0])
    step = 0.0625 if len(image) > 1 else 0.125
    result = sitk.CurvatureAnisotropicDiffusion(
        source, timeStep=step, conductanceParameter=settings["conductance"], numberOfIterations=settings["iterations"]
    )
    return sitk.GetArrayFromImage(result).reshape(image.shape)


def tv(image: Array, settings: dict, spectrum: Array | None, threads: int) -> Array:
    """Total variation, Chambolle 2004; the weight is in units of the image."""
    from skimage.restoration import denoise_tv_chambolle

    scale = float(np.abs(image).max())
    options = {"weight": settings["weight"] / scale, "eps": settings["eps"], "max_num_iter": 300}
    return denoise_tv_chambolle(image / scale, **options) * scale


METHODS = {"bm4d": bm4d, "nlmeans": nlmeans, "ants": ants, "curvature": curvature, "tv": tv}


def answer(request: dict, threads: int) -> dict:
    image = np.load(request["input"])
    spectrum = np.load(request["spectrum"]) if request.get("spectrum") else None
    method = METHODS[request["method"]]
    wall, cpu = time.perf_counter(), time.process_time()
    result = method(image, request["settings"], spectrum, threads)
    reply = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    np.save(request["output"], np.asarray(result, np.float32))
    return reply | {"peak_mb": peak_mb()}


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the packages print must not mix with the answers
    out.write(json.dumps({"versions": {name: metadata.version(p) for name, p in PACKAGES.items()}}) + "\n")
    out.flush()
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            try:
                reply = answer(json.loads(line), threads)
            except Exception as error:  # one failed setting must not end the worker; the caller decides
                reply = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(reply) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
