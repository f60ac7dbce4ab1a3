"""Benchmarks: contenders exist, matrix products are counted correctly, tables show the results."""

import ast
from pathlib import Path

import pytest

from experiments.benchmarks import report, run, turns
from experiments.benchmarks.cases import CASES, Case
from experiments.benchmarks.contenders import ours
from rnnae import build
from rnnae.evaluation import flops

CONFIGS = {
    "lstm": ours.row_config,
    "gru": ours.row_config,
    "draw": ours.draw_config,
    "flagship": ours.flagship_config,
}


@pytest.mark.parametrize(
    "name, size", [(name, size) for name in CONFIGS for size in CASES[name].sizes]
)
def test_the_matmuls_of_a_case_have_the_flops_of_the_model(name, size):
    """Within 2 %: the products of DRAW's windows are not counted."""
    case = CASES[name]
    config = CONFIGS[name](case.sizes[size])
    config.data.shape = (28, 28, 1)
    model = build.build_model(config)
    counted = sum(2 * m * k * n * count for m, k, n, count in case.matmuls(case.sizes[size]))
    assert counted / case.sizes[size]["batch"] == pytest.approx(flops.forward(model), rel=0.02)


@pytest.mark.parametrize("name", CASES)
def test_every_contender_exists(name):
    """Modules are parsed, not imported: the other libraries need not be installed."""
    for target, _ in CASES[name].contenders.values():
        module, function = target.split(".")
        tree = ast.parse((Path(ours.__file__).parent / f"{module}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_a_gpu_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    with pytest.raises(SystemExit) as refused:
        run.main(["lstm", "--cores", "1", "--device", "gpu"])
    assert refused.value.code == 2 and "no GPU on this machine" in capsys.readouterr().err


CASE = Case("A case", {"small": {"batch": 10}}, {}, matmuls=lambda size: [(10, 20, 30, 2)])


def measured(seconds):
    return {"seconds": seconds, "memory": 2**20, "first": 1.0, "versions": {"jax": "1.0"}}


def test_a_table_has_speeds_ratios_shares_and_failures(tmp_path):
    results = {
        "small": {
            "float32": {
                "rnnae": measured([0.5, 0.25, 1.0]),
                "PyTorch": measured([1.0, 1.0, 1.0]),
                "other": {"error": "No module named 'other'"},
                report.MATMULS: measured([0.125, 0.125, 0.125]),
            }
        }
    }
    text = report.table(CASE, results, "2 cores of one", allocator="keep")
    assert "| rnnae | 20 (10-40) | 2.00 | 0 | 25 % | 1 MiB | 1.0 s |" in text
    assert "| other | did not run: No module named 'other' |" in text
    assert "2 cores of one; jax 1.0" in text and "Medians of 3 rounds" in text
    report.chart(CASE, results, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_contender_that_fails_does_not_stop_the_others():
    tiny = {"steps": 3, "width": 2, "batch": 2}
    targets = {"bad": ("peers_flax.nothing", tiny), "good": ("peers_flax.linear", tiny)}
    results = turns.measure(targets, rounds=1, cores=1, allocator="default")
    assert "nothing" in results["bad"]["error"]
    assert len(results["good"]["seconds"]) == 1 and results["good"]["memory"] > 2**20


@pytest.mark.slow
def test_a_contender_that_is_killed_between_its_turns_does_not_stop_the_others(monkeypatch):
    tiny = {"steps": 3, "width": 2, "batch": 2}
    measure, calls = turns.Contender.measure, []

    def killed(contender):
        calls.append(contender)
        if len(calls) == 2:  # the second turn of the first contender
            contender._process.kill()
            contender._process.wait()
        return measure(contender)

    monkeypatch.setattr(turns.Contender, "measure", killed)
    targets = {"one": ("peers_flax.linear", tiny)}
    results = turns.measure(targets, rounds=2, cores=1, allocator="default")
    assert results["one"] == {"error": "exit status -9"}


def test_a_table_without_the_matmuls_contender_has_no_share(tmp_path):
    results = {
        "small": {"float32": {"rnnae": measured([0.5]), report.MATMULS: {"error": "killed"}}}
    }
    assert "| rnnae | 20 (20-20) |  | 0 |  | 1 MiB |" in report.table(CASE, results, "", "keep")
    report.chart(CASE, results, tmp_path / "chart.png")
    results["small"]["float32"]["rnnae"] = {"error": "killed"}
    assert report.table(CASE, results, "", "keep").count("did not run: killed") == 2
    report.chart(CASE, results, tmp_path / "chart.png")


@pytest.mark.parametrize(
    "argv, message",
    [
        (["lstmm"], "choose from"),
        (["--cores", "4096"], "4096: this process may use"),
        (["--rounds", "0"], "'0' is not a number above 0"),
        (["--cores=-1"], "'-1' is not a number above 0"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_measured(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(argv)
    assert stopped.value.code == 2 and message in capsys.readouterr().err
