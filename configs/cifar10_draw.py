"""DRAW on natural images: 8-bit RGB pixels by a discretised mixture of logistics.

    python -m rnnae.main --config configs/cifar10_draw.py --config.data.source_dir=DIR

DIR holds the published binary files (cifar-10-batches-bin). Without it the archive is downloaded
from its published address.

Measured at commit 7b08639 on two cores of an Intel Xeon with AMX, no GPU, jax 0.10.2, with
--config.train.epochs=8 --config.eval.importance_samples=0: 3,884,332 parameters, 15 min of training
(stopped and resumed once; 0.4 CPU-hours, the first minutes on one core). Bound on the 10,000 test
images, 8bit protocol: 5.657 bits/dim, KL 201 nats. The run did not converge.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("draw")
    config.data.name = "cifar10"
    config.data.batch_size = 128
    config.likelihood.name = "logistic_mixture"
    config.likelihood.components = 5
    config.latent.name = "gaussian"
    config.latent.size = 32
    config.model.width = 400
    config.model.steps = 16
    config.model.read_size = 12
    config.model.write_size = 12
    config.model.learned_prior = True
    config.optim.learning_rate = 4e-3
    config.optim.warmup_steps = 200
    config.optim.matmul_precision = "bfloat16"
    config.eval.batch_size = 100
    config.eval.mutual_information_images = 100
    config.train.epochs = 10
    config.train.steps_per_call = 5
    return config
