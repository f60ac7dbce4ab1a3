"""Every row of every table can be run, and is what its table says."""

import ast
import importlib.util
import inspect

import jax
import numpy as np
import pytest

from experiments import tables
from rnnae import config as config_lib
from rnnae import evaluate, flops, sample, state


def config_of(row):
    """The config of a row, as its command makes it."""
    spec = importlib.util.spec_from_file_location("config_of_a_row", row.config)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.update_from_flattened_dict(row.overrides)
    return config


EVERY = [
    pytest.param(table, row, id=f"{name}-{size}-{row.label}")
    for name in tables.TABLES
    for size in tables.SIZES
    for table in [tables.load(name, size)]
    for row in table.rows
]


@pytest.mark.parametrize("table, row", EVERY)
def test_every_row_is_a_legal_override_of_its_config(table, row):
    labels = {r.label: r for r in table.rows}
    if row.trained:
        assert not labels[row.trained].trained
        assert all(key.startswith("eval.") for key in row.overrides)
        row = labels[row.trained]
    config = config_of(row)
    config_lib.check(config)
    shape = (32, 32, 3) if config.data.name == "cifar10" else (28, 28, 1)
    model, optimizer, _ = sample.build(config_lib.resolved(config, shape), 1)
    jax.eval_shape(lambda: state.create(model, optimizer, shape, 0))  # a model checks itself late
    grey = 0 if config.data.name == "binarized_mnist" else 100
    evaluate.check_protocol(model, np.full((1, *shape), grey, np.uint8), config.data.binarise)


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_says_what_it_is_about(name):
    table = tables.load(name, "full")
    assert table.title and len(table.question) > 80 and table.protocol
    assert len({row.label for row in table.rows}) == len(table.rows) > 1
    assert set(getattr(tables.TABLES[name], "CPU_ROWS", {})) <= {row.label for row in table.rows}
    tree = ast.parse(inspect.getsource(tables.TABLES[name]))
    data = (ast.Assign, ast.Expr)
    assert all(isinstance(node, data) for node in tree.body), "a table is data"


@pytest.mark.parametrize(
    "name, first, tolerance", [("cells", "LSTM", 0.02), ("depth", "1 layer", 0.03)]
)
@pytest.mark.parametrize("size", tables.SIZES)
def test_rows_are_compared_at_equal_arithmetic(name, first, tolerance, size):
    found = {}
    for row in tables.load(name, size).rows:
        config = config_lib.resolved(config_of(row), (28, 28, 1))
        found[row.label] = flops.training(sample.build(config, 1)[0])
    for label, value in found.items():
        assert value == pytest.approx(found[first], rel=tolerance), label
