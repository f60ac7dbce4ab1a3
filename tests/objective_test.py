"""The loss by hand."""

import jax.numpy as jnp
import numpy as np

from rnnae import objective
from rnnae.types import Terms


def test_loss_is_the_negative_bound_averaged_over_examples():
    terms = Terms(jnp.array([-1.0, -3.0]), jnp.array([0.5, 1.5]))
    total, means = objective.loss(terms)
    assert float(total) == 3.0
    assert means == {"loss": 3.0, "reconstruction": 2.0, "kl": 1.0}
    np.testing.assert_array_equal(objective.per_example(terms)["loss"], [1.5, 4.5])
