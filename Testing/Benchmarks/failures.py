"""Where do the denoisers fail? Measured and drawn for the model cards.

  python Testing/Benchmarks/failures.py            prints what it finds
  python Testing/Benchmarks/failures.py --cards    writes it into the cards, with a picture for learned models

Spots as large as small lesions are planted in a brain averaged from 27 scans (it comes with DLRecon) and in a
phantom of a trunk; noise is added; the same noise is denoised with and without the spots. The difference of both
results over the contrast planted is the share of it that is kept. Run it again whenever weights change.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
matplotlib.use("Agg")

from cases import ct_noise  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Circle  # noqa: E402
from scipy import ndimage  # noqa: E402

from DLReconLib.demo import EXAMPLE  # noqa: E402
from DLReconLib.io import read_volume  # noqa: E402
from DLReconLib.models import ModelCard, list_cards  # noqa: E402
from DLReconLib.networks import SERIES  # noqa: E402
from DLReconLib.pipeline import reconstruct  # noqa: E402
from DLReconLib.volume import Geometry, Volume  # noqa: E402

Array = np.ndarray
DIAMETERS = (3.0, 5.0, 9.0)  # mm
PER_SIZE = 8
MR_NOISE = 0.09
CT_SPOT = 40.0  # HU


@dataclass(frozen=True)
class Trial:
    """clean: without spots. spots: mm to a mask (k, j, i). contrast: of the spots. noisy: adds the same noise to any.

    sigma: of the noise. calm: where there is one tissue. window: grey levels shown. scene: in words."""

    clean: Volume
    spots: dict[float, Array]
    contrast: float
    noisy: Callable[[Array], Array]
    sigma: float
    calm: Array
    window: tuple[float, float]
    scene: str

    @property
    def truth(self) -> Array:
        return self.clean.array + self.contrast * sum(self.spots.values())


def ball(shape: tuple[int, ...], centre: Array, diameter: float, spacing: tuple[float, ...]) -> Array:
    """The share of each voxel that a ball fills, (k, j, i) float32."""
    grid = np.meshgrid(*((np.arange(n) - c) * s for n, c, s in zip(shape, centre, spacing[::-1], strict=True)),
                       indexing="ij")  # fmt: skip
    distance = np.sqrt(sum(g**2 for g in grid))
    return np.clip((diameter / 2 - distance) / min(spacing) + 0.5, 0, 1).astype(np.float32)


def plant(clean: Volume, allowed: Array, rng: np.random.Generator) -> dict[float, Array]:
    """PER_SIZE balls of each of DIAMETERS, whole within `allowed`, apart from each other."""
    free, spots = allowed.copy(), {}
    spacing = clean.geometry.spacing
    for diameter in sorted(DIAMETERS, reverse=True):
        spots[diameter] = np.zeros(clean.array.shape, np.float32)
        for _ in range(PER_SIZE):
            room = ndimage.distance_transform_edt(free, sampling=spacing[::-1])
            places = np.argwhere(room > diameter / 2 + 1)
            if not len(places):
                break
            centre = places[rng.integers(len(places))]
            spots[diameter] += ball(clean.array.shape, centre, diameter, spacing)
            free &= ball(clean.array.shape, centre, diameter + 8, spacing) == 0
    return spots


def mr_trial() -> Trial:
    """White matter of the example with Rician noise; spots darker by as much as the noise."""
    whole = read_volume(EXAMPLE)
    clean = Volume(whole.array.astype(np.float32), whole.geometry, "MR")
    peak = float(np.percentile(clean.array, 99.9))
    sigma = MR_NOISE * peak
    smooth = ndimage.gaussian_filter(clean.array, 1)
    calm = ndimage.gaussian_filter((clean.array - smooth) ** 2, 2) < (0.03 * peak) ** 2
    white = (smooth > 0.68 * peak) & calm
    rng = np.random.default_rng(1)
    spots = plant(clean, white, rng)
    noise = rng.normal(0, sigma, (2, *clean.array.shape))
    return Trial(clean, spots, -sigma, lambda a: np.hypot(a + noise[0], noise[1]).astype(np.float32), sigma,
                 white, (0.45 * peak, 1.15 * peak), f"white matter at {100 * MR_NOISE:.0f} % Rician noise, spots "
                 "darker by one standard deviation of the noise")  # fmt: skip


def ct_trial() -> Trial:
    """A trunk: fat, muscle, a fine texture, bones; a tenth of the dose, sharp kernel; spots brighter by 40 HU."""
    rng = np.random.default_rng(2)
    shape, spacing = (12, 176, 224), (1.0, 1.0, 2.0)
    k, j, i = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    array = np.full(shape, -1000, np.float32)
    array[(j / 80) ** 2 + (i / 104) ** 2 < 1] = -100
    inside = (j / 72) ** 2 + (i / 96) ** 2 < 1
    texture = ndimage.gaussian_filter(rng.normal(0, 1, shape), (1, 2, 2))
    array[inside] = 55 + 4 * (texture / texture.std())[inside]
    bones = np.zeros(shape, bool)
    for x, y, r in ((0, 52, 14), (-70, 0, 6), (70, 0, 6), (-50, -45, 5), (50, -45, 5)):
        bones |= (i - x) ** 2 + (j - y) ** 2 < r**2
    array[bones] = 800
    clean = Volume(ndimage.gaussian_filter(array, (0, 0.6, 0.6)), Geometry(spacing), "CT")
    allowed = ndimage.binary_erosion(inside & ~ndimage.binary_dilation(bones, iterations=4), iterations=3)
    spots = plant(clean, allowed & (np.abs(k) < 5.6), rng)
    noise = ct_noise(clean, "sharp", "tenth", np.random.default_rng(3))
    sigma = float(noise[allowed].std())
    return Trial(clean, spots, CT_SPOT, lambda a: (a + noise).astype(np.float32), sigma, allowed,
                 (-110, 220), f"a trunk at a tenth of the dose, sharp kernel (noise {sigma:.0f} HU), spots brighter "
                 f"by {CT_SPOT:.0f} HU")  # fmt: skip


def run(trial: Trial, card: ModelCard, array: Array) -> Array:
    return reconstruct(trial.clean.with_array(trial.noisy(array)), model=card.id, judge=False).volume.array


def examine(card: ModelCard, trial: Trial) -> tuple[dict[str, str], dict[float, float], Array]:
    """The failure as a card tells it, the share of contrast kept for each diameter, the result with the spots."""
    result = run(trial, card, trial.truth)
    change = result - run(trial, card, trial.clean.array)
    kept = {d: float((change * s).sum() / (trial.contrast * (s * s).sum())) for d, s in sorted(trial.spots.items())}
    shares = ", ".join(f"{100 * share:.0f} % at {d:g} mm" for d, share in kept.items())
    calm = trial.calm & (sum(trial.spots.values()) == 0)
    left = float((result - trial.truth)[calm].std()) / trial.sigma
    text = f"In {trial.scene}: kept of their contrast {shares}; {100 * left:.0f} % of the noise is left."
    return {"title": "Small faint structures fade", "text": text, "picture": ""}, kept, result


def outliers(card: ModelCard, trial: Trial) -> tuple[dict[str, str], float, Array]:
    """Isolated pixels that stand out where nothing is: beyond 5 robust deviations in the muscle."""
    result = run(trial, card, trial.clean.array)
    where = ndimage.binary_erosion(np.abs(trial.clean.array - 55) < 15, np.ones((1, 5, 5)))
    values = result[where] - trial.clean.array[where]
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    rate = 1e4 * float(np.mean(np.abs(values - np.median(values)) > 5 * spread))
    scene, largest = trial.scene.partition(", spots")[0], np.abs(values).max()
    text = (f"In {scene}: {rate:.1f} of 10,000 pixels of calm muscle stand out by more than 5 deviations of the rest "
            f"({spread:.1f} HU), the largest by {largest:.0f} HU.")  # fmt: skip
    return {"title": "Isolated pixels are left", "text": text, "picture": ""}, rate, result


def draw(trial: Trial, truth: Array, result: Array, centre: Array, path: Path) -> None:
    """Truth, noisy, result: 48 x 48 mm around `centre` (k, j, i), which is ringed; 64 colours, so that a card
    stays small."""
    half = [round(24 / s) for s in trial.clean.geometry.spacing[1::-1]]
    k = centre[0]
    box = (k, *(slice(max(0, c - h), c + h) for c, h in zip(centre[1:], half[::-1], strict=True)))
    images = {"truth": truth, "noisy": trial.noisy(truth), "result": result}
    figure = Figure(figsize=(6.6, 2.45), layout="constrained", dpi=90)
    for axis, (name, image) in zip(figure.subplots(1, 3), images.items(), strict=True):
        shown = image[box] if trial.clean.modality == "CT" else np.flipud(image[box])
        axis.imshow(shown, cmap="gray", vmin=trial.window[0], vmax=trial.window[1], interpolation="nearest")
        row, column = (c - s.start for c, s in zip(centre[1:], box[1:], strict=True))
        row = row if trial.clean.modality == "CT" else shown.shape[0] - 1 - row
        axis.add_patch(Circle((column, row), 5.5, fill=False, color="yellow", linewidth=1))
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    temporary = path.with_suffix(".part")
    figure.savefig(temporary, format="png")
    Image.open(temporary).convert("RGB").quantize(64).save(temporary, format="png", optimize=True)
    temporary.replace(path)


def failures_of(card: ModelCard, trials: dict[str, Trial], folder: Path | None) -> list[dict[str, str]]:
    """Measured for one model; pictures go to `folder` where one is given."""
    found = []
    for modality, trial in trials.items():
        if card.learned and modality not in card.modalities:
            continue
        failure, kept, result = examine(card, trial)
        print(card.id, modality, kept)
        if folder:
            spots = trial.spots[sorted(trial.spots)[1]]
            centre = np.array(np.unravel_index(int(np.argmax(spots)), spots.shape))
            failure |= {"picture": f"failure-{modality.lower()}-spots.png"}
            draw(trial, trial.truth, result, centre, folder / failure["picture"])
        found.append(failure)
        if modality == "CT":
            failure, rate, result = outliers(card, trial)
            print(card.id, modality, "isolated pixels in 10,000:", round(rate, 2))
            if rate < 1:
                continue
            if folder:
                off = np.abs(result - trial.clean.array) * (np.abs(trial.clean.array - 55) < 15)
                centre = np.array(np.unravel_index(int(np.argmax(off)), off.shape))
                failure |= {"picture": "failure-ct-pixels.png"}
                draw(trial, trial.clean.array, result, centre, folder / failure["picture"])
            found.append(failure)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", action="store_true", help="write what is found into the cards")
    parser.add_argument("--model", action="append", help="only this one; may be given again")
    arguments = parser.parse_args()
    trials = {"MR": mr_trial(), "CT": ct_trial()}
    for name, trial in trials.items():
        print(name, {d: round(float(s.sum())) for d, s in trial.spots.items()}, f"noise {trial.sigma:.4g}")
    for card in list_cards("denoise"):
        if card.network in SERIES or card.network == "self-supervised":  # a volume is not enough, or not the weights'
            continue
        if arguments.model and card.id not in arguments.model:
            continue
        found = failures_of(card, trials, card.folder if card.learned and arguments.cards else None)
        found = [failure | {"weights": card.sha256} for failure in found]
        for failure in found:
            print(" ", failure["text"])
        if arguments.cards:
            path = card.folder / "card.json"
            values = json.loads(path.read_text(encoding="utf-8")) | {"failures": found}
            ModelCard(**values, folder=replace(card).folder)  # raises where it would be no card any more
            temporary = path.with_suffix(".part")
            temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            temporary.replace(path)


if __name__ == "__main__":
    main()
