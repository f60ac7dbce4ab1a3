"""Prior: what does a better prior bring, and what a better posterior?

The recurrent variational autoencoder of configs/mnist_vae.py with every prior, and a posterior that
is diagonal or goes through the code chunk by chunk. As section 3.2 of the variational lossy
autoencoder (Chen et al. 2016), which sets an autoregressive prior against an autoregressive
posterior: in theory either can do what the other does. The prior of learned images (Tomczak &
Welling 2018) needs the diagonal posterior.
"""

CONFIG = "configs/mnist_vae.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 50,000 for training; nats"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL (K = 128)": "test/nll_dynamic_is128",
    "bound": "test/bound_dynamic",
    "KL": "test/kl",
    "active units": "test/active_units",
}
_INFERENCE = {"latent.posterior": "autoregressive"}
ROWS = {
    "standard normal": {"latent.name": "gaussian"},
    "mixture of 100": {"latent.name": "mixture"},
    "100 learned images": {"latent.name": "vamp"},
    "autoregressive": {"latent.name": "autoregressive"},
    "standard normal, autoregressive posterior": {"latent.name": "gaussian", **_INFERENCE},
    "mixture of 100, autoregressive posterior": {"latent.name": "mixture", **_INFERENCE},
    "both autoregressive": {"latent.name": "autoregressive", **_INFERENCE},
}
CPU = {"train.epochs": 8, "eval.importance_samples": 0, "eval.seeds": (0,), "model.width": 64}
