"""An autoencoder of recurrent sweeps on binarised MNIST.

    python -m rnnae.main --config configs/mnist_sweep.py

Measured at commit ef876ed on one core of an AMD EPYC (the other core was busy), jax 0.10.2: 426,178
parameters, 84 min of training (1.4 CPU-hours), all 60,000 training images. On the 10,000 test
images, dynamic protocol, binarisation seeds 0, 1 and 2:
  NLL with 128 importance samples  78.66 +- 0.19 (78.68, 78.68, 78.62) nats, 59 min on two cores
  NLL with 16 importance samples   78.70 +- 0.19 (78.72, 78.71, 78.65)
  bound                            78.98 +- 0.19 (79.00, 79.00, 78.94)
  KL 5.60, mutual information 5.21

With 16 latent dimensions, --config.latent.size=16 --config.latent.chunk=8
--config.objective.free_bits=0.35 --config.train.epochs=11: 497,256 parameters, 181 min (3.0
CPU-hours), commit 46af3ca. Bound 79.50 +- 0.19 (79.53, 79.48, 79.50), KL 6.51. NLL with 128
importance samples, seed 0 only, commit 0f01e0a: 78.78 +- 0.19.

Without a latent, --config.latent.name=none, exact NLL, same protocol, 267,024 parameters:
  78.84 +- 0.19 (78.86, 78.85, 78.80)  --config.train.epochs=7, 74 min (1.2 CPU-hours), commit
                                       71598a9
  78.60 +- 0.19 (78.62, 78.61, 78.56)  --config.train.epochs=13, 138 min (2.3 CPU-hours), commit
                                       46af3ca (85f68d8 for the first quarter)
  78.49 +- 0.19 (78.51, 78.50, 78.45)  --config.model.width=96 --config.train.epochs=10, 594,064
                                       parameters, 171 min (2.8 CPU-hours), commit 15e8a7c

Static protocol, without a latent, --config.data.name=binarized_mnist --config.data.binarise=none
--config.train.epochs=7 --config.optim.weight_decay=0.05: 78.88 +- 0.19; trained on 50,000 images
(--config.data.train_on_all=False) 79.03 +- 0.19. 45 and 42 min (0.7 CPU-hours each), commit
d93586a.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.binarise = "dynamic"
    config.data.batch_size = 50
    config.data.train_on_all = True
    config.latent.name = "autoregressive"
    config.latent.size = 4
    config.latent.chunk = 1
    config.likelihood.name = "categorical"
    config.model.encoder_blocks = 1
    config.objective.free_bits = 1.3
    config.objective.anneal_steps = 1000
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 300
    config.optim.b2 = 0.99
    config.eval.seeds = (0, 1, 2)
    config.train.epochs = 11
    config.train.steps_per_call = 20
    config.cpu_microbatch = 5
    return config
