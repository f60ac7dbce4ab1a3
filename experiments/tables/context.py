"""Context: which sweeps does the decoder need?

configs/mnist_sweep.py without a code, and without one or another of its decoder's sweeps. What a
token sees is exact (tests/sweep_test.py): without a sweep down, one row above; without one to the
left, one token; with none across the rows above, no column to its right, PixelCNN's blind spot
(van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, figure 1). The last
row cuts the sweeps down and to the left into segments; those across the rows above stay whole.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = "binarised MNIST, dynamic, 10,000 test images, 60,000 for training; exact, nats"
SEEDS = (0, 1, 2)
METRICS = {"NLL": "test/nll_dynamic"}
ROWS = {
    "all": {},
    "across the rows above: forward": {"model.sweeps_above": "forward"},
    "across the rows above: backward": {"model.sweeps_above": "backward"},
    "across the rows above: none": {"model.sweeps_above": "none"},
    "no sweep down": {"model.sweep_down": False},
    "no sweep to the left": {"model.sweep_left": False},
    "a sweep down alone": {"model.sweeps_above": "none", "model.sweep_left": False},
    "down and to the left by segments of 7": {"model.segment": 7},
}
ROWS = {label: {"latent.name": "none", **changes} for label, changes in ROWS.items()}
CPU = {"train.max_steps": 600, "eval.seeds": (0,)}
