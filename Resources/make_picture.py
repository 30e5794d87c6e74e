"""Make Resources/Screenshots/1.png: the example of `dlrecon demo` before, after, and what was removed."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from DLReconLib.demo import noisy_example
from DLReconLib.metrics import psnr
from DLReconLib.pipeline import reconstruct

clean, noisy, peak = noisy_example()
result = reconstruct(noisy)
brain = clean.array > 0.1 * peak
truth = clean.array.astype(np.float32)
figures = [psnr(v.array, truth, peak, brain) for v in (noisy, result.volume)]
k = len(noisy.array) // 2
panels = {
    f"before: PSNR {figures[0]:.1f} dB": (noisy.array[k], 0, peak),
    f"after {result.provenance['model']['id']}: {figures[1]:.1f} dB": (result.volume.array[k], 0, peak),
    "what was removed": (result.residual.array[k], -0.4 * peak, 0.4 * peak),
}
figure = Figure(figsize=(12, 5.4), layout="constrained", facecolor="black")
for axis, (title, (image, low, high)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
    axis.imshow(np.flipud(image), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axis.set_title(title, color="white")
    axis.axis("off")
target = Path(__file__).parent / "Screenshots" / "1.png"
target.parent.mkdir(exist_ok=True)
figure.savefig(target, dpi=90)
print(f"{target}: before {figures[0]:.2f} dB, after {figures[1]:.2f} dB")
