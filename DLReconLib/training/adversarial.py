"""Training of super-resolution against a critic: sharper images, at a price in fidelity.

The generator begins as the network that was trained for fidelity, whose weights lie in the zoo, and goes on with a
patch discriminator (Isola et al., CVPR 2017) that sees the image beside its spline, by least squares (Mao et al., ICCV
2017). What it adds stays invisible to the acquisition, so that it cannot contradict what was measured.
"""

import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from DLReconLib.models import find_card
from DLReconLib.training.resolution import CUT, EMPTY, ResolutionBatch, ResolutionTrainer

BEGIN = "mr-superres"  # whose weights the generator begins with
CRITIC_RATE = 3e-4
ADVERSARIAL = 0.1  # weights of the critic, and of the likeness of edges, in the generator's loss
EDGES = 20.0
CELL = 8  # voxels of the cells whose edges are compared


def edge_strength(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, of cells of CELL voxels: (N, 1, D, H, W) to (N, 1, D/8, H/8, W/8)."""
    total = image.new_zeros(image.shape)
    for axis in (2, 3, 4):
        size = image.shape[axis] - 1
        slopes = (image.narrow(axis, 1, size) - image.narrow(axis, 0, size)).abs()
        padding = [0, 0] * (4 - axis) + [0, 1]
        total = total + functional.pad(slopes, padding)
    return functional.avg_pool3d(total, CELL)


class AdversarialTrainer(ResolutionTrainer):
    """Generator's loss: that of ResolutionTrainer, the critic's answer, and how much weaker or stronger the edges of a
    cell are than those of the truth."""

    figures = (*ResolutionTrainer.figures, "edge_strength_ratio")

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.network.load_state_dict(load_file(find_card(BEGIN).checked_weights()))
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.critic = PatchDiscriminator(3, 16, 2, num_layers_d=2, norm="INSTANCE").to(self.device)
        self.critic_optimizer = torch.optim.AdamW(self.critic.parameters(), CRITIC_RATE, (0.5, 0.9))
        self.judgement = PatchAdversarialLoss(criterion="least_squares")

    def train_step(self) -> float:
        batch = self.pairs("train", self.step, self.plan.batch)
        with self.autocast():
            detail = self.parallel(batch.base, batch.changes)
        left, before = batch.errors(detail)
        made, true = batch.base + batch.hidden(detail.float()), batch.base + batch.target
        self.learn_to_judge(batch, made.detach(), true)
        found, wanted = edge_strength(made), edge_strength(true)
        edges = ((found + 0.01) / (wanted + 0.01)).log().abs().mean()
        loss = ((left + EMPTY) / (before + EMPTY)).log().mean() + EDGES * edges
        loss = loss + ADVERSARIAL * self.judgement(self.look(batch, made), True, for_discriminator=False)
        self.descend(loss)
        return float(loss.detach())

    def look(self, batch: ResolutionBatch, image: Tensor) -> Tensor:
        """The critic's answer to an image beside its spline, both without mean and contrast."""
        mean = batch.base.mean((2, 3, 4), keepdim=True)
        contrast = batch.base.std((2, 3, 4), keepdim=True) + 0.01
        pair = torch.cat([image - batch.base, batch.base - mean], 1) / contrast
        return self.critic(pair[..., CUT:-CUT, CUT:-CUT, CUT:-CUT])[-1]

    def learn_to_judge(self, batch: ResolutionBatch, made: Tensor, true: Tensor) -> None:
        self.critic_optimizer.zero_grad(set_to_none=True)
        wrong = self.judgement(self.look(batch, made), False, for_discriminator=True)
        (wrong + self.judgement(self.look(batch, true), True, for_discriminator=True)).div(2).backward()
        self.critic_optimizer.step()

    @torch.no_grad()
    def measure(self) -> tuple[float, ...]:
        """As ResolutionTrainer; then the mean over validation pairs of the strength of edges divided by the truth's."""
        batch = self.pairs("validation", 9, 12)
        with self.autocast():
            detail = self.network(batch.base, batch.changes)
        made, true = batch.base + batch.hidden(detail.float()), batch.base + batch.target
        ratio = edge_strength(made).mean((1, 2, 3, 4)) / edge_strength(true).mean((1, 2, 3, 4))
        return *super().measure(), float(ratio.mean())

    def save_checkpoint(self) -> None:
        state = {"critic": self.critic.state_dict(), "optimizer": self.critic_optimizer.state_dict()}
        temporary = self.work / "critic.part"
        torch.save(state, temporary)
        temporary.replace(self.work / "critic.pt")
        super().save_checkpoint()

    def load_checkpoint(self) -> None:
        super().load_checkpoint()
        state = torch.load(self.work / "critic.pt", map_location=self.device, weights_only=True)
        self.critic.load_state_dict(state["critic"])
        self.critic_optimizer.load_state_dict(state["optimizer"])
