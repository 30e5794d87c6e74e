"""dipy's gibbs_removal on a stack of slices, in the environment of the rivals: IN.npy OUT.npy, (k, j, i) each."""

import sys
import time

import numpy as np
from dipy.denoise.gibbs import gibbs_removal

if __name__ == "__main__":
    image = np.load(sys.argv[1]).astype(np.float64)
    started = time.perf_counter()
    output = gibbs_removal(image, slice_axis=0, inplace=False, num_processes=1)
    np.save(sys.argv[2], output.astype(np.float32))
    print(time.perf_counter() - started)
