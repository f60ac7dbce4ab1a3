"""Models of pythae (Chadebec et al. 2022)."""

from types import SimpleNamespace

import torch
from pythae import models
from torch.nn import functional as F

from experiments.peer_models import Peer, torch_peer


def vae(seed: int) -> Peer:
    """Its VAE with its default networks, one hidden layer of 512 each, at the settings of its
    examples/scripts/configs/binary_mnist."""
    torch_peer.use_cores(seed)
    settings = {"input_dim": (1, 28, 28), "latent_dim": 16, "reconstruction_loss": "bce"}
    model = models.VAE(models.VAEConfig(**settings))

    def loss(x_BCHW: torch.Tensor) -> torch.Tensor:
        return model({"data": x_BCHW}).loss

    def scores(x_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """The terms of its `loss_function`, which returns only their means."""
        code = SimpleNamespace(**model.encoder(x_BCHW))
        mean_BZ, log_variance_BZ = code.embedding, code.log_covariance
        z_BZ, _ = model._sample_gauss(mean_BZ, torch.exp(0.5 * log_variance_BZ))
        p_BCHW = model.decoder(z_BZ)["reconstruction"]
        entropy_B = F.binary_cross_entropy(p_BCHW, x_BCHW, reduction="none").sum(dim=(1, 2, 3))
        kl_BZ = -0.5 * (1 + log_variance_BZ - mean_BZ**2 - log_variance_BZ.exp())
        return {"bound": entropy_B + kl_BZ.sum(dim=1), "kl": kl_BZ.sum(dim=1)}

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    return torch_peer.peer(model, optimizer, 100, loss, scores)
