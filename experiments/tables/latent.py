"""The code: what do its size and the decoder's reach do to a recurrent autoencoder?

configs/mnist_sweep.py without a code, with codes of several sizes at the same free bits in all, and
with a decoder that sees less of its own pixels. As table 2 of the variational lossy autoencoder
(Chen et al. 2016): information that the decoder can have from its neighbours is not in the code.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 60,000 for training; nats"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL or bound": ("test/nll_dynamic", "test/bound_dynamic"),
    "KL": "test/kl",
    "mutual information": "test/mutual_information",
}
_16 = {"latent.size": 16, "latent.chunk": 8, "objective.free_bits": 0.325}
ROWS = {
    "no code": {"latent.name": "none"},
    "4 numbers": {},
    "16 numbers": _16,
    "64 numbers": {"latent.size": 64, "latent.chunk": 8, "objective.free_bits": 1.3 / 16},
    "16 numbers, window 7": {**_16, "model.window": 7},
    "16 numbers, no free bits": {**_16, "objective.free_bits": 0.0},
}
CPU = {"train.max_steps": 600, "eval.importance_samples": 0}
CPU_SEEDS = (0,)
