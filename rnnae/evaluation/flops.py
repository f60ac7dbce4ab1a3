"""Floating-point operations of a model's matmuls, which are nearly all of its arithmetic."""

import math

import jax
import jax.numpy as jnp

from rnnae import state
from rnnae.models import Autoencoder


def forward(model: Autoencoder) -> int:
    """FLOP of a forward pass for one image: two for each multiply-add of a matmul.

    A matmul inside a recurrence counts once per step. The bias of a gated recurrence is a row of
    its matmul (`scans.gated`) and is counted too, which is 0.8 % for an LSTM of width 96.
    """

    key = jax.random.key(0)
    params = {"params": state.shapes_of_params(model)}

    def cost(images: int) -> int:
        image_BHWC = jax.ShapeDtypeStruct((images, *model.image_shape), jnp.float32)
        key_B = jax.random.split(key, images)
        return count_matmul_flops(jax.make_jaxpr(model.apply)(params, image_BHWC, key_B).jaxpr)

    # The difference leaves out work that is done once for all images. A batch of one image would
    # turn some matmuls into matrix-vector products.
    return cost(3) - cost(2)


def training(model: Autoencoder) -> int:
    """FLOP of a training step for one image: the forward pass, and the gradients with respect to
    inputs and weights, which cost as much each. Recomputation and the optimizer are not counted."""
    return 3 * forward(model)


def count_matmul_flops(jaxpr) -> int:
    """FLOP of all matmuls of a jaxpr: in a loop once per iteration, and of several branches those
    of the most expensive."""
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
            costs = [count_matmul_flops(b) for b in inner if hasattr(b, "eqns")]
            total += times * max(costs, default=0)
    return total
