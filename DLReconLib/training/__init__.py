"""Train a model by a plan: `dlrecon train PLAN.json`, or `torchrun --nproc_per_node N -m DLReconLib train ...`.

A plan is a JSON file beside the model's card; every field of Plan is in it. The random numbers of a step
follow from (seed, rank, step) alone, so that an interrupted run that is resumed ends in the same weights.
"""

import csv
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from DLReconLib.networks import build_network, memory_layout
from DLReconLib.progress import Progress, silent
from DLReconLib.training.losses import Batch, denoising_loss, estimation_loss
from DLReconLib.training.muon import make_optimizers
from DLReconLib.training.patches import PatchMaker, Source, load_sources
from DLReconLib.training.plans import Plan
from DLReconLib.training.results import plot_log, write_model
from DLReconLib.training.reuse import ReadyBatches

# What learns by a plan's degradation; "module:class", so that no task imports another.
TRAINERS = {
    "mr-resolution": "DLReconLib.training.resolution:ResolutionTrainer",
    "ct-resolution": "DLReconLib.training.resolution:ResolutionTrainer",
    "mr-resolution-gan": "DLReconLib.training.adversarial:AdversarialTrainer",
    "mr-motion": "DLReconLib.training.motion:MotionTrainer",
    "mr-bias": "DLReconLib.training.bias:BiasTrainer",
    "ct-artifacts": "DLReconLib.training.ct_artifacts:CtArtifactTrainer",
    "contrast": "DLReconLib.training.contrast:ContrastTrainer",
    "inpainting": "DLReconLib.training.inpainting:InpaintingTrainer",
    "inpainting-gan": "DLReconLib.training.inpainting:AdversarialTrainer",
    "us-speckle": "DLReconLib.training.restoration:RestorationTrainer",
    "pet-noise": "DLReconLib.training.restoration:RestorationTrainer",
    "micro-noise": "DLReconLib.training.restoration:RestorationTrainer",
    "vessels": "DLReconLib.training.vessels:VesselTrainer",
}


class Trainer:
    """One process of a training run: of a denoiser; another task replaces make_patches, train_step and measure."""

    figures: tuple[str, ...] = ("validation_psnr_gain_db", "noise_level_factor")  # what measure() gives

    def __init__(self, plan_path: Path, data: Path, work: Path, device: str = "auto") -> None:
        self.plan = Plan.read(plan_path)
        self.split = json.loads((Path(plan_path).parent / self.plan.split).read_text())
        self.work = work
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if device == "auto":
            device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.plan.seed)
        network = build_network(self.plan.network, self.plan.arguments).to(self.device)
        self.network = network.to(memory_format=memory_layout(network))
        self.shrinkage = list(getattr(self.network, "shrinkage", nn.Identity()).parameters())
        if not self.shrinkage and any(part == "denoiser" for part, *_ in self.plan.further):
            raise ValueError(f"plan {self.plan.id}: a stage of the denoiser is for networks that begin with shrinkage; "
                             f"wanted the stage all, network {self.plan.network}")  # fmt: skip
        # Learned alone, in stages of their own: the wrapper of several processes must not wait for these.
        alone = [*self.shrinkage, *getattr(self.network, "following", nn.Identity()).parameters()]
        for value in alone:
            value.requires_grad_(False)
        self.parallel = self.network
        if self.world > 1:  # buffers never change
            self.parallel = nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)
        for value in alone:
            value.requires_grad_(True)
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimizers = make_optimizers(self.network, self.plan.adam_rate, self.plan.muon_rate)
        rate = self.plan.adam_rate
        estimator = getattr(self.network, "estimator", nn.Identity())
        groups = [{"params": list(estimator.parameters()), "initial_lr": rate, "weight_decay": 1e-4}]
        if self.shrinkage:  # thresholds are numbers about 3
            groups.append({"params": self.shrinkage, "initial_lr": 5 * rate, "weight_decay": 0.0})
        self.alone_optimizer = torch.optim.AdamW(groups)
        self.step, self.seconds = 0, 0.0
        self.ready = ReadyBatches(self)
        noise = self.plan.degradation.endswith("noise")
        loaded = {
            r: load_sources(self.split, r, self.plan.modality, data, work, noise) for r in ("train", "validation")
        }
        self.makers: dict[str, Any] = {}
        for self.role, sources in loaded.items():
            self.makers[self.role] = self.make_patches(sources)

    def make_patches(self, sources: list[Source]) -> Any:
        """What draws the pairs of self.role, "train" or "validation"."""
        return PatchMaker(sources, self.plan.degradation, self.plan.patch)

    def kept_pool(self, most: int, make: Callable[[np.random.Generator, int], np.ndarray]) -> np.ndarray:
        """At most `most` examples of self.role, made by make(rng, number) once and kept in the work folder; as many as
        the steps of the plan can use, and the same for the same plan. An array (number, ...) on disk."""
        path = self.work / f"pool-{self.role}-{self.plan.seed}-{self.rank}.npy"
        if not path.exists():
            seed, train = [self.plan.seed, self.rank], self.role == "train"
            count = min(most, 8 * self.plan.total * self.plan.batch)
            pool = np.stack([make(np.random.default_rng([*seed, n, train]), n) for n in range(count)])
            temporary = path.with_suffix(f".{os.getpid()}.part.npy")
            np.save(temporary, pool)
            temporary.replace(path)
        return np.load(path, mmap_mode="r")

    def batch(self, role: str, number: int, size: int, level: float | None = None) -> Batch:
        seed = [self.plan.seed, self.rank, number, role == "train"]
        rng = np.random.default_rng(seed)
        return Batch.stack([self.makers[role].draw(rng, level) for _ in range(size)], self.device)

    def forward(self, network: nn.Module, batch: Batch, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with self.autocast():
            return network(batch.noisy, batch.magnitude, noise)

    def autocast(self) -> torch.autocast:
        enabled = self.plan.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def any_step(self) -> float:
        """The next step of the plan; returns its loss."""
        steps = {"first": self.early_step, "all": self.train_step}
        steps |= {"estimator": self.late_step, "denoiser": self.denoiser_step}
        part = self.plan.part(self.step)
        if part != "denoiser":  # its batches were made by the layers as they are now
            self.ready.forget()
        return steps[part]()

    def train_step(self) -> float:
        batch = self.batch("train", self.step, self.plan.batch)
        given = self.jittered_noise(batch, self.step)
        residual, estimate = self.forward(self.parallel, batch, given)
        loss = denoising_loss(residual, batch) + 0.5 * estimation_loss(estimate, batch)
        self.descend(loss)
        return float(loss.detach())

    def denoiser_step(self) -> float:
        """A step of the residual U-Net alone: estimator and shrinkage rest."""
        batch = self.ready.take(self.step)
        with self.autocast():
            residual, _ = self.network(batch.noisy, batch.magnitude, batch.believed, batch.removed)
        loss = denoising_loss(residual, batch)
        self.descend(loss, share=True)
        return float(loss.detach())

    def jittered_noise(self, batch: Batch, number: int) -> Tensor | None:
        """In 40 % of the batches the true level, somewhat off, so that the denoiser learns what the map means."""
        rng = np.random.default_rng([self.plan.seed, self.rank, number, 2])
        return batch.noise * float(np.exp(rng.normal(0, 0.1))) if rng.random() < 0.4 else None

    def descend(self, loss: Tensor, share: bool = False) -> None:
        """A step of all weights that have a gradient. share: average the gradients over the processes, where the loss
        did not come through the wrapper that does."""
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        if share:
            self.share_gradients(self.network.parameters())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.plan.rate(self.step)
            optimizer.step()
        self.count_step()

    def early_step(self) -> float:
        """A step of the noise estimator and of shrinkage, which gets the true noise."""
        batch = self.batch("train", self.step, self.plan.batch)
        with self.autocast():
            loss = estimation_loss(self.network.estimator(batch.noisy), batch)
            if self.shrinkage:
                loss = loss + denoising_loss(self.network.shrink(batch.noisy, batch.noise), batch)
        self.step_alone(loss)
        return float(loss.detach())

    def late_step(self) -> float:
        """A step of the noise estimator alone: it takes longer to learn than the denoiser."""
        batch = self.batch("train", self.step, 2 * self.plan.batch)
        with self.autocast():
            loss = estimation_loss(self.network.estimator(batch.noisy), batch)
        self.step_alone(loss)
        return float(loss.detach())

    def step_alone(self, loss: Tensor) -> None:
        """Estimator and thresholds by their own optimizer, averaged over the processes."""
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        values = [p for group in self.alone_optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.share_gradients(values)
        torch.nn.utils.clip_grad_norm_(values, 1.0)
        for group in self.alone_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.plan.rate(self.step)
        self.alone_optimizer.step()
        self.count_step()

    def share_gradients(self, values: Iterable[Tensor]) -> None:
        """Average them over the processes, where the wrapper of several processes does not."""
        if self.world > 1:
            for value in values:
                if value.grad is not None:
                    value.grad = value.grad.contiguous()
                    distributed.all_reduce(value.grad)
                    value.grad /= self.world

    def count_step(self) -> None:
        """Move the averaged weights on."""
        self.step += 1
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.averaged[name].lerp_(value, 1 - keep)

    def validate(self) -> tuple[float, ...]:
        """The figures of the averaged weights."""
        current = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged)
        found = self.measure()
        self.network.load_state_dict(current)
        return found

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """Mean PSNR gain (dB) on fixed validation pairs, and the mean factor by which the noise level is misjudged."""
        gains, factors = [], []
        for number, level in enumerate([0.01, 0.03, 0.05, 0.09] * 2):
            level = level * 1000 if self.plan.modality == "CT" else level
            batch = self.batch("validation", number, 6, level)
            residual, estimate = self.forward(self.network, batch)
            before = (batch.noisy - batch.clean).square().mean((1, 2, 3, 4))
            after = (batch.noisy - residual - batch.clean).square().mean((1, 2, 3, 4))
            gains.append(10 * torch.log10(before / after).mean())
            factors.append((estimate[:, 0] / batch.noise[:, 0]).log().abs().mean().exp())
        return float(torch.stack(gains).mean()), float(torch.stack(factors).mean())

    def run(self, progress: Progress = silent) -> None:
        """Train to the last step of the plan. Raises Cancelled where `progress` does; the run can be resumed
        from its last checkpoint."""
        started, losses = time.monotonic() - self.seconds, []
        total = self.plan.total
        while self.step < total:
            losses.append(self.any_step())
            progress(self.step / total, f"step {self.step} of {total}, loss {losses[-1]:.3f}")
            if self.step % self.plan.every == 0 or self.step == total:
                self.seconds = time.monotonic() - started
                if self.rank == 0:
                    self.log(float(np.mean(losses)), *self.validate())
                    self.save_checkpoint()
                losses = []

    def log(self, loss: float, *found: float) -> None:
        path = self.work / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", "rate", "loss", *self.figures])
            row = [self.step, f"{self.seconds:.0f}", f"{self.plan.rate(self.step - 1):.3g}"]
            writer.writerow([*row, f"{loss:.4f}", *(f"{value:.3f}" for value in found)])

    def save_checkpoint(self) -> None:
        state = {"network": self.network.state_dict(), "averaged": self.averaged, "step": self.step}
        state["plan"] = json.dumps(asdict(self.plan))
        state |= {
            "optimizers": [o.state_dict() for o in (*self.optimizers, self.alone_optimizer)],
            "seconds": self.seconds,
        }
        temporary = self.work / "checkpoint.part"
        torch.save(state, temporary)
        temporary.replace(self.work / "checkpoint.pt")

    def load_checkpoint(self) -> None:
        """Continue from the last checkpoint of the work folder. Raises FileNotFoundError without one, ValueError
        where it was made by another plan."""
        path = self.work / "checkpoint.pt"
        if not path.exists():
            raise FileNotFoundError(f"training {self.plan.id}: no checkpoint in {self.work}; start without --resume")
        state = torch.load(path, map_location=self.device, weights_only=True)
        if json.loads(state["plan"]) != json.loads(json.dumps(asdict(self.plan))):
            raise ValueError(f"training {self.plan.id}: the checkpoint in {self.work} was made by another plan; wanted "
                             "the same; give another --out to begin anew")  # fmt: skip
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip((*self.optimizers, self.alone_optimizer), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.averaged = state["averaged"]
        self.step, self.seconds = state["step"], state["seconds"]


def train_by_plan(
    plan: Path, data: Path, out: Path | None = None, device: str = "auto", resume: bool = False,
    progress: Progress = silent,
) -> Path:  # fmt: skip
    """Train, or go on training, and write card.json, weights.safetensors, log.csv and log.png to `out`.

    The fields of the card that training does not decide come from the card.json beside the plan.
    Returns the folder. Raises ValueError for a plan with wrong fields or a folder that holds another training,
    FileNotFoundError for missing images.
    """
    import matplotlib  # noqa: F401  (needed at the end: better to miss it now)

    work = Path(out) if out else Path("runs") / Plan.read(plan).id
    if not resume and (work / "checkpoint.pt").exists():
        raise ValueError(f"training: {work} holds a training already; give --resume to go on, or another --out")
    module, name = TRAINERS.get(Plan.read(plan).degradation, f"{__name__}:Trainer").split(":")
    trainer = getattr(import_module(module), name)(Path(plan), Path(data), work, device)
    if resume:
        trainer.load_checkpoint()
    trainer.run(progress)
    if trainer.rank == 0:
        write_model(trainer, Path(plan).parent / "card.json")
        plot_log(work)
    if trainer.world > 1:
        distributed.destroy_process_group()
    return work
