"""A batch in parts gives the results of the whole batch; the parts are as large as allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.devices import microbatch


@pytest.mark.parametrize("limit, size", [(0, 12), (1, 1), (5, 4), (6, 6), (11, 6), (99, 12)])
def test_parts_give_the_results_of_the_whole_batch(limit, size):
    keys = jax.random.split(jax.random.key(0), 12)
    examples, seen = (jnp.arange(24.0).reshape(12, 2), keys), set()

    def per_example(part):
        x, key = part
        seen.add(len(x))
        return {"x": x**2, "noise": jax.vmap(jax.random.normal)(key), "nothing": x[:, :0]}

    def mean_of_examples(part):
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), per_example(part))

    whole = per_example(examples)
    seen.clear()
    each, mean = (
        jax.jit(lambda e, f=f, g=g: f(g, e, limit))(examples)
        for f, g in ((microbatch.concatenated, per_example), (microbatch.mean, mean_of_examples))
    )
    assert seen == {size}
    for name in whole:
        np.testing.assert_allclose(each[name], whole[name], rtol=1e-6)
        np.testing.assert_allclose(mean[name], whole[name].mean(axis=0), rtol=1e-5)


def test_accelerators_take_the_whole_batch():
    class Accelerator:
        platform = "gpu"

    assert microbatch.limit(5, jax.devices()[0]) == 5
    assert microbatch.limit(5, Accelerator()) == 0
