"""Sweeps that are told the class: digits of the class one asks for, on binarised MNIST.

    python -m rnnae.main --config configs/mnist_classes.py
    python -m rnnae.main --mode sample --workdir runs/mnist_classes --label 7 --out sevens.png

It is the model of configs/mnist_sweep.py without a latent. The class enters every block of the
decoder. It is unknown in a tenth of the visits, so that one model gives p(x | y) and p(x).

Measured at commit 68c5d41 on one core of an AMD EPYC that other programs used too, jax 0.10.2:
293,232 parameters, 53 min of training, 0.8 CPU-hours for the whole command, all 60,000 training
images. On the 10,000 test images, dynamic protocol, binarisation seeds 0, 1 and 2:
  exact NLL of the image alone  78.64 +- 0.19 (78.67, 78.65, 78.61) nats; 78.84 is that of the model
                                without classes after the same 7 epochs
  exact NLL given the class     76.38 +- 0.19 (76.40, 76.38, 76.34)
  accuracy of Bayes' rule       98.98 +- 0.08 % (99.02, 99.04, 98.88)
10,000 new images, 1,000 of each class (--mode evaluate --config.eval.samples=10000
--config.eval.guidance=G, commits ff9ae4e and d3979a7):
  G                of the class asked for  Frechet distance  precision  recall
  0, the model     97.35 +- 0.16 %         0.191             0.855      0.887
  0.1              98.36 +- 0.13 %         0.192             0.865      0.870
  0.2              99.03 +- 0.10 %         0.236             0.875      0.855
  0.5              99.61 +- 0.06 %         0.493             0.890      0.802
  training images                          0.122             0.858      0.874
A wider model (3.3 CPU-hours) is in docs/results.md; its weights are those called mnist_classes.
"""

from ml_collections import ConfigDict

from rnnae.config import default


def get_config() -> ConfigDict:
    config = default("sweep")
    config.data.binarise = "dynamic"
    config.data.batch_size = 50
    config.data.train_on_all = True
    config.model.classes = 10
    config.latent.name = "none"
    config.likelihood.name = "categorical"
    config.optim.name = "muon"
    config.optim.learning_rate = 8e-3
    config.optim.warmup_steps = 300
    config.optim.b2 = 0.99
    config.eval.seeds = (0, 1, 2)
    config.train.epochs = 7
    config.train.steps_per_call = 20
    config.cpu_microbatch = 5
    return config
