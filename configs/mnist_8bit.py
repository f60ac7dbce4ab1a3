"""8-bit digits, drawn by recurrent sweeps over tokens of 2x2 pixels; a chain draws their pixels.

    python -m rnnae.main --config configs/mnist_8bit.py

A pixel has a softmax over its 256 levels. What the sweeps read of a pixel includes Fourier features
of its value, because the grey levels along an edge depend on each other exactly.

Measured at commit d071686 on one core of an AMD EPYC (the other core was busy), jax 0.10.2: 929,536
parameters, 76 min of training (1.3 CPU-hours), all 60,000 training images. The 10,000 test images
have exactly 0.789 +- 0.003 bits/dim (428.8 nats).
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.batch_size = 50
    config.data.train_on_all = True
    config.latent.name = "none"
    config.likelihood.name = "softmax"
    config.likelihood.frequencies = 8
    config.model.chain = 192
    config.model.input_window = True
    config.model.width = 96
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 300
    config.optim.b2 = 0.99
    config.optim.matmul_precision = "bfloat16"
    config.eval.batch_size = 250
    config.train.epochs = 8
    config.train.steps_per_call = 20
    config.cpu_microbatch = 1
    return config
