"""--mode report: one page of a run, the same bytes each time, whatever its files are called."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnnae import files
from rnnae.config import default, resolved
from rnnae.errors import CheckpointError, ConfigError, RnnaeError
from rnnae.evaluation import figures, run_report
from rnnae.records import model_card
from rnnae.records.writer import Writer
from tests import damage, inert

SCRIPT = "<script>alert(1)"
ENVIRONMENT = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abcdef",
    "devices": "1 x cpu",
    "machine": "A <b>fast</b> one",
    "cores": 2,
    "python": "3.11.7",
    "versions": {"jax": "0.10.2", "rnnae": ""},
}
START = ENVIRONMENT | {"parameters": 1234, "training_flop_per_image": 5e6, "total_steps": 9}


def make_run(workdir: Path, steps: int = 9, **changes) -> Path:
    """The records of a run of nine steps after `steps` of them, without a training."""
    config = default("sequence")
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    config = resolved(config, (8, 8, 1), "", ("low", SCRIPT))
    with Writer(workdir, resume_step=None, tensorboard=False) as writer:
        writer.write_config(config.to_dict())
        writer.write_start(0, START)
        for step in range(3, steps + 1, 3):
            writer.write_metrics(step, step / 3, {"train/loss": 9.0 / step})
            writer.write_timing(step, seconds=20.0 * step, images_per_second=123.4)
        if steps == 9:
            values = {"nll_dynamic": 78.64459, "nll_dynamic_se": 0.1882, "loss": 1.0}
            values |= {"nll_dynamic_seed0": 78.7, "nll_dynamic_seed1": 78.6}
            writer.write_metrics(9, 3.0, {f"test/{name}": x for name, x in values.items()})
    return workdir


def draw(workdir: Path, *names: str) -> None:
    (workdir / files.FIGURES).mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(np.full((4, 4), 99, np.uint8)).save(workdir / files.FIGURES / name)


def evaluate(workdir: Path) -> None:
    values = {"test/frechet_rows64_10k": 1.25, "test/kl_by_step": [1.0]}
    evaluation = {"environment": ENVIRONMENT, "eval": {"samples": 10_000}, "step": 9, **values}
    (workdir / files.EVALUATION).write_text(json.dumps(evaluation))


def read(workdir: Path, **kwargs) -> str:
    """The text of the page of a run, which is inert."""
    return inert.check(run_report.write(workdir, **kwargs).read_text(encoding="utf-8"))


def test_a_page_has_the_numbers_of_the_run(tmp_path):
    workdir = make_run(tmp_path / "mine", model__width=77)
    draw(workdir, "generated.png", "canvas.gif", "curves.png")
    evaluate(workdir)
    text = read(workdir)
    words = " ".join(text.split())
    assert "Finished: 9 steps, 3 epochs." in words and "1,234" in words and "123 images/s" in words
    assert "nll_dynamic 78.645 0.19 78.7 78.6" in words  # value, standard error, seeds 0 and 1
    assert "test/frechet_rows64_10k 1.25" in words and "samples=10000" in words
    assert "config.model.width 77 96" in words and "config.data.shape" not in words
    assert "--config configs/mnist.py --config.model.width=77" in words
    assert "3.0 min, 0.1 CPU-hours on 2 cores" in words and "commit abcdef" in words
    page = (workdir / files.REPORT).read_text()
    assert page.count("data:image/png") == 2 and page.count("data:image/gif") == 1


def test_the_same_run_has_the_same_page_in_another_process(tmp_path):
    workdir = make_run(tmp_path / "mine")
    draw(workdir, "b.png", "a.png", "generated.png")
    evaluate(workdir)
    ours = run_report.write(workdir).read_bytes()
    assert run_report.write(workdir, tmp_path / "again.html").read_bytes() == ours
    done = subprocess.run(
        [sys.executable, "-m", "rnnae.main", "--mode=report", f"--workdir={workdir}"],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout == f"report in {workdir / files.REPORT}\n"
    assert (workdir / files.REPORT).read_bytes() == ours


def test_a_run_that_is_called_a_script_is_inert(tmp_path):
    workdir = make_run(tmp_path / SCRIPT, data__name="![x](http://example.org/x.png)")
    draw(workdir, f"{SCRIPT}.png", '" onerror="alert(1).png')
    (workdir / files.FIGURES / "no picture.png").write_text("a secret")
    text = read(workdir)
    assert text.count(SCRIPT) == 4  # title, heading, class and figure
    assert "![x](http://example.org/x.png), 8x8x1" in text and "A <b>fast</b> one" in text
    assert "no picture.png is no PNG or GIF" in text and "secret" not in text


@pytest.mark.parametrize(
    "steps, words",
    [(0, "Not finished: there are no metrics yet."), (6, "Not finished: 6 of 9 steps, 2 epochs.")],
)
def test_an_unfinished_run_has_a_page_that_says_so(steps, words, tmp_path):
    text = read(make_run(tmp_path / "run", steps))
    assert words in text and "Nothing was measured yet." in text
    assert text.count("There are none yet.") == 1 + (steps == 0)  # pictures; learning curves


def test_a_run_that_was_only_validated_shows_that(tmp_path):
    workdir = make_run(tmp_path / "run", 6)
    with (workdir / files.METRICS).open("a") as file:
        file.write('{"step": 6, "epoch": 2.0, "valid/loss": 5.0, "valid/mse": 0.25}\n')
    text = read(workdir)
    assert "Validation metrics" in text and "mse, mae and ssim are of pixels" in text


def test_the_command_of_a_page_is_words_of_a_shell(tmp_path):
    changes = {"eval__splits": ("train", "test"), "data__background": "it's a b"}
    text = read(make_run(tmp_path / "run", **changes))
    (line,) = [line for line in text.splitlines() if line.startswith("python -m rnnae.main")]
    words = shlex.split(line)
    assert words[3:5] == ["--config", "configs/mnist.py"] and len(words) == 7
    assert set(words[5:]) == {
        '--config.eval.splits=("train", "test")',
        "--config.data.background=it's a b",
    }


def test_the_name_of_a_seed_has_that_of_its_directory(tmp_path):
    assert "mine/seed1" in read(make_run(tmp_path / "mine" / "seed1"))
    text = read(make_run(tmp_path / "mine" / "seedling"))
    assert "seedling" in text and "mine/seedling" not in text


def test_no_run_and_no_place_for_the_page_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="has no run"):
        run_report.write(tmp_path)
    workdir = make_run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no such directory"):
        run_report.write(workdir, tmp_path / "none" / "page.html")
    (workdir / files.REPORT).mkdir()
    with pytest.raises(ConfigError, match="is a directory"):
        run_report.write(workdir)


@pytest.mark.parametrize("name", [files.METRICS, files.TIMING, files.STARTS, files.EVALUATION])
def test_a_damaged_record_is_left_out_or_named_in_one_line(name, tmp_path):
    workdir = make_run(tmp_path / "run", 0)
    evaluate(workdir)
    for form in (*damage._FORMS, '{"step": 3}', '{"step": 3, "test/loss": "x", "epoch": 1.0}\n'):
        (workdir / name).write_text(form)
        for make in (read, lambda run: model_card.text("mine", run, "train", step=9)):
            try:
                make(workdir)
            except RnnaeError as error:
                assert str(workdir) in str(error) and "\n" not in str(error)


def test_an_unknown_number_of_cores_is_not_multiplied(tmp_path):
    workdir = make_run(tmp_path / "run")
    starts = workdir / files.STARTS
    starts.write_text(starts.read_text().replace('"cores": 2', '"cores": 0'))
    card = model_card.text("mine", workdir, "train", step=9)
    assert "3.0 min\n" in card and "CPU-hours" not in card


def test_a_card_has_metrics_of_its_own_weights_only(tmp_path):
    """A run that was tested after 9 steps, and continued to 12."""
    workdir = make_run(tmp_path / "run")
    card = model_card.text("mine", workdir, "train", step=9)
    assert "| nll_dynamic | 78.645 | 0.19 | 78.7 | 78.6 |" in card
    with pytest.raises(CheckpointError, match="of its weights after step 12: .* --mode evaluate"):
        model_card.text("mine", workdir, "train", step=12)
    evaluation = {"step": 12, "test/loss": 1.0, "test/nll_dynamic": 77.0}
    (workdir / files.EVALUATION).write_text(json.dumps(evaluation))
    assert "| nll_dynamic | 77 |" in model_card.text("mine", workdir, "train", step=12)
    assert "| nll_dynamic | 78.645 |" in model_card.text("mine", workdir, "train", step=9)


def test_every_figure_has_a_caption():
    names = {write.__name__.removeprefix("_") for write in figures._WRITERS}
    assert names - {"frames"} <= run_report._FIGURES.keys()  # frames are canvas.gif
