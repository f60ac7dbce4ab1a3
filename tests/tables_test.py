"""Every row of every table can be run, and is what its table says."""

import ast
import inspect

import jax
import numpy as np
import pytest

from experiments import tables
from rnnae import config as config_lib
from rnnae import state
from rnnae.evaluation import evaluate, flops, trained_run
from rnnae.training.schedule import Timetable

EVERY = [
    pytest.param(table, row, id=f"{name}-{size}-{row.label}")
    for name in tables.TABLES
    for size in tables.SIZES
    for table in [tables.load(name, size)]
    for row in table.rows
]


def shape_of(config):
    return (32, 32, 3) if config.data.name == "cifar10" else (28, 28, 1)


def made_of(table, row):
    """Its config; of a row that evaluates, the one that was trained with its own settings."""
    if not row.trained:
        return row.made()
    (trained,) = [r for r in table.rows if r.label == row.trained]
    assert not trained.trained and all(key.startswith("eval.") for key in row.overrides)
    config = trained.made()
    config.update_from_flattened_dict(row.overrides)
    return config


@pytest.mark.parametrize("table, row", EVERY)
def test_every_row_is_a_legal_override_of_its_config(table, row):
    config = made_of(table, row)
    config_lib.check(config)
    shape = shape_of(config)
    model, optimizer, _ = trained_run.build(config_lib.resolved(config, shape), 1)
    jax.eval_shape(lambda: state.create(model, optimizer, shape, 0))  # a model checks itself late
    grey = 0 if config.data.name == "binarized_mnist" else 100
    evaluate.check_protocol(model, np.full((1, *shape), grey, np.uint8), config.data.binarise)


# Images to train on: without and with those of validation.
IMAGES = {
    "mnist": (50_000, 60_000),
    "binarized_mnist": (50_000, 60_000),
    "fashion_mnist": (50_000, 60_000),
    "omniglot_28": (23_000, 24_345),
    "cifar10": (40_000, 50_000),
}


@pytest.mark.parametrize("table, row", EVERY)
def test_the_price_of_a_code_has_risen_by_half_of_a_run(table, row):
    config = made_of(table, row)
    total = Timetable.of(config, IMAGES[config.data.name][config.data.train_on_all]).total
    assert config.latent.name == "none" or config.objective.anneal_steps <= total / 2


def measured(config):
    """The names of a run's test metrics."""
    model = trained_run.build(config_lib.resolved(config, shape_of(config)), 1)[0]
    binary = {"binarized_mnist": "static"}.get(config.data.name, "8bit")
    protocol = "dynamic" if config.data.binarise == "dynamic" else binary
    names = {"loss"}
    if model.has_prior:
        names.add(f"bound_{protocol}" if model.latent_dimensions else f"nll_{protocol}")
        names |= (
            {"bits_per_dim_8bit"} if protocol == "8bit" and model.likelihood.discrete else set()
        )
    if model.latent_dimensions:
        names |= {"mse", "mae", "ssim"}
    if model.latent_dimensions and model.has_prior:
        names |= {"kl", "active_units", "mutual_information"}
        names |= {f"nll_{protocol}_is{k}" for k in [config.eval.importance_samples] if k}
    return {f"test/{name}" for name in names}


@pytest.mark.parametrize("size", tables.SIZES)
@pytest.mark.parametrize("name", tables.TABLES)
def test_every_row_has_a_number_and_every_heading_a_row(name, size):
    table = tables.load(name, size)
    found = [measured(made_of(table, row)) for row in table.rows]
    assert all(any(of_row & {*names} for names in table.metrics.values()) for of_row in found)
    # No likelihood is estimated from many samples and then not told.
    estimates = {name for of_row in found for name in of_row if "_is" in name}
    assert estimates <= {name for names in table.metrics.values() for name in names}
    for heading, names in table.metrics.items():
        # At the small size an estimate of many samples may be left out.
        small = size == "cpu" and any("_is" in name for name in names)
        assert small or any(of_row & {*names} for of_row in found), heading


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_says_what_it_is_about(name):
    table = tables.load(name, "full")
    assert table.title and len(table.question) > 80 and table.protocol
    assert len({tables.slug(row.label) for row in table.rows}) == len(table.rows) > 1
    assert set(table.bold) <= set(table.metrics)
    assert {h for values, _ in table.literature.values() for h in values} <= set(table.metrics)
    assert not table.swept or any(table.swept in row.overrides for row in table.rows)
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
        config = config_lib.resolved(row.made(), (28, 28, 1))
        found[row.label] = flops.training(trained_run.build(config, 1)[0])
    for label, value in found.items():
        assert value == pytest.approx(found[first], rel=tolerance), label
