"""Our side of the rivals: the worker process, the settings they may try, the choice of the best, the cache."""

import hashlib
import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from cases import Array, Case
from scores import Score, score

HERE = Path(__file__).parent
RIVALS = ("bm4d", "bm4d, true PSD", "nlmeans", "ants", "curvature", "tv")
TITLES = {
    "bm4d": "BM4D",
    "bm4d, true PSD": "BM4D, true noise spectrum",
    "nlmeans": "dipy nlmeans",
    "ants": "ANTs denoise_image",
    "curvature": "ITK curvature diffusion",
    "tv": "scikit-image TV",
}
PROTOCOL = "1"  # change to make old caches invalid


def make_environment(folder: Path) -> Path:
    """The interpreter of a virtual environment with the rivals in it, made where it is missing."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        requirements = str(HERE / "requirements-rivals.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", requirements], check=True)
    return python


class Worker:
    """A process of rivals.py. Use as a context manager."""

    def __init__(self, python: Path, folder: Path, threads: int = 1) -> None:
        self.folder, self.threads = folder, threads
        folder.mkdir(parents=True, exist_ok=True)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        environment = os.environ | {name: str(threads) for name in names}
        command = [str(python), str(HERE / "rivals.py"), str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.versions = self._read()["versions"]

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the rivals' process ended with code {self.process.wait()}; see what it printed above")
        return json.loads(line)

    def run(self, method: str, settings: dict, image: Array, spectrum: Array | None = None) -> tuple[Array, dict]:
        """The answer (k, j, i) and {"seconds", "cpu", "peak_mb"}. Raises RuntimeError where the method failed."""
        paths = {name: str(self.folder / f"{name}.npy") for name in ("input", "output")}
        np.save(paths["input"], image.astype(np.float32))
        paths["spectrum"] = None
        if spectrum is not None:
            paths["spectrum"] = str(self.folder / "spectrum.npy")
            np.save(paths["spectrum"], spectrum)
        self.process.stdin.write(json.dumps({"method": method, "settings": settings, **paths}) + "\n")
        self.process.stdin.flush()
        reply = self._read()
        if "error" in reply:
            raise RuntimeError(f"{method} with {settings}: {reply['error']}")
        return np.load(paths["output"]), reply


def settings_of(method: str, case: Case) -> list[dict]:
    """What the rival may try on this case; the best PSNR counts."""
    sigmas = [case.sigma * factor for factor in case.factors]
    blind = case.factors != (1.0,)  # real or correlated noise: the best level is not known
    if method == "bm4d":
        plain = [{"sigma": s} for s in sigmas]
        return plain + [{"sigma": case.sigma, "vst": True}] * (case.magnitude and case.sigma > 0.08 * case.peak)
    if method == "bm4d, true PSD":
        return [{"factor": 1.0}, {"factor": 1.3}] if case.spectrum is not None else []
    if method == "nlmeans":
        kinds = [("classic", 1, 2), ("classic", 1, 3), ("blockwise", 1, 2)]
        levels = sorted({s * f for s in sigmas for f in ((0.8, 1, 1.25) if not blind else (1.0,))})
        models = (True, False) if case.magnitude else (False,)
        options = [{"method": m, "patch_radius": p, "block_radius": b} for m, p, b in kinds]
        wide = [{"method": "classic", "patch_radius": 1, "block_radius": 5, "rician": models[0], "sigma": case.sigma}]
        return wide * blind + [o | {"rician": r, "sigma": s} for o in options for r in models for s in levels]
    if method == "ants":
        return [{"p": 1, "r": r, "noise_model": n} for r, n in ((1, "Gaussian"), (1, "Rician"), (2, "Rician"))]
    if method == "curvature":
        return [{"iterations": n, "conductance": c} for n in (2, 5, 10) for c in (0.5, 1, 2, 4)]
    factors = (0.15, 0.3, 0.45, 0.6, 0.75, 1.0, 1.3, 1.8)
    return [{"weight": case.sigma * f, "eps": e} for f in factors for e in (2e-4, 1e-5)]


def koay(image: Array, sigma: float) -> Array:
    """The signal whose Rician mean is the image (Koay & Basser, JMR 2006), by a table."""
    signal, mean = _rician_means()
    result = np.interp(image / sigma, mean, signal) * sigma
    return np.where(image > mean[-1] * sigma, image, result).astype(np.float32)


@lru_cache(maxsize=1)
def _rician_means() -> tuple[Array, Array]:
    from scipy import special

    signal = np.linspace(0, 100, 20001)
    half = signal**2 / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * half) * special.ive(0, half) + 2 * half * special.ive(1, half))
    return signal, mean


def corrections(image: Array, case: Case) -> dict[str, Array]:
    """The answer as it is and, for Rician noise, corrected: sqrt(max(x^2 - sigma^2, 0)) (Gudbjartsson & Patz, MRM
    1995), sqrt(max(x^2 - 2 sigma^2, 0)) (second moment), and the inverse of the first moment (Koay & Basser 2006)."""
    if not case.magnitude:
        return {"none": image}
    square = image.astype(np.float64) ** 2
    return {
        "none": image,
        "x^2 - s^2": np.sqrt(np.maximum(square - case.sigma**2, 0)).astype(np.float32),
        "x^2 - 2 s^2": np.sqrt(np.maximum(square - 2 * case.sigma**2, 0)).astype(np.float32),
        "first moment": koay(image, case.sigma),
    }


@dataclass
class Entry:
    """The best that a rival did on a case."""

    method: str
    output: Array
    settings: dict
    seconds: float
    score: Score
    cached: bool = False
    trials: list = field(default_factory=list)


def key_of(method: str, case: Case, trials: list[dict], version: str) -> str:
    digest = hashlib.sha256(json.dumps([PROTOCOL, method, trials, version, case.peak, case.magnitude]).encode())
    arrays = (case.volume.array, case.reference, case.mask, case.spectrum)
    for array in arrays if "PSD" in method else arrays[:3]:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


def compete(method: str, case: Case, worker: Worker, cache: Path | None) -> Entry | None:
    """Run a rival with each of its settings, keep the answer with the best PSNR against the reference.

    None where the method has nothing to try. CT goes in as HU + 1024, so that Rician models see no sign.
    """
    trials = settings_of(method, case)
    if not trials:
        return None
    program = method.split(",")[0]
    store = cache and cache / f"{key_of(method, case, trials, worker.versions[program])}.json"
    if store and store.exists():
        found = json.loads(store.read_text())
        output = np.load(store.with_suffix(".npy"))
        return Entry(method, output, found["settings"], found["seconds"], score(output, case), True, found["trials"])
    offset = 1024 if case.model == "ct-denoise" else 0
    best: Entry | None = None
    record = []
    for settings in trials:
        spectrum = case.spectrum if "PSD" in method else None
        raw, reply = worker.run(program, settings, case.volume.array + offset, spectrum)
        for correction, output in corrections(raw - offset, case).items():
            reached = score(output, case, quick=True)
            record.append([settings | {"correction": correction}, round(reached.psnr, 3), round(reply["seconds"], 3)])
            if best is None or reached.psnr > best.score.psnr:
                best = Entry(method, output, record[-1][0], reply["seconds"], reached)
    best.score, best.trials = score(best.output, case), record
    if store:
        cache.mkdir(parents=True, exist_ok=True)
        np.save(store.with_suffix(".npy"), best.output)
        store.write_text(json.dumps({"settings": best.settings, "seconds": best.seconds, "trials": record}))
    return best


if __name__ == "__main__":
    sys.exit("run denoise.py")
