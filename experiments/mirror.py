"""Mirrors the metrics of a run to an experiment tracker, beside the run or after it.

    python -m experiments.mirror runs/mnist --to trackio
    python -m experiments.mirror runs/mnist --to wandb --project digits --follow

It reads metrics.jsonl, and the run does not know of it. How far it came is remembered in the
directory of the run, so that a second call sends nothing twice. `--follow` waits for more until the
test metrics are there. The tracker must be installed: pip install wandb, trackio or mlflow.

Exit codes: 0 done, 2 a flag is wrong or the tracker is not installed, 3 there is no run, 7 a file
cannot be written or the tracker refuses: the same command sends the rest.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from experiments import tables
from rnnae import command as command_line
from rnnae import config as config_lib
from rnnae import files
from rnnae.config import saved_config
from rnnae.errors import FILE_ERROR, ConfigError, RnnaeError, import_optional, one_line
from rnnae.records.writer import read_metrics, split_metrics

_SECONDS = 5.0  # between two looks at a run that is followed


class TrackerFailed(RnnaeError):
    """A tracker raised an error; trackers raise all kinds, also if there is no network."""

    exit_code = FILE_ERROR


class Tracker(NamedTuple):
    """A run in a tracker."""

    log: Callable[..., object]  # log(values, step=step)
    close: Callable[[], object]


def _wandb(project: str, run: str, config: dict) -> Tracker:
    found = _import("wandb").init(project=project, name=run, id=run, resume="allow", config=config)
    return Tracker(found.log, found.finish)


def _trackio(project: str, run: str, config: dict) -> Tracker:
    trackio = _import("trackio")
    trackio.init(project=project, name=run, resume="allow", config=config)
    return Tracker(trackio.log, trackio.finish)


def _mlflow(project: str, run: str, config: dict) -> Tracker:
    mlflow = _import("mlflow")
    mlflow.set_experiment(project)
    same_name = f"attributes.run_name = '{run}'"
    if found := mlflow.search_runs(filter_string=same_name, output_format="list"):
        mlflow.start_run(run_id=found[0].info.run_id)
    else:
        mlflow.start_run(run_name=run)
        mlflow.log_params(config)
    return Tracker(mlflow.log_metrics, mlflow.end_run)


def _import(name: str):
    return import_optional(name, f"pip install {name}")


# name -> what opens the run in a project, or makes it with its config; `run` is its name, the same
# at each call.
TRACKERS: dict[str, Callable[[str, str, dict], Tracker]] = {
    "wandb": _wandb,
    "trackio": _trackio,
    "mlflow": _mlflow,
}


def mirror(
    workdir: str | Path,
    to: str,
    project: str = "rnnae",
    follow: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Sends the records of metrics that were not sent before; returns how many they are.

    Records are sent in the order of their steps. After each, its number is saved in
    `workdir`/mirror_TRACKER.json. A record that was sent just before a kill may be sent twice.

    Raises ConfigError, CheckpointError, TrackerFailed, or OSError for that file.
    """
    workdir = files.expand(workdir)
    config = saved_config.get_config(str(saved_config.find(workdir)))
    state = workdir / f"mirror_{to}.json"
    sent, tracker, count = _sent(state), None, 0
    name = files.run_name(workdir).replace("/", "-")  # a slash is not allowed in the id of a run
    try:
        while True:
            records = read_metrics(workdir)
            for record in records[sent:]:
                values = {key: value for key, value in record.items() if key != "step"}
                with _failing(to):
                    if tracker is None:
                        flat = config_lib.flat(config.to_dict())
                        tracker = TRACKERS[to](project, name, flat)
                    tracker.log(values, step=record["step"])
                sent, count = sent + 1, count + 1
                files.replace_text(state, f'{{"records": {sent}}}\n')
            if not follow or (records and split_metrics(records[-1], "test")):
                return count
            wait(_SECONDS)
    finally:
        if tracker is not None:
            with _failing(to):
                tracker.close()


@contextlib.contextmanager
def _failing(name: str) -> Iterator[None]:
    """Makes a TrackerFailed of any error of the tracker `name`."""
    try:
        yield
    except RnnaeError:
        raise
    except Exception as error:
        raise TrackerFailed(f"{name} failed: {one_line(error)}; call again to go on") from error


def _sent(state: Path) -> int:
    """How many records were sent before."""
    if not state.exists():
        return 0
    try:
        return int(files.read_json(state)["records"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{state} is damaged: write the number of records that the tracker has into it, as "
            '{"records": 0}'
        ) from error


def main(argv: list[str] | None = None) -> int:
    parser = tables.command_parser("mirror", __doc__)
    parser.add_argument("run", help="directory of the run")
    parser.add_argument("--to", choices=TRACKERS, required=True, help="the tracker")
    parser.add_argument("--project", default="rnnae", help="project there (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="wait for more until the run is done")
    arguments = parser.parse_args(argv)
    count = mirror(arguments.run, arguments.to, arguments.project, arguments.follow)
    print(f"{count} records of {arguments.run} sent to {arguments.to}")
    return 0


if __name__ == "__main__":
    sys.exit(command_line.execute(main, "experiments.mirror"))
