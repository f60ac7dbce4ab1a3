"""Models of pytorch-generative (Hotaj 2020), at the settings of their `reproduce` functions.

It is not on a package index: clone github.com/EugenHotaj/pytorch-generative, and put the directory
on PYTHONPATH. At its last commit, d1f0a5ce45195, `NADE.forward` returns probabilities, which the
loss in its `reproduce` takes for logits; so NADE is left out.
"""

import torch
from pytorch_generative import models
from torch.nn import functional as F

from experiments.peer_models import Peer, torch_peer


def made(seed: int) -> Peer:
    """MADE (Germain et al. 2015): one hidden layer of 8000 units and a single mask."""
    torch_peer.use_cores(seed)
    model = models.MADE(input_dim=784, hidden_dims=[8000], n_masks=1)
    return _autoregressive(model, torch.optim.Adam(model.parameters()), 64)


def pixel_cnn(seed: int) -> Peer:
    """PixelCNN (van den Oord et al. 2016): 15 residual blocks of 16 channels.

    At that commit each block adds its input twice (`forward` adds x to a block that returns x plus
    its change), so that the first losses are far above those of chance.
    """
    torch_peer.use_cores(seed)
    model = models.PixelCNN(
        in_channels=1, out_channels=1, n_residual=15, residual_channels=16, head_channels=32
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda _: 0.999977)
    return _autoregressive(model, optimizer, 256, scheduler)


def _autoregressive(model, optimizer, batch_size: int, scheduler=None) -> Peer:
    """The loss that all of their `reproduce` functions have."""

    def nll_B(x_BCHW: torch.Tensor) -> torch.Tensor:
        entropy = F.binary_cross_entropy_with_logits(model(x_BCHW), x_BCHW, reduction="none")
        return entropy.sum(dim=(1, 2, 3))

    return torch_peer.peer(
        model,
        optimizer,
        batch_size,
        lambda x_BCHW: nll_B(x_BCHW).mean(),
        lambda x_BCHW: {"nll": nll_B(x_BCHW)},
        scheduler,
    )
