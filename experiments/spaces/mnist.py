"""Rows: which learning rate, width, depth and latent size are best after nine epochs?

The model of configs/mnist.py: an LSTM over the rows in both directions, and a latent without noise.
Every trial is planned for the same nine epochs, whatever its size, so wide models also cost more.

The learning rate warms up within the first epoch, because the first rung compares trials there.
"""

CONFIG = "configs/mnist.py"
OVERRIDES = {"optim.warmup_steps": 100, "train.eval_every_epochs": 1}
PARAMETERS = {
    "optim.learning_rate": {"low": 3e-4, "high": 3e-2, "log": True},
    "model.width": {"low": 32, "high": 128, "step": 16},
    "model.layers": {"low": 1, "high": 2},
    "latent.size": {"low": 16, "high": 128, "step": 16},
}
METRIC = "valid/mse"
RUNGS = (1, 3, 9)
