"""The training step that the peers in PyTorch share."""

from collections.abc import Callable

import numpy as np
import torch

from experiments.peer_models import Peer
from rnnae.devices import runtime


def use_cores(seed: int) -> None:
    """Seeds PyTorch, and gives it the cores that this process may use."""
    torch.set_num_threads(len(runtime.available_cores()))
    torch.manual_seed(seed)


def peer(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    loss: Callable[[torch.Tensor], torch.Tensor],
    scores: Callable[[torch.Tensor], dict[str, torch.Tensor]],
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> Peer:
    """A Peer of a model whose `loss` is the mean over a batch x_BCHW; `scheduler` is called after
    each step."""

    def step(x_BHWC: np.ndarray) -> None:
        model.train()
        optimizer.zero_grad()
        loss(_channels_first(x_BHWC)).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()

    def score(x_BHWC: np.ndarray) -> dict[str, np.ndarray]:
        model.eval()
        with torch.no_grad():
            return {k: v.numpy() for k, v in scores(_channels_first(x_BHWC)).items()}

    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Peer(batch_size, parameters, step, score)


def _channels_first(x_BHWC: np.ndarray) -> torch.Tensor:
    return torch.tensor(x_BHWC).permute(0, 3, 1, 2).contiguous()
