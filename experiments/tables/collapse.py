"""Collapse: what keeps a code in use when the decoder reads its own output?

A row decoder that is fed its own rows can do without its code, and by the bound alone it does
(Bowman et al. 2016): annealing, free bits and a smaller weight of the KL alone, the first two
together too.
"""

CONFIG = "configs/mnist_vae.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 50,000 for training; nats"
SEEDS = (0, 1, 2)
METRICS = {
    "NLL (K = 128)": "test/nll_dynamic_is128",
    "bound": "test/bound_dynamic",
    "KL": "test/kl",
    "mutual information": "test/mutual_information",
    "active units": "test/active_units",
}
_OWN = {"model.own_output": True, "model.decoder_direction": "forward"}
ROWS = {
    "own rows": _OWN,
    "own rows, annealing": {**_OWN, "objective.anneal_steps": 2000},
    "own rows, free bits 0.25": {**_OWN, "objective.free_bits": 0.25},
    "own rows, annealing, free bits 0.25": {
        **_OWN,
        "objective.anneal_steps": 2000,
        "objective.free_bits": 0.25,
    },
    "own rows, beta 0.5": {**_OWN, "objective.beta": 0.5},
    "no own rows": {"model.decoder_direction": "forward"},
}
CPU = {"train.epochs": 6, "eval.importance_samples": 0, "eval.seeds": (0,), "model.width": 64}
CPU_ROWS = {
    "own rows, annealing": {"objective.anneal_steps": 240},
    "own rows, annealing, free bits 0.25": {"objective.anneal_steps": 240},
}
