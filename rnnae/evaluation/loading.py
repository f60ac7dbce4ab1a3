"""Trained runs from disk: those in a directory, and weights that come with rnnae."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import ml_collections

from rnnae import build, files, state
from rnnae import config as config_lib
from rnnae.config import saved_config, shipped
from rnnae.data.splits import Splits
from rnnae.devices import memory
from rnnae.errors import CheckpointError, ConfigError, check_choice, did_you_mean
from rnnae.evaluation.mixture import Mixture, digest
from rnnae.evaluation.trained_run import TrainedRun
from rnnae.records import weights


def load(source: str | Path, checkpoint: str = "latest") -> TrainedRun:
    """The run in the directory `source`, with its averaged parameters, `latest` or `best` on
    validation; or the weights in that directory; or else those that come with rnnae as `source`.

    A mixture over the latents is loaded if it was fitted with these parameters. Raises
    CheckpointError if there is no checkpoint that verifies, or weights are damaged; ConfigError for
    another `checkpoint`, or if the run was saved by an incompatible version of rnnae.
    """
    check_choice(config_lib.CHOICES["eval.checkpoint"], "the checkpoint", checkpoint)
    workdir = files.expand(source)
    is_weights = (workdir / files.WEIGHTS).exists()
    is_name = not (workdir / files.CONFIG).exists() and str(source) in shipped.weights()
    if is_weights or is_name:
        if checkpoint != "latest":
            raise ConfigError(f"{source} are weights, which have no {checkpoint!r} checkpoint")
        directory = shipped.find_weights(source)
        found = weights.load(directory)
        run = TrainedRun(found.model, found.params, found.config, found.step)
        return with_saved_mixtures(run, directory)
    try:
        config = saved_config.get_config(str(saved_config.find(workdir)))
    except CheckpointError as error:
        hint = did_you_mean(str, str(source), shipped.weights())
        raise CheckpointError(f"{error}{hint}") from error
    shape = tuple(config.data.shape)
    if len(shape) != 3 or min(shape) < 1:  # every run saves the shape of its images
        raise saved_config.damaged(workdir / files.CONFIG)
    memory.check_state(config, shape)
    model = build.build_model(config)
    from rnnae.records.checkpoint import Checkpoints  # imports orbax; weights do not need it

    with Checkpoints(workdir, config.to_dict()) as checkpoints:
        restored = checkpoints.restore_averages(state.shapes_of_params(model), kind=checkpoint)
    if restored is None:
        raise CheckpointError(
            f"{workdir} has no {checkpoint!r} checkpoint: "
            + ("nothing was validated; take latest" if checkpoint == "best" else "train it first")
        )
    params, step = restored
    return with_saved_mixtures(TrainedRun(model, params, config, step), workdir)


def open_run(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    weights_name: str | Path | None,
    outputs: Iterable[Path] = (),
) -> tuple[TrainedRun, Path]:
    """What a mode works with: the run in `workdir`, or these weights (a name or a directory), and
    the directory that it was loaded from. `outputs` are checked before, because a mode may take
    hours until it writes them.

    What makes the run is in its own config, which has the shape of the images. `config` says how it
    is used, and where things are: `eval`, the paths of data, devices. Raises ConfigError if
    `config` cannot be run or belongs to another run, or if the results for the weights would go
    among those of another run.
    """
    config_lib.check(config)
    workdir = source = files.expand(workdir)
    if weights_name:
        source = shipped.find_weights(weights_name)
        if (workdir / files.CONFIG).exists():
            raise ConfigError(
                f"--workdir={workdir} holds a run, and the results of --weights={weights_name} "
                "would replace its own: use another --workdir"
            )
    for output in outputs:
        files.check_output(output)
    run = load(source, config.eval.checkpoint)
    shape = config.data.shape if any(config.data.shape) else run.model.image_shape
    data = run.config.data  # only the images tell whether `config` has other ones
    resolved = config_lib.resolved(config, shape, data.fingerprint, data.class_names)
    saved_config.refuse_another_run(resolved, source)
    return run, source


def with_saved_mixtures(run: TrainedRun, workdir: Path) -> TrainedRun:
    """The run with the mixtures in `workdir` that were fitted with its parameters, if any."""
    if run.model.has_prior:
        return run
    of_weights = digest(run.params)
    mixture, class_mixture = (
        Mixture.load(workdir / name, run.step, of_weights)
        for name in (files.MIXTURE, files.CLASS_MIXTURE)
    )
    return dataclasses.replace(run, mixture=mixture, class_mixture=class_mixture)


def mixture_files(run: TrainedRun) -> dict[str, bytes]:
    """The files of the mixtures of the run, by name, as `with_saved_mixtures` reads them."""
    mixtures = {files.MIXTURE: run.mixture, files.CLASS_MIXTURE: run.class_mixture}
    return {
        name: mixture.to_bytes(run.step, digest(run.params))
        for name, mixture in mixtures.items()
        if mixture is not None
    }


def load_splits_of(
    run: TrainedRun, config: ml_collections.ConfigDict, workdir: str | Path
) -> Splits:
    """The images of the run that was loaded from `workdir`; ConfigError if `config` belongs to
    another run or names other images."""
    workdir = files.expand(workdir)
    memory.check_evaluation(config, run.model.image_shape)
    if line := saved_config.other_data(config, workdir):
        print(line, flush=True)
    splits = build.load_splits(config)
    saved_config.refuse_another_run(build.resolved(config, splits), workdir)
    return splits
