"""Writes the weights of a finished run, to be shipped with the package or published.

    python -m experiments.ship runs/mnist_features rows64

The second argument is the name below rnnae/weights/, or a directory elsewhere (--out DIR). The
model card is generated from the records of the run; see rnnae/records/weights.py for the files.
"""

import argparse
import sys
from pathlib import Path

import rnnae
from rnnae import command as command_line
from rnnae import config as config_lib
from rnnae import files
from rnnae.config import saved_config, shipped
from rnnae.evaluation.mixture import digest
from rnnae.records import model_card, weights

# What a run fills in itself, and what changes no number.
_NOT_SETTINGS = (
    *saved_config.MACHINE_PATHS,
    *("data.shape", "data.fingerprint", "data.class_names", "compilation_cache", "keep_memory"),
    *("devices", "cpu_microbatch", "train.checkpoint_every_seconds", "train.tensorboard"),
)


def training_command(config) -> str:
    """The command that trains the config: that config file of its model with the fewest changes."""
    wanted = config_lib.flat(config.to_dict())
    found = []
    for name, path in shipped.configs().items():
        own = config_lib.flat(shipped.get_config(name).to_dict())
        if own["model.name"] == wanted["model.name"]:
            flags = [
                f"--config.{key}={_as_flag(value)}"
                for key, value in wanted.items()
                if key not in _NOT_SETTINGS and value != own.get(key)
            ]
            found.append((len(flags), f"configs/{path.name}", flags))
    _, file, flags = min(found)
    return " ".join([f"python -m rnnae.main --config {file}", *flags])


def _as_flag(value) -> str:
    return f"'{tuple(value)}'" if isinstance(value, list) else str(value)


def ship(workdir: str, name: str, out: str | None = None) -> Path:
    """Writes the averaged weights of the newest checkpoint; returns the directory."""
    run = rnnae.load(workdir)
    card = model_card.text(name, workdir, training_command(run.config))
    directory = Path(out) if out else shipped.WEIGHTS / name
    mixtures = {files.MIXTURE: run.mixture, files.CLASS_MIXTURE: run.class_mixture}
    more = {
        file: mixture.to_bytes(run.step, digest(run.params))
        for file, mixture in mixtures.items()
        if mixture is not None
    }
    weights.save(directory, run.params, run.config, card, step=run.step, more=more)
    rnnae.load(directory)  # it must fit its model
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="directory of a finished run")
    parser.add_argument("name", help="name of the weights")
    parser.add_argument("--out", help="directory to write; default: rnnae/weights/NAME")
    arguments = parser.parse_args()
    print(ship(arguments.run, arguments.name, arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(command_line.execute(main))
