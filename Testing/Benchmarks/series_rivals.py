"""Denoisers of time series that are no dependencies, run in the rivals' environment by modalities.py:

  PYTHON series_rivals.py METHOD IN.npy OUT.npy WEIGHTS      IN and OUT: (n, k, j, i); WEIGHTS: JSON, b in s/mm^2

METHOD: dipy's "mppca" (window of 5 x 5 x 5) or "patch2self" as it is without further options.
"""

import json
import sys

import numpy as np


def main(method: str, source: str, target: str, weights: str) -> None:
    data = np.moveaxis(np.load(source), 0, -1).astype(np.float64)
    if method == "mppca":
        from dipy.denoise.localpca import mppca

        answer = mppca(data, patch_radius=np.minimum(2, (np.array(data.shape[:3]) - 1) // 2))
    else:
        from dipy.denoise.patch2self import patch2self

        answer = patch2self(data, np.array(json.loads(weights)), shift_intensity=False)
    np.save(target, np.moveaxis(answer, -1, 0).astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
