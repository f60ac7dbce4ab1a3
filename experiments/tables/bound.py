"""Bound: how many importance samples does the likelihood of a code model need?

One trained model, K samples a test image (Burda et al. 2016): the estimate falls with K, towards
the negative log-likelihood, and costs K decodings. K = 1 is the bound.
"""

CONFIG = "configs/mnist_vae.py"
PROTOCOL = (
    "binarised MNIST, dynamic, 10,000 test images, 50,000 for training; nats; minutes of "
    "evaluation where K is given"
)
SEEDS = (0, 1, 2)
METRICS = {
    "NLL": tuple(f"test/nll_dynamic_is{k}" for k in (1, 8, 64, 128, 512, 1024)),
    "bound": "test/bound_dynamic",
}
_OF = {"weights_from": "training", "eval.splits": ("test",), "eval.seeds": (0,)}
ROWS = {
    "training": {"eval.importance_samples": 0, "eval.seeds": (0,)},
    "K = 1": {**_OF, "eval.importance_samples": 1},
    "K = 8": {**_OF, "eval.importance_samples": 8},
    "K = 64": {**_OF, "eval.importance_samples": 64},
    "K = 128": {**_OF, "eval.importance_samples": 128},
    "K = 512": {**_OF, "eval.importance_samples": 512},
    "K = 1024": {**_OF, "eval.importance_samples": 1024},
}
BOLD = ()  # not rivals
SWEPT = "eval.importance_samples"
CPU = {"train.epochs": 6, "model.width": 64, "eval.seeds": (0,)}
CPU_SEEDS = (0,)
