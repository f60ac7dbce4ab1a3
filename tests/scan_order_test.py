"""Every order is an exact bijection, and its tokens are in the documented order."""

import numpy as np
import pytest

from rnnae.errors import ConfigError
from rnnae.scan_order import ORDERS, scan_order


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3), (4, 4, 2)])
def test_inverse_is_exact(name, shape):
    order = scan_order(name, shape, patch=4)
    image = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    tokens = order.to_tokens(image)
    assert tokens.shape == (order.steps, 2, order.token_size)
    assert np.array_equal(order.to_image(tokens), image)


@pytest.mark.parametrize(
    "name, first, second",
    [
        ("rows", [0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]),
        ("columns", [0, 6, 12, 18], [1, 7, 13, 19]),
        ("patches", [0, 1, 6, 7], [2, 3, 8, 9]),
        ("pixels", [0], [1]),
    ],
)
def test_order_of_tokens(name, first, second):
    image = np.arange(24).reshape(1, 4, 6, 1)
    tokens = scan_order(name, (4, 6, 1), patch=2).to_tokens(image)
    assert tokens[0, 0].tolist() == first
    assert tokens[1, 0].tolist() == second


def test_parameter_maps_may_have_more_channels():
    order = scan_order("patches", (4, 6, 3), patch=2)
    image = np.arange(4 * 6 * 30).reshape(1, 4, 6, 30)
    assert np.array_equal(order.to_image(order.to_tokens(image)), image)


@pytest.mark.parametrize("patch, words", [(3, "divide"), (0, "at least 1")])
def test_a_patch_that_does_not_fit_is_refused(patch, words):
    with pytest.raises(ConfigError, match=words):
        scan_order("patches", (28, 28, 1), patch=patch)


def test_unknown_order_lists_the_choices():
    with pytest.raises(ConfigError, match="rows, columns"):
        scan_order("spiral", (28, 28, 1))
