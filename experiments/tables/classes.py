"""Classes: what does a decoder gain from being told the class?

configs/mnist_classes.py with and without classes, with three fractions of training visits whose
class is unknown (label dropout), and sampled with guidance (Ho and Salimans 2022, equation 6) or at
another temperature. The class accuracy is the share of new images that a classifier assigns to the
class that was asked for.

Every class is asked for equally often. Metrics of new images compare 10,000 of them (2,000 at
`--size cpu`) with the test images, in the features `rows64_dynamic`. Guidance and temperature
change what is sampled and not the model. Its likelihoods are therefore in the row whose weights are
sampled, and a row with guidance or temperature has none. NLL unlabelled is that of the model when
it is told no class. Without label dropout it has never been trained for that.
"""

CONFIG = "configs/mnist_classes.py"
PROTOCOL = "MNIST with dynamic binarisation, 60,000 training and 10,000 test images; nats per image"
SEEDS = (0, 1, 2)
# How the names of metrics of new images go on after the features.
_ENDS = tuple(
    f"{change}_{count}"
    for change in (
        "",
        "_guidance0.5",
        "_guidance1",
        "_guidance2",
        "_temperature0.8",
        "_temperature0.9",
    )
    for count in ("10k", "2k")
)
# Every row has the Fréchet distance, so the plot shows all rows together.
METRICS = {
    "Fréchet": tuple(f"test/frechet_rows64_dynamic{end}" for end in _ENDS),
    "precision": tuple(f"test/precision_rows64_dynamic{end}" for end in _ENDS),
    "recall": tuple(f"test/recall_rows64_dynamic{end}" for end in _ENDS),
    "class accuracy": tuple(f"test/class_accuracy_rows64_dynamic{end}" for end in _ENDS),
    "NLL": "test/nll_dynamic",
    "NLL given the class": "test/nll_given_class_dynamic",
    "NLL unlabelled": "test/nll_unlabelled_dynamic",
    "Bayes accuracy": "test/bayes_accuracy_dynamic",
}
_SAMPLED = {"eval.samples": 10_000}
_OF_CLASSES = {"weights_from": "classes", "eval.splits": ()}
ROWS = {
    "no classes": {"model.classes": 0, **_SAMPLED},
    "classes": _SAMPLED,
    "classes, label dropout 0": {"data.label_dropout": 0.0, **_SAMPLED},
    "classes, label dropout 0.5": {"data.label_dropout": 0.5, **_SAMPLED},
    "classes, guidance 0.5": {**_OF_CLASSES, "eval.guidance": 0.5},
    "classes, guidance 1": {**_OF_CLASSES, "eval.guidance": 1.0},
    "classes, guidance 2": {**_OF_CLASSES, "eval.guidance": 2.0},
    "classes, temperature 0.9": {**_OF_CLASSES, "eval.temperature": 0.9},
    "classes, temperature 0.8": {**_OF_CLASSES, "eval.temperature": 0.8},
}
CPU = {"train.max_steps": 600, "eval.seeds": (0,)}
_FEWER = {"eval.samples": 2000}
CPU_ROWS = {
    "no classes": _FEWER,
    "classes": _FEWER,
    "classes, label dropout 0": _FEWER,
    "classes, label dropout 0.5": _FEWER,
}
CPU_SEEDS = (0,)
CPU_ANSWER = (
    "After 600 steps the NLL is 81.93 ± 0.20 nats with classes and 82.30 ± 0.20 without; given "
    "the class it is 79.72 ± 0.20, and Bayes' rule has an accuracy of 0.973 ± 0.002."
)
