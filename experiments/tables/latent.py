"""The code: what do its size and the decoder's reach do to a recurrent autoencoder?

configs/mnist_sweep.py without a code, with codes of several sizes at the same free bits in all, and
with a decoder that sees less of its own pixels (sweeps down and to the left in segments of 7
tokens). Prior and posterior write 4 numbers one by one, more of them 8 at a time. As the
variational lossy autoencoder (Chen et al. 2016) has it: information that the decoder can have from
its neighbours is not in the code. Without a code the likelihood is exact; a bound is above it by
what the posterior misses.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 60,000 for training; nats"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL": ("test/nll_dynamic", "test/nll_dynamic_is128"),
    "bound": "test/bound_dynamic",
    "KL": "test/kl",
    "mutual information": "test/mutual_information",
}
_16 = {"latent.size": 16, "latent.chunk": 8, "objective.free_bits": 0.325}
ROWS = {
    "no code": {"latent.name": "none"},
    "4 numbers": {},
    "16 numbers": _16,
    "64 numbers": {"latent.size": 64, "latent.chunk": 8, "objective.free_bits": 1.3 / 16},
    "16 numbers, window 7": {**_16, "model.segment": 7},
    "16 numbers, no free bits": {**_16, "objective.free_bits": 0.0},
}
CPU = {"train.max_steps": 600, "eval.importance_samples": 0}
_SOONER = {"objective.anneal_steps": 60}
CPU_ROWS = {
    "4 numbers": _SOONER,
    "16 numbers": _SOONER,
    "64 numbers": _SOONER,
    "16 numbers, window 7": _SOONER,
    "16 numbers, no free bits": _SOONER,
}
CPU_SEEDS = (0,)
