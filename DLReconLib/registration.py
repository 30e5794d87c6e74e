"""Rigid registration of two images of one patient. The only place of SimpleITK's registration."""

import numpy as np
import SimpleITK as sitk

from DLReconLib.progress import Progress, silent
from DLReconLib.volume import Volume

METRICS = ("mutual-information", "mean-squares")
LEVELS = ((4, 2.0), (2, 1.0), (1, 0.0))  # shrink factor, and smoothing in voxels


def rigid(fixed: Volume, moving: Volume, metric: str = "mutual-information", progress: Progress = silent) -> np.ndarray:
    """Where each place of the fixed image lies in the moving one: 4 x 4, LPS millimetres to LPS millimetres.

    Rotation and shift that make the images alike, found from coarse to fine, starting at no motion: stacks of one
    examination lie in the same frame. metric: Mattes et al., IEEE TMI 2003, or the mean square of the difference for
    images of one contrast. Raises ValueError for an unknown metric and for images that do not overlap.
    """
    if metric not in METRICS:
        raise ValueError(f"registration: metric {metric!r}; wanted one of: {', '.join(METRICS)}")
    first, second = (image_of(v) for v in (fixed, moving))
    method = sitk.ImageRegistrationMethod()
    if metric == "mean-squares":
        method.SetMetricAsMeanSquares()
    else:
        method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.3)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 100, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetNumberOfThreads(1)  # the same answer twice
    centre = [float(c) for c in first.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in first.GetSize()])]
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre)
    method.SetInitialTransform(transform, inPlace=True)
    level = [0]
    method.AddCommand(sitk.sitkMultiResolutionIterationEvent, lambda: level.append(level.pop() + 1))
    method.AddCommand(sitk.sitkIterationEvent, lambda: progress(min(level[0], 3) / 4, "registering"))
    try:
        method.Execute(first, second)
    except RuntimeError as error:
        raise ValueError(f"registration: {str(error).splitlines()[-1]}; do the stacks show the same place? switch the "
                         "registration off where they are aligned already") from error  # fmt: skip
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = [np.array(transform.TransformPoint([0.0, 0.0, 0.0]))][0]
    return matrix


def image_of(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array, np.float32))
    image.SetSpacing(volume.geometry.spacing)
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(np.asarray(volume.geometry.direction).ravel().tolist())
    return image
