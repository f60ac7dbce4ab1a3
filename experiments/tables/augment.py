"""Augment: what are transformed training images worth, of which the model is told?

configs/mnist_sweep.py without a latent, trained on few images as they are, shifted, or also turned,
scaled and sheared, with the model told how (distribution augmentation, Jun et al. 2020). The NLL is
that of images as they are.

Half of the visits show a transformed image (`config.data.augment`); shifts are of up to two pixels
each way. The training set is small so that the model overfits: the last column is the NLL of images
that it was trained on.
"""

CONFIG = "configs/mnist_sweep.py"
PROTOCOL = (
    "MNIST with dynamic binarisation, 20,000 training images for 9 (short) and 36 epochs (long), "
    "with --size cpu 2,000 for 10 and 40, and 10,000 test images; exact likelihood in nats per "
    "image"
)
SEEDS = (0, 1, 2)
METRICS = {"NLL": "test/nll_dynamic", "training images": "train/nll_dynamic"}
BOLD = ("NLL",)
_AUGMENT, _LENGTHS = ("none", "shift", "affine"), {"short": 9, "long": 36}
ROWS = {
    f"{augment}, {length}": {
        "latent.name": "none",
        "model.input_window": True,
        "data.train_on_all": False,
        "data.train_images": 20_000,
        "data.augment": augment,
        "train.epochs": epochs,
        "eval.splits": ("train", "test"),
    }
    for length, epochs in _LENGTHS.items()
    for augment in _AUGMENT
}
CPU = {"eval.seeds": (0,)}
CPU_ROWS = {
    f"{augment}, {length}": {"data.train_images": 2000, "train.epochs": epochs}
    for length, epochs in {"short": 10, "long": 40}.items()
    for augment in _AUGMENT
}
CPU_SEEDS = (0,)
CPU_ANSWER = (
    "Only when the model overfits: after 40 epochs of 2,000 images the NLL is 82.65 ± 0.22 nats "
    "without, 81.24 ± 0.21 with shifts and 81.45 ± 0.21 with affine transformations; after 10 "
    "epochs it is 83.65, 84.42 and 84.77, all ± 0.21."
)
