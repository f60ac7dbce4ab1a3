"""The arithmetic of a model: of its matrix products, which are nearly all of it."""

import math

import jax
import jax.numpy as jnp

from rnnae.models import Autoencoder


def forward(model: Autoencoder) -> int:
    """Floating-point operations of one image's terms: two for each multiplication of a matrix
    product, those of a recurrence as often as it steps. The bias of a gated recurrence is a row of
    its product (`scans.gated`) and counts as one: 0.8 % of an LSTM of width 96."""

    key, one = jax.random.key(0), jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float32)
    params = jax.eval_shape(model.init, key, one, key[None])

    def cost(images: int) -> int:
        image_BHWC = jax.ShapeDtypeStruct((images, *model.image_shape), jnp.float32)
        key_B = jax.random.split(key, images)
        return of_products(jax.make_jaxpr(model.apply)(params, image_BHWC, key_B).jaxpr)

    # What is done once for all images is nobody's; one image alone would be a vector to some
    # products.
    return cost(3) - cost(2)


def training(model: Autoencoder) -> int:
    """Of one image's update: the terms, and their gradients by inputs and by weights, as much each.
    Recomputation is not work, nor is the optimizer's."""
    return 3 * forward(model)


def of_products(jaxpr) -> int:
    """Of all matrix products of a jaxpr, those in a loop as often as it goes round; of branches
    those of the costliest."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            left, right = (variable.aval.shape for variable in equation.invars)
            (_, contracted), (_, batched) = equation.params["dimension_numbers"]
            free = [n for axis, n in enumerate(right) if axis not in (*contracted, *batched)]
            total += 2 * math.prod(left) * math.prod(free)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            branches = value if isinstance(value, tuple | list) else (value,)
            inner = [getattr(branch, "jaxpr", branch) for branch in branches]
            total += times * max((of_products(b) for b in inner if hasattr(b, "eqns")), default=0)
    return total
