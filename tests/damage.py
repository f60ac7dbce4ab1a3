"""Damages every kind of file of a run and of a prepared data set, and checks what is made of it.

    python -m tests.damage 500

Each input is one damage to one file or directory. Then a run is opened to continue it, to evaluate
it, and to sample from it; a data set is opened to read its images. Each of these must be right or
be refused in one line:

    right      the weights, latents and records are those of the run, or of an older step of it and
               a line says so; the images are those that were prepared
    refused    an error of rnnae or of the operating system, whose message is one line
    wrong      anything else

A value that changes within a line of metrics.jsonl and is still a number is not detected.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rnnae import build, files, state
from rnnae.config import saved_config
from rnnae.errors import RnnaeError
from rnnae.evaluation import loading
from rnnae.records.checkpoint import Checkpoints
from rnnae.records.writer import Writer, read_metrics
from rnnae.training.train import train
from tests import runs

_FORMS = ("", "[]", "{}", '"x"', "null", "5", '{"model": 5}', "[" * 5000)


class Prepared:
    """A prepared folder, one of other images under the same name, and the images of the first."""

    def __init__(self, directory: Path):
        self.files, self.other = directory / "set", directory / "other_set"
        self.config = runs.config(directory, data__data_dir=str(self.files))
        self.images, memory = self._open(), _prepared_folder(self.files)
        images = sorted((directory / "images").glob("*.png"))
        contents = [path.read_bytes() for path in images]
        for path, content in zip(images, contents[1:] + contents[:1], strict=True):
            path.write_bytes(content)
        self.config.data.data_dir = str(self.other)
        assert self._open() != self.images
        _prepared_folder(self.other).rename(self.other / memory.name)
        for path, content in zip(images, contents, strict=True):
            path.write_bytes(content)

    @property
    def actions(self) -> tuple[Callable[[Path], None], ...]:
        return (self.open,)

    def open(self, data_dir: Path) -> None:
        """Opens the images as training does; AssertionError if they are others."""
        self.config.data.data_dir = str(data_dir)
        with contextlib.redirect_stdout(io.StringIO()):
            assert self._open() == self.images, "other images"

    def _open(self) -> list[bytes]:
        return [np.asarray(images[:]).tobytes() for images in build.load_splits(self.config).images]


def _prepared_folder(data_dir: Path) -> Path:
    (prepared,) = data_dir.glob("folder_*")
    return prepared


class Trained:
    """A run, another one that differs by its seed, and what is right for the first."""

    def __init__(self, directory: Path):
        self.files, self.other = directory / "run", directory / "other"
        for seed, workdir in enumerate((self.files, self.other)):
            with contextlib.redirect_stdout(io.StringIO()):
                train(runs.config(directory, seed=seed, train__tensorboard=False), workdir)
        self.config = saved_config.get_config(str(self.files / files.CONFIG))
        model, (optimizer, _) = (
            build.build_model(self.config),
            build.build_optimizer(self.config, 1),
        )
        self.like = state.create(model, optimizer, model.image_shape, self.config.seed)
        with Checkpoints(self.files) as checkpoints:
            latest, best = (checkpoints.restore(self.like, kind) for kind in ("latest", "best"))
            self.newest = int(latest.step)
            shutil.copytree(self.files, directory / "older")
            shutil.rmtree(directory / f"older/checkpoints/latest/{self.newest}")
        with Checkpoints(directory / "older") as checkpoints:
            older = checkpoints.restore(self.like)
        self.states = {int(s.step): _bytes(s) for s in (latest, best, older)}
        self.weights = {int(s.step): _bytes(s.ema) for s in (latest, best, older)}
        self.latents = loading.load(self.files).sample_latents(4, seed=1)
        self.metrics = read_metrics(self.files)

    @property
    def actions(self) -> tuple[Callable[[Path], None], ...]:
        return self.evaluate, self.sample, self.resume

    def resume(self, workdir: Path) -> None:
        """Opens the run as training does; AssertionError if the result is wrong."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            saved_config.refuse_another_run(self.config, workdir)
            with Checkpoints(workdir, self.config.to_dict()) as checkpoints:
                restored = checkpoints.restore(self.like, repair=True)
            step = None if restored is None else int(restored.step)
            with Writer(workdir, resume_step=step, tensorboard=False) as writer:
                records = writer.metrics()
        if step is None:
            assert "there is no checkpoint" in said.getvalue(), "starts again and says nothing"
            return
        assert _bytes(restored) == self.states[step], "another state"
        assert self._is_right(step, workdir, said.getvalue()), "an older state, unsaid"
        missing = len([r for r in self.metrics if r["step"] <= step]) - len(records)
        assert not missing or files.METRICS in said.getvalue(), "records are missing, unsaid"

    def evaluate(self, workdir: Path) -> None:
        """Loads the weights; AssertionError if they are wrong."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            run = loading.load(workdir)
        assert run.config.to_dict() == self.config.to_dict(), "another config"
        assert _bytes(run.params) == self.weights[run.step], "other weights"
        assert self._is_right(run.step, workdir, said.getvalue()), "older, unsaid"

    def sample(self, workdir: Path) -> None:
        """Draws latents; AssertionError if they are of another mixture."""
        with contextlib.redirect_stdout(io.StringIO()):
            latents = loading.load(workdir).sample_latents(4, seed=1)
        assert np.array_equal(latents, self.latents), "latents of another mixture"

    def _is_right(self, step: int, workdir: Path, said: str) -> bool:
        """Whether this is the step to load, or a line says why it is an older one. Without the
        newest step the run is simply an older one, and all commands print the step they use."""
        newest = workdir / f"checkpoints/latest/{self.newest}"
        return step == self.newest or "falling back" in said or not os.path.lexists(newest)


def damages(path: Path, other: Path, generator: random.Random) -> dict[str, Callable[[], None]]:
    """Name -> what does it to `path`; `other` is the same file of another run."""

    def replace(make: Callable[[], None]) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make()

    def flip() -> None:
        content = bytearray(path.read_bytes())
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)

    def borrow() -> None:
        if other.exists():
            shutil.copytree(other, path) if other.is_dir() else shutil.copy(other, path)

    found = {
        "deleted": lambda: replace(lambda: None),
        "symlink loop": lambda: replace(lambda: path.symlink_to(path)),
        "another run's": lambda: replace(borrow),
    }
    if path.is_dir():
        return found | {
            "a file": lambda: replace(path.touch),
            "alien file": (path / ".DS_Store").touch,
        }
    found["directory"] = lambda: replace(path.mkdir)
    size = path.stat().st_size
    if size:
        found |= {f"bit flip {i}": flip for i in range(4)}
        found["half"] = lambda: path.write_bytes(path.read_bytes()[: size // 2])
        found["zeros"] = lambda: path.write_bytes(bytes(size))
    if path.suffix in (".json", ".jsonl") or path.name.startswith("_"):
        for form in _FORMS:
            found[f"holds {form[:12]}"] = lambda form=form: path.write_text(form)
    return found


def outcome(action: Callable[[Path], None], workdir: Path) -> str:
    """right, refused, or what is wrong."""
    try:
        action(workdir)
        return "right"
    except (RnnaeError, OSError) as error:
        text = str(error)
        if "\n" in text or len(text) > 2000:
            return f"the error is not one short line: {text[:200]!r}"
        return "refused"
    except AssertionError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]


def matrix(
    directory: Path, most: int | None = None, seed: int = 0, part: tuple[int, int] = (0, 1)
) -> tuple[collections.Counter, list]:
    """(count by result, the wrong ones) of at most `most` inputs, drawn at random.

    `part` (i, n) takes part i of n of them.
    """
    generator = random.Random(seed)
    inputs = [
        (subject, path, name)
        for subject in (Trained(directory), Prepared(directory))
        for path in sorted(subject.files.rglob("*"))
        if ".lock" not in path.name
        and not {"pictures", "tensorboard"} & {*path.relative_to(subject.files).parts}
        for name in damages(path, path, generator)
    ]
    generator.shuffle(inputs)
    counts, wrong = collections.Counter(), []
    for subject, path, name in inputs[:most][part[0] :: part[1]]:
        relative = path.relative_to(subject.files)
        for action in subject.actions:
            copy = directory / "damaged"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(subject.files, copy)
            damages(copy / relative, subject.other / relative, generator)[name]()
            result = outcome(action, copy)
            counts[result if result in ("right", "refused") else "wrong"] += 1
            if result not in ("right", "refused"):
                wrong.append(f"{relative}: {name}: {action.__name__}: {result}")
    return counts, wrong


def _bytes(tree) -> list[bytes]:
    def plain(x):
        key = isinstance(x, jax.Array) and jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if key else x).tobytes()

    return [plain(x) for x in jax.tree.leaves(tree)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("most", type=int, nargs="?", help="number of inputs; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        counts, wrong = matrix(Path(directory), arguments.most, arguments.seed)
    print("\n".join(wrong))
    print(json.dumps(counts))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
