"""Plan: what makes a weight file, and nothing else does."""

import json
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What makes a weight file.

    network, arguments: name in NETWORKS and its keyword arguments.
    degradation: "mr-noise", "ct-noise", "mr-resolution" or "ct-resolution".
    modality: DICOM code of the training images.
    split: file beside the plan that lists the images with role train, validation or test.
    patch: (k, j, i) voxels; batch: patches a step and process.
    first_steps: steps of the noise estimator and of the thresholds of shrinkage, before the rest is trained.
    steps: optimiser steps of all but these thresholds; the learning rates, of Muon for inner kernels and of Adam
        for the rest, warm up over `warmup` steps and fall linearly to a hundredth over the last `decay` part of them.
    estimator_steps: further steps of the noise estimator alone.
    average: decay of the exponential moving average of the weights, which is what is saved.
    precision: "bfloat16" or "float32".
    every: steps between two validations and checkpoints.
    start: weight file beside the plan that the training starts from, or empty; may be missing in the file.
    """

    id: str
    network: str
    arguments: dict
    degradation: str
    modality: str
    split: str
    patch: tuple[int, int, int]
    batch: int
    first_steps: int
    steps: int
    estimator_steps: int
    muon_rate: float
    adam_rate: float
    warmup: int
    decay: float
    average: float
    precision: str
    every: int
    seed: int
    start: str = ""

    @classmethod
    def read(cls, path: Path) -> "Plan":
        values = json.loads(Path(path).read_text())
        names = {f.name for f in fields(cls)}
        if set(values) | {"start"} != names:
            missing, unknown = sorted(names - set(values) - {"start"}), sorted(set(values) - names)
            raise ValueError(f"plan {path}: missing fields {missing}, unknown fields {unknown}; see Plan")
        return cls(**{**values, "patch": tuple(values["patch"])})

    @property
    def total(self) -> int:
        return self.first_steps + self.steps + self.estimator_steps

    def rate(self, step: int) -> float:
        """The learning rate as a part of the full one: in the first steps falling to a fifth, in the last to 0."""
        if step < self.first_steps:
            return min(1 - 0.8 * step / self.first_steps, (step + 1) / self.warmup)
        step -= self.first_steps
        if step >= self.steps:
            return 1 - (step - self.steps) / self.estimator_steps
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return min(1, (step + 1) / self.warmup, max(left, 0.01))
