"""Seconds, memory, GFLOP/s. Everything in fresh processes, one at a time; nothing is cached.

`python speed.py JSON` is one child: it measures one thing and prints a line of JSON.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from memory import peak_mb  # noqa: E402

CROP = (48, 96, 96)
FIRST = (60, 60, 45)
RIVAL_RUNS = {
    "BM4D": ("bm4d", {"sigma": 0.0}),
    "dipy nlmeans": (
        "nlmeans",
        {"method": "classic", "patch_radius": 1, "block_radius": 3, "rician": False, "sigma": 0.0},
    ),
    "ANTs denoise_image, r 1": ("ants", {"p": 1, "r": 1, "noise_model": "Rician"}),
    "ANTs denoise_image, r 2 (its default)": ("ants", {"p": 1, "r": 2, "noise_model": "Rician"}),
    "ITK curvature diffusion": ("curvature", {"iterations": 5, "conductance": 2.0}),
    "scikit-image TV": ("tv", {"weight": 0.0, "eps": 1e-5}),
}
WHOLE = {"256 x 256 x 256 MR": ("mr-denoise", (256, 256, 256)), "512 x 512 x 600 CT": ("ct-denoise", (600, 512, 512))}


def child(request: dict, threads: int) -> dict:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | {name: str(threads) for name in names}
    command = [sys.executable, __file__, json.dumps(request)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_speed(data: Path, python: Path, folder: Path, threads: int, quick: bool, large: bool = True) -> dict:
    """The record "speed" of denoise.json; large: with the volume that takes ten minutes."""
    from denoise import say

    crop = (24, 48, 48) if quick else CROP
    image, sigma = noisy_crop(data, crop)
    np.save(folder / "crop.npy", image)
    methods = []
    for precision in ("auto", "float32"):
        request = {"what": "crop", "path": str(folder / "crop.npy"), "precision": precision}
        found = child(request, threads)
        name = "ours" if precision == "auto" else "ours, float32"
        methods.append({"name": name, "threads": threads} | found)
        say(f"{name}: {found['seconds']:.3f} s, first call {found['first']:.2f} s")
    methods += rival_times(image, sigma, python, folder, threads, say)
    big = []
    for name, (model, shape) in WHOLE.items():
        if quick or (not large and np.prod(shape) > 1e8):
            continue
        for precision in ("auto", "float32"):
            request = {"what": "whole", "model": model, "shape": shape, "precision": precision, "data": str(data)}
            found = child(request, threads)
            big.append({"name": name, "bfloat16_allowed": precision == "auto"} | found)
            say(f"{name}, {found['precision']}: {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB")
    size = (64, 64, 64) if quick else (128, 128, 128)
    kinds = ("float32", "auto")
    forward = [child({"what": "forward", "precision": p, "shape": size}, threads) for p in kinds]
    return {"crop": crop, "methods": methods, "big": big, "forward": forward}


def noisy_crop(data: Path, size: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Colin27 with 7 % of Gaussian noise, and its standard deviation."""
    from cases import MR_SOURCES, crop, generator, load

    clean = crop(load(MR_SOURCES[0], data, "mr-denoise"), FIRST, size).array
    sigma = 0.07 * float(np.percentile(clean, 99.9))
    noise = generator("speed").standard_normal(clean.shape, np.float32)
    return clean + noise * np.float32(sigma), sigma


def rival_times(image: np.ndarray, sigma: float, python: Path, folder: Path, threads: int, say: object) -> list[dict]:
    """Each rival in a worker of its own; small methods are run three times and the fastest counts."""
    from contest import Worker

    found = []
    for name, (method, settings) in RIVAL_RUNS.items():
        settings = {k: sigma if k in ("sigma", "weight") else v for k, v in settings.items()}
        with Worker(python, folder / "speed", threads) as worker:
            small = image[:16, :32, :32]
            worker.run(method, settings, small)  # imports and start-up do not count
            replies = [worker.run(method, settings, image)[1]]
            while len(replies) < 3 and replies[0]["seconds"] < 5:
                replies.append(worker.run(method, settings, image)[1])
        best = min(replies, key=lambda r: r["seconds"])
        found.append({"name": name, "threads": threads, "settings": settings} | best)
        say(f"{name}: {best['seconds']:.2f} s")
    return found


def on_crop(request: dict) -> dict:
    """Ours on the crop: the first call, and the fastest of five with the model loaded."""
    from DLReconLib import Volume, reconstruct
    from DLReconLib.inference import Model
    from DLReconLib.models import find_card

    volume = Volume(np.load(request["path"]), modality="MR")
    started = time.perf_counter()
    model = Model(find_card("mr-denoise"), "cpu", request["precision"])
    options = {"task": "denoise", "loaded": model, "device": "cpu", "precision": request["precision"]}
    reconstruct(volume, **options)
    first = time.perf_counter() - started
    times = []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        reconstruct(volume, **options)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {"seconds": min(times)[0], "cpu": min(times)[1], "first": first, "peak_mb": peak_mb()}


def on_whole(request: dict) -> dict:
    """Ours on a whole volume made of real slices side by side, with noise; loading torch and the model counts
    in "seconds", not in the share outside the network."""
    from DLReconLib import Geometry, Volume, read_volume, reconstruct
    from DLReconLib.inference import Model
    from DLReconLib.models import find_card

    shape = tuple(request["shape"])
    rng = np.random.default_rng(1)
    if request["model"] == "mr-denoise":
        base = read_volume(Path(request["data"]) / "mr/t1_ch2_colin27_ants.nii.gz").array.astype(np.float32)
        array = np.pad(base, [(0, n - b) for n, b in zip(shape, base.shape, strict=True)], mode="wrap")
        array += rng.standard_normal(shape, np.float32) * np.float32(0.05 * 116)
        volume = Volume(array, modality="MR")
    else:
        base = np.clip(read_volume(Path(request["data"]) / "ct/liver_3slice_dcmqi.nii.gz").array, -1024, 3071)
        array = np.empty(shape, np.int16)
        for k in range(shape[0]):
            array[k] = base[k % 3] + np.rint(30 * rng.standard_normal(shape[1:], np.float32)).astype(np.int16)
        volume = Volume(array, Geometry((0.81, 0.81, 1.0)), modality="CT")
    before = peak_mb()
    started = time.perf_counter()
    model = Model(find_card(request["model"]), "cpu", request["precision"])
    loading = time.perf_counter() - started
    options = {"task": "denoise", "loaded": model, "device": "cpu", "precision": request["precision"]}
    result = reconstruct(volume, **options)
    total = time.perf_counter() - started
    network = result.provenance["seconds"]["network"]
    return {
        "seconds": total, "loading": loading, "network": network, "outside": 1 - network / (total - loading),
        "peak_mb": peak_mb(), "before_mb": before, "input_mb": array.nbytes / 2**20, "voxels": array.size,
        "precision": model.precision,
    }  # fmt: skip


def on_forward(request: dict) -> dict:
    """GFLOP/s of the network inside reconstruct, and of one plain 3 x 3 x 3 convolution as wide as its first level."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from DLReconLib import Volume, reconstruct
    from DLReconLib.inference import Model
    from DLReconLib.models import find_card

    shape = tuple(request["shape"])
    rng = np.random.default_rng(1)
    volume = Volume(100 + 10 * rng.standard_normal(shape, np.float32), modality="MR")
    card = find_card("mr-denoise")
    model = Model(card, "cpu", request["precision"])
    options = {"task": "denoise", "loaded": model, "device": "cpu", "precision": request["precision"]}
    with FlopCounterMode(display=False) as counter:
        reconstruct(volume, **options)
    flop = counter.get_total_flops()
    seconds = min(reconstruct(volume, **options).provenance["seconds"]["network"] for _ in range(3))
    channels = int(card.arguments["channels"][0])
    kind = torch.bfloat16 if model.precision == "bfloat16" else torch.float32
    x = torch.randn(1, channels, *(n // 2 for n in shape)).to(kind, memory_format=torch.channels_last_3d)
    layer = torch.nn.Conv3d(channels, channels, 3, padding=1, bias=False)
    layer = layer.to(kind).to(memory_format=torch.channels_last_3d)
    times = []
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - started)
    plain = 2 * 27 * channels**2 * x[0, 0].numel() / min(times)
    return {
        "precision": model.precision, "network_gflops": flop / seconds / 1e9, "plain_gflops": plain / 1e9,
        "gflop_per_megavoxel": flop / volume.array.size / 1e3,
    }  # fmt: skip


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps({"crop": on_crop, "whole": on_whole, "forward": on_forward}[asked["what"]](asked)))
