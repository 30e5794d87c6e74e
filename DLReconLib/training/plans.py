"""Plan: what makes a weight file, and nothing else does."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What makes a weight file.

    network, arguments: name in NETWORKS and its keyword arguments.
    degradation: "mr-noise", "ct-noise", "mr-resolution", "ct-resolution", ...: see TRAINERS.
    modality: DICOM code of the training images.
    split: file beside the plan that lists the images with role train, validation or test.
    patch: (k, j, i) voxels; batch: patches a step and process.
    first_steps: steps of the noise estimator and of the thresholds of shrinkage, before the rest is trained.
    steps: optimiser steps of all but these thresholds; the learning rates, of Muon for inner kernels and of Adam
        for the rest, warm up over `warmup` steps and fall linearly to a hundredth over the last `decay` part of them.
    estimator_steps: further steps of the noise estimator alone.
    further: stages after these, each [part, steps, rate]: "estimator", of the estimator alone; "all", of all but the
        thresholds; "denoiser", of all but estimator and thresholds, which is faster; "lines", of the network of
        MotionUNet that follows. The learning rates fall from `rate` times the full ones to 0. May be missing in the
        file.
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
    further: tuple[tuple[str, int, float], ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Plan":
        values = json.loads(Path(path).read_text())
        names = {f.name for f in fields(cls)}
        missing = sorted({f.name for f in fields(cls) if f.default is MISSING} - set(values))
        unknown = sorted(set(values) - names)
        if missing or unknown:
            raise ValueError(f"plan {path}: missing fields {missing}, unknown fields {unknown}; see Plan")
        further = tuple((str(part), int(steps), float(rate)) for part, steps, rate in values.get("further", ()))
        return cls(**{**values, "patch": tuple(values["patch"]), "further": further})

    @property
    def total(self) -> int:
        return self.first_steps + self.steps + self.estimator_steps + sum(steps for _, steps, _ in self.further)

    def part(self, step: int) -> str:
        """What this step trains: "first" (estimator and thresholds), "all" (but the thresholds), "estimator" alone, or
        "denoiser" (neither), or another stage that the network has."""
        for part, steps in self._stages():
            if step < steps:
                return part
            step -= steps
        return "estimator"

    def _stages(self) -> list[tuple[str, int]]:
        begun = [("first", self.first_steps), ("all", self.steps), ("estimator", self.estimator_steps)]
        return begun + [(part, steps) for part, steps, _ in self.further]

    def rate(self, step: int) -> float:
        """The learning rate as a part of the full one: in the first steps falling to a fifth, in the last to 0."""
        if step < self.first_steps:
            return min(1 - 0.8 * step / self.first_steps, (step + 1) / self.warmup)
        step -= self.first_steps
        if step >= self.steps:
            step -= self.steps
            for steps, rate in ((self.estimator_steps, 1.0), *((s, r) for _, s, r in self.further)):
                if step < steps:
                    return rate * (1 - step / steps)
                step -= steps
            return 0.0
        left = (self.steps - step) / max(self.decay * self.steps, 1)
        return min(1, (step + 1) / self.warmup, max(left, 0.01))
