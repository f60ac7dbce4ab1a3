"""LIKELIHOODS: p(image | parameters), with one interface for all kinds of pixels.

x_BHWC is an image in [0, 1]. params_BHWP holds P parameters for each block of `block` x `block`
pixels, so its H and W are those of the image divided by `block`. Every likelihood is normalised;
log-probabilities are in nats. To add one, write a subclass of `Likelihood` in a file here, add its
line to `LIKELIHOODS`, and add its options to `config/defaults.py`.
"""

import dataclasses

from rnnae.config.options import refuse_unused
from rnnae.errors import choose
from rnnae.likelihoods.binary import Bernoulli, Categorical
from rnnae.likelihoods.gaussian import Gaussian
from rnnae.likelihoods.likelihood import Likelihood
from rnnae.likelihoods.logistic_mixture import LogisticMixture
from rnnae.likelihoods.softmax import Softmax

__all__ = ["LIKELIHOODS", "Likelihood", "likelihood"]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "logistic_mixture": LogisticMixture,
    "softmax": Softmax,
}


def likelihood(name: str, channels: int, **options) -> Likelihood:
    """The likelihood called `name` for images of `channels`.

    `options` are the other keys of `config.likelihood`. ConfigError for an unknown name, and for a
    changed option that this likelihood does not have.
    """
    kind = choose(LIKELIHOODS, "config.likelihood.name", name)
    used = [field.name for field in dataclasses.fields(kind) if field.name != "channels"]
    refuse_unused("likelihood", name, used, options)
    return kind(channels=channels, **{key: options[key] for key in used if key in options})
