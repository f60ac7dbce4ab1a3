"""Collapse: what keeps a code in use when the decoder can do without it?

The decoder of configs/mnist_sweep.py reads all pixels before the one that it writes, and is nearly
as good without its code of 4 numbers (Bowman et al. 2016): annealing, free bits, a smaller weight
of the KL and a decoder that sees less (its sweeps down and to the left in segments of 7 tokens),
alone, and the first two together as in the config. The information between 1,000 images and their
codes cannot exceed 6.9 nats.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 60,000 for training; nats"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL (K = 128)": "test/nll_dynamic_is128",
    "bound": "test/bound_dynamic",
    "KL": "test/kl",
    "mutual information": "test/mutual_information",
    "active units": "test/active_units",
}
_BARE = {"objective.anneal_steps": 0, "objective.free_bits": 0.0}
ROWS = {
    "by the bound alone": _BARE,
    "annealing": {"objective.free_bits": 0.0},
    "free bits": {"objective.anneal_steps": 0},
    "annealing and free bits": {},
    "beta 0.5": {**_BARE, "objective.beta": 0.5},
    "window 7": {**_BARE, "model.segment": 7},
}
CPU = {"train.max_steps": 600, "eval.importance_samples": 0, "eval.seeds": (0,)}
CPU_ROWS = {
    "annealing": {"objective.anneal_steps": 60},
    "annealing and free bits": {"objective.anneal_steps": 60},
}
CPU_SEEDS = (0,)
