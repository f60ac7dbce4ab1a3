"""Recurrent sweeps on natural images: each 8-bit RGB pixel by a discretised mixture of logistics.

    python -m rnnae.main --config configs/cifar10_sweep.py --config.data.source_dir=DIR

DIR holds the published binary files (cifar-10-batches-bin). Without it the archive is downloaded
from its published address.

Measured at commit 8278c38 on one core of an AMD EPYC (the other core was busy), jax 0.10.2: 274,660
parameters, 51 min of training (0.8 CPU-hours) on 40,000 images. Exact, on the 10,000 test images:
3.494 +- 0.007 bits/dim (validation 3.490; 3.823 after the first epoch). The first 260 steps used
the learning-rate schedule of a run of 1,500 steps, from whose checkpoint this run continued.

For an accelerator, a model meant to reach less than the 3.00 bits/dim of PixelRNN (van den Oord et
al. 2016: 12 layers of 128 units). It has not been trained:

    --config.model.width=384 --config.model.blocks=12 --config.data.batch_size=128
    --config.optim.matmul_precision=bfloat16 --config.train.epochs=200 --config.eval.batch_size=1000
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.name = "cifar10"
    config.data.batch_size = 16
    config.likelihood.name = "logistic_mixture"
    config.latent.name = "none"
    config.model.patch = 1
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 200
    config.optim.b2 = 0.99
    config.eval.batch_size = 50
    config.train.epochs = 2
    config.train.steps_per_call = 5
    config.cpu_microbatch = 1
    return config
