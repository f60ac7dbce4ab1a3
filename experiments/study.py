"""The journal of a search, as a study of Optuna: the settings of its trials and what they reached.

Optuna proposes settings by the values of the trials at the first rung. What a trial has reached at
all rungs is a user attribute of the study under the name of the trial, as `note` writes it. So a
report needs the journal only.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from experiments.jobs import Run
from experiments.spaces import Space
from rnnae import files
from rnnae.errors import ConfigError, check_choice, import_optional
from rnnae.records.writer import read_metrics, read_starts, read_timings

_OF_START = ("commit", "date", "devices", "machine", "parameters", "training_flop_per_image")


def import_optuna():
    optuna = import_optional("optuna", 'pip install "rnnae[search]"')
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(space: Space, journal: Path):
    """The study in a journal, which is created if it is not there.

    ConfigError if it belongs to another version of the space.
    """
    optuna = import_optuna()
    if journal.exists():
        text = journal.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:  # a kill cut the last line short
            files.replace_file(journal, lambda path: path.write_bytes(whole))
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    if space.name not in optuna.get_all_study_names(storage):
        study = optuna.create_study(study_name=space.name, storage=storage)
        study.set_user_attr("space", space.to_json())
    study = optuna.load_study(study_name=space.name, storage=storage)
    # Random settings of a search that continues must not repeat those that it has had.
    seed = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    if study.user_attrs.get("space") != space.to_json():
        raise ConfigError(
            f"{journal} is of another version of the space {space.name}: move its directory away"
        )
    return study


def proposals(study, space: Space, trials: int) -> Iterator:
    """The trials that have no value: those of a search that was stopped, and then new ones until
    there are `trials` in all. Each has `number` and `params`."""
    states = import_optuna().trial.TrialState
    for trial in study.get_trials(states=[states.RUNNING]):
        if trial.params.keys() == space.parameters.keys():
            yield trial
        else:  # the search was killed while it noted the settings
            give_up(study, trial.number)
    distributions = {key: _distribution(values) for key, values in space.parameters.items()}
    while len(study.get_trials(deepcopy=False)) < trials:
        yield study.ask(distributions)


def give_up(study, number: int) -> None:
    """The trial cannot have a value."""
    study.tell(number, state=import_optuna().trial.TrialState.FAIL)


def valued(study) -> list:
    """The trials that have a value at the first rung, in the order of their numbers."""
    return study.get_trials(states=[import_optuna().trial.TrialState.COMPLETE])


def importance(study) -> dict[str, float]:
    """The share of each parameter in the variance of the values at the first rung, by fANOVA
    (Hutter et al. 2014), the largest first. They sum to 1; of a single trial they are not known."""
    optuna = import_optuna()
    if sum(math.isfinite(trial.value) for trial in valued(study)) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _distribution(values: dict):
    """The values of a parameter as Optuna has them."""
    distributions = import_optuna().distributions
    if "choices" in values:
        return distributions.CategoricalDistribution(values["choices"])
    if isinstance(values["low"], int):
        return distributions.IntDistribution(**values)
    return distributions.FloatDistribution(**values)


def value_at(run: Run, metric: str, epochs: int) -> float | None:
    """The metric of a run at its validation after `epochs` epochs; None if it is not there yet.

    ConfigError if the validation does not measure the metric.
    """
    for record in read_metrics(run.workdir):
        if "valid/loss" in record and record["epoch"] >= epochs:
            check_choice([n for n in record if n.startswith("valid/")], "METRIC", metric)
            return record[metric] if math.isfinite(record[metric]) else math.inf
    return None


def note(study, run: Run, space: Space, value: float) -> None:
    """Notes what a trial has reached: its values so far, the last of which is `value`; the seconds
    of its training; and where and with what it was started."""
    found = [value_at(run, space.metric, epochs) for epochs in space.rungs]
    values = [v for v in found if v is not None and math.isfinite(v)]
    if not math.isfinite(value):
        values.append(value)
    timings, starts = read_timings(run.workdir), read_starts(run.workdir)
    reached = {
        "values": values,
        "seconds": timings[-1]["seconds"] if timings else 0.0,
        "start": {key: starts[-1][key] for key in _OF_START} if starts else {},
    }
    study.set_user_attr(run.row.label, reached)
