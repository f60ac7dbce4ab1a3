"""Every row of every table has a legal config, and has the metrics that the table shows."""

import ast
import inspect
import json

import jax
import numpy as np
import pytest

from experiments import tables
from experiments.records import RunRecords
from rnnae import build, state
from rnnae import config as config_lib
from rnnae.evaluation import evaluate, flops
from rnnae.evaluation.features import FEATURES
from rnnae.evaluation.sample_metrics import SAMPLE_METRICS, metric_name
from rnnae.training.schedule import Schedule
from tests.fake_tables import sentences

EVERY = [
    pytest.param(table, row, id=f"{name}-{size}-{row.label}")
    for name in tables.TABLES
    for size in tables.SIZES
    for table in [tables.load(name, size)]
    for row in table.rows
]


def shape_of(config):
    return (32, 32, 3) if config.data.name == "cifar10" else (28, 28, 1)


def config_of(table, row):
    """The config of a row. If the row evaluates the weights of another, the config of that row with
    the overrides of this one."""
    if not row.weights_from:
        return row.config()
    (trained,) = [r for r in table.rows if r.label == row.weights_from]
    assert not trained.weights_from and all(key.startswith("eval.") for key in row.overrides)
    config = trained.config()
    config.update_from_flattened_dict(row.overrides)
    return config


_traced = set()  # what many rows have in common is traced once


def trace(config, model, shape):
    """Traces the initial state: some models check their settings only then."""
    sections = {k: config[k].to_dict() for k in ("model", "latent", "likelihood", "optim")}
    key = json.dumps([sections, shape])
    if key not in _traced:
        optimizer, _ = build.build_optimizer(config, 1)
        jax.eval_shape(lambda: state.create(model, optimizer, shape, 0))
        _traced.add(key)


@pytest.mark.parametrize("table, row", EVERY)
def test_every_row_is_a_legal_override_of_its_config(table, row):
    config = config_of(table, row)
    config_lib.check(config)
    shape = shape_of(config)
    model = build.build_model(config_lib.resolved(config, shape))
    trace(config, model, shape)
    grey = 0 if config.data.name == "binarized_mnist" else 100
    evaluate.check_protocol(model, np.full((1, *shape), grey, np.uint8), config.data.binarise)


# Number of training images: without and with the validation images.
IMAGES = {
    "mnist": (50_000, 60_000),
    "binarized_mnist": (50_000, 60_000),
    "fashion_mnist": (50_000, 60_000),
    "omniglot_28": (23_000, 24_345),
    "cifar10": (40_000, 50_000),
}


@pytest.mark.parametrize("table, row", EVERY)
def test_kl_annealing_ends_in_the_first_half_of_a_run(table, row):
    config = config_of(table, row)
    total = Schedule.from_config(config, IMAGES[config.data.name][config.data.train_on_all]).total
    assert config.latent.name == "none" or config.objective.anneal_steps <= total / 2


def measured(config, row):
    """The names of the test metrics that a row shows."""
    model = build.build_model(config_lib.resolved(config, shape_of(config)))
    binary = {"binarized_mnist": "static"}.get(config.data.name, "8bit")
    protocol = "dynamic" if config.data.binarise == "dynamic" else binary
    of_images = of_new_images(config, protocol, row) if config.eval.samples else set()
    if row.weights_from and "test" not in config.eval.splits:
        return of_images
    names = {"loss"}
    if model.has_prior:
        names.add(f"bound_{protocol}" if model.latent_dimensions else f"nll_{protocol}")
        if model.classes:
            kinds = ("nll_given_class", "nll_unlabelled", "bayes_accuracy")
            names |= {f"{kind}_{protocol}" for kind in kinds}
        if model.orders > 1 and not model.latent_dimensions:
            names |= {f"nll_order{order}_{protocol}" for order in range(model.orders)}
        names |= (
            {"bits_per_dim_8bit"} if protocol == "8bit" and model.likelihood.discrete else set()
        )
    if model.latent_dimensions:
        names |= {"mse", "mae", "ssim"}
    if model.latent_dimensions and model.has_prior:
        names |= {"kl", "active_units", "mutual_information"}
        names |= {f"nll_{protocol}_is{k}" for k in [config.eval.importance_samples] if k}
    of_training = {f"train/{name}" for name in names if name.startswith(("nll", "bound", "bits"))}
    found = {f"test/{name}" for name in names} | of_images
    return found | (of_training if "train" in config.eval.splits else set())


def of_new_images(config, protocol, row):
    """The names of the metrics of new images, or of others that the row shows in their place."""
    features = FEATURES[config.data.name, protocol]
    for key, usual in (("temperature", 1), ("guidance", 0)):
        if config.eval[key] != usual and row.shows != "floor":
            features += f"_{key}{config.eval[key]:g}"
    asked = row.shows == "given_class" or (config.model.classes and row.shows != "floor")
    names = [*SAMPLE_METRICS, *["class_accuracy"] * bool(asked)]
    return {f"test/{metric_name(name, features, config.eval.samples)}" for name in names}


@pytest.mark.parametrize("size", tables.SIZES)
@pytest.mark.parametrize("name", tables.TABLES)
def test_every_row_has_a_metric_and_every_metric_a_row(name, size):
    table = tables.load(name, size)
    metrics = [measured(config_of(table, row), row) for row in table.rows]
    assert all(
        any(row_metrics & {*names} for names in table.metrics.values()) for row_metrics in metrics
    )
    # Every importance-sampled likelihood that is computed is also shown.
    estimates = {name for row_metrics in metrics for name in row_metrics if "_is" in name}
    assert estimates <= {name for names in table.metrics.values() for name in names}
    for heading, names in table.metrics.items():
        # At the small size, importance sampling may be left out.
        small = size == "cpu" and any("_is" in name for name in names)
        assert small or any(row_metrics & {*names} for row_metrics in metrics), heading
        assert all(len(row_metrics & {*names}) <= 1 for row_metrics in metrics), heading


def test_likelihoods_are_only_shown_where_images_are_sampled_from_the_model_itself():
    table = tables.load("classes", "full")
    shown = {
        row.label: {m.split("/")[1].split("_")[0] for m in measured(config_of(table, row), row)}
        for row in table.rows
    }
    assert {label for label, names in shown.items() if "nll" not in names} == {
        row.label for row in table.rows if {"eval.guidance", "eval.temperature"} & {*row.overrides}
    }


def test_rows_of_different_protocols_share_no_column_of_distances():
    table = tables.load("samples", "full")
    for heading in [heading for heading in table.metrics if heading.startswith(("Fr", "KID"))]:
        rows = [
            row.label.partition(":")[0]
            for row in table.rows
            if measured(config_of(table, row), row) & {*table.metrics[heading]}
        ]
        assert set(rows) == {heading.rpartition(" ")[2]} and len(rows) > 2


def test_a_row_that_shows_other_images_evaluates_the_weights_of_another():
    every = [row for name in tables.TABLES for row in tables.load(name, "full").rows]
    showing = [row for row in every if row.shows]
    assert {row.shows for row in showing} == set(tables.SHOWS)
    assert all(row.weights_from and "test" not in row.overrides["eval.splits"] for row in showing)


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_has_a_title_a_question_and_a_protocol(name):
    table = tables.load(name, "full")
    assert table.title and len(table.caption) > 80 and table.protocol
    assert sentences(table.caption) <= 2  # and one more on the errors
    assert len({tables.slug(row.label) for row in table.rows}) == len(table.rows) > 1
    assert set(table.bold) <= set(table.metrics)
    assert {h for values, _ in table.literature.values() for h in values} <= set(table.metrics)
    assert not table.swept or any(table.swept in row.overrides for row in table.rows)
    assert set(getattr(tables.TABLES[name], "CPU_ROWS", {})) <= {row.label for row in table.rows}
    tree = ast.parse(inspect.getsource(tables.TABLES[name]))
    data = (ast.Assign, ast.Expr)
    assert all(isinstance(node, data) for node in tree.body), "a table contains only data"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, first, tolerance",
    [("cells", "LSTM", 0.02), ("depth", "1 layer", 0.03), ("sweep_cells", "minGRU", 0.03)],
)
@pytest.mark.parametrize("size", [pytest.param("full", marks=pytest.mark.exhaustive), "cpu"])
def test_rows_are_compared_at_equal_flop(name, first, tolerance, size):
    flop = {}
    for row in tables.load(name, size).rows:
        config = config_lib.resolved(row.config(), (28, 28, 1))
        flop[row.label] = flops.training(build.build_model(config))
    for label, value in flop.items():
        assert value == pytest.approx(flop[first], rel=tolerance), label


@pytest.mark.slow
@pytest.mark.parametrize("size", [pytest.param("full", marks=pytest.mark.exhaustive), "cpu"])
def test_rows_of_tokens_train_with_equal_arithmetic(size):
    flop = {}
    for row in tables.load("tokens", size).rows:
        config = config_lib.resolved(row.config(), (28, 28, 1))
        flop[row.label] = flops.training(build.build_model(config)) * config.train.max_steps
    assert max(flop.values()) < 1.01 * min(flop.values())


def test_what_a_run_fills_in_from_its_data_is_no_difference_from_its_row():
    (row, *_) = tables.load("classes", "full").rows
    config = config_lib.resolved(row.config(), (28, 28, 1), "fingerprint", ("zero", "one"))
    records = RunRecords("a run", config.to_dict())
    assert records.differences(row, config.seed, {}) == ""
    records.config["model"]["width"] = 3
    assert "config.model.width: 3 there" in records.differences(row, config.seed, {})
