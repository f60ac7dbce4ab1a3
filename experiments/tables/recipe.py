"""Recipe: which parts of how it is trained does the result owe to?

configs/mnist_sweep.py without a code, each part of its training changed alone: averaged weights,
schedule, batch, clipping, optimizer, weight decay; and the images' pixels drawn once for all
(binarized_mnist) instead of anew at every visit, on other test images, whose column is its own. No
paper has this table; each part is one that some papers credit.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "binarised MNIST, 10,000 test images, 60,000 for training; dynamic but for the column that "
    "says static; nats"
)
SEEDS = (0, 1, 2)
METRICS = {"NLL": "test/nll_dynamic", "NLL, static": "test/nll_static"}
_NONE = {"latent.name": "none"}
ROWS = {
    "as it is": _NONE,
    "no averaged weights": {**_NONE, "optim.ema": 0.0},
    "constant learning rate, no warm-up": {**_NONE, "optim.schedule": "constant"},
    "batch 200, a quarter of the updates": {**_NONE, "data.batch_size": 200},
    "no clipping": {**_NONE, "optim.clip_norm": 0.0},
    "Adam at 4e-3": {**_NONE, "optim.name": "adam", "optim.learning_rate": 4e-3},
    "weight decay 0.02": {**_NONE, "optim.weight_decay": 0.02},
    "static binarisation": {
        **_NONE,
        "data.name": "binarized_mnist",
        "data.binarise": "none",
        "eval.seeds": (0,),
    },
}
CPU = {"train.epochs": 1, "eval.seeds": (0,)}
CPU_SEEDS = (0,)
