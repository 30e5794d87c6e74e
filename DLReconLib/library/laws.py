"""What every model must obey, tried on a phantom before a model is added."""

import numpy as np

from DLReconLib.inference import Model
from DLReconLib.models import ModelCard, ModelError
from DLReconLib.pipeline import reconstruct
from DLReconLib.progress import Progress, silent
from DLReconLib.result import Result
from DLReconLib.volume import Geometry, Volume

SHAPE = (16, 40, 36)
RANGE = 1000.0  # of the phantom's values
NOISE = 40.0
ALIKE = 0.5  # least correlation of result and input


def phantom(modality: str) -> Volume:
    """Nested ellipsoids with noise, (k, j, i) float32, 0 to 1000 (CT: from -1000), oblique and anisotropic."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    image = np.zeros(SHAPE)
    for value, (a, b, c), shift in (
        (600, (0.9, 0.9, 0.9), 0),
        (950, (0.6, 0.5, 0.5), 0.1),
        (250, (0.4, 0.2, 0.3), -0.2),
    ):
        image[(k / a) ** 2 + ((j - shift) / b) ** 2 + (i / c) ** 2 < 1] = value
    noise = np.random.default_rng(11).normal(0, NOISE, (2, *SHAPE))
    image = image + noise[0] - RANGE if modality == "CT" else np.hypot(image + noise[0], noise[1])
    tilt = ((0.8, -0.6, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    return Volume(image.astype(np.float32), Geometry((0.8, 1.1, 2.9), (-31.5, 12.25, 48.0), tilt), modality)


def check_laws(card: ModelCard, progress: Progress = silent) -> tuple[str, ...]:
    """The laws that the model obeys, in words. Raises ModelError at the first that it breaks, with the figure."""
    modality = next((m for m in card.modalities if m != "*"), "MR")
    source, model, kept = phantom(modality), Model(card, "cpu", "float32"), []
    box = np.zeros(SHAPE, np.uint8)
    box[4:12, 10:30, 10:26] = 1
    mask = source.with_array(box) if card.task == "inpaint" else None

    def run(volume: Volume, **options) -> Result:
        progress(min(0.95, len(kept) / 6), "trying its laws")
        return reconstruct(volume, mask=mask, loaded=model, task=card.task, judge=False, budget=2.0, **options)

    def law(name: str, holds: bool, found: str) -> None:
        if not holds:
            raise ModelError(f"model {card.id}: breaks the law {name!r} on a phantom: {found}")
        kept.append(name)

    try:
        result = run(source)
        array = result.volume.array
        finer = card.task == "super-resolution"
        same = result.volume.geometry == source.geometry and array.shape == SHAPE
        law("geometry", same != finer, f"{array.shape} voxels on the grid {result.volume.geometry}")
        law("finite", bool(np.isfinite(array).all()), "values that are not finite")
        if not finer:
            alike = float(np.corrcoef(array.ravel(), source.array.ravel())[0, 1]) if array.std() else 0.0
            law("an image of the same thing", alike >= ALIKE,
                f"correlation {alike:.2f} with the input; wanted at least {ALIKE}: is it made for another task, or are "
                "offset and unit of the card wrong?")  # fmt: skip
        if model.network is None or card.network != "self-supervised":  # whose steps the clock counts
            apart = float(np.abs(run(source).volume.array - array).max())
            law("the same answer twice", apart == 0, f"two runs differ by {apart:.3g}")
        if not finer:
            apart = float(np.abs(run(source, strength=0.0).volume.array - source.array).max())
            law("strength 0 is the input", apart == 0, f"it differs by {apart:.3g}")
        if card.equivariance != "none":
            shift = 250.0 if card.equivariance == "affine" else 0.0
            other = run(source.with_array(3.7 * source.array + np.float32(shift))).volume.array
            apart = float(np.abs((other - shift) / 3.7 - array).max())
            law(f"{card.equivariance} equivariance", apart < 5e-4 * RANGE,
                f"off by {apart:.3g}, wanted below {5e-4 * RANGE}; claim none in the card")  # fmt: skip
    except (RuntimeError, TypeError, IndexError) as error:  # whatever a network makes of the phantom
        raise ModelError(f"model {card.id}: does not run on a phantom of {SHAPE} voxels ({type(error).__name__}: "
                         f"{error}); wanted an image of the same size") from error  # fmt: skip
    return tuple(kept)
