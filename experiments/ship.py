"""Writes the weights of a finished run, to be shipped with the package or published.

    python -m experiments.ship runs/mnist_features rows64

The second argument is the name below rnnae/weights/, or a directory elsewhere (--out DIR). The
model card is generated from the records of the run; see rnnae/records/weights.py for the files.
"""

import sys
from pathlib import Path

import rnnae
from experiments import tables
from rnnae import command as command_line
from rnnae import files
from rnnae.config import shipped
from rnnae.evaluation import loading
from rnnae.records import model_card, weights


def ship(workdir: str | Path, name: str, out: Path | None = None) -> Path:
    """Writes the averaged weights of the newest checkpoint; returns the directory."""
    run = rnnae.load(workdir)
    card = model_card.text(name, workdir, shipped.training_command(run.config), run.step)
    directory = out or shipped.WEIGHTS / name
    more = loading.mixture_files(run)
    weights.save(directory, run.params, run.config, card, step=run.step, more=more)
    found = rnnae.load(directory)
    # Loading trusts the weights of the package, which this run may just have replaced.
    weights.check_fit(directory, found.model, weights.by_name(found.params))
    return directory


def main(argv: list[str] | None = None) -> int:
    parser = tables.command_parser("ship", __doc__)
    parser.add_argument("run", help="directory of a finished run")
    parser.add_argument("name", help="name of the weights")
    out_help = "directory to write (default: rnnae/weights/NAME)"
    parser.add_argument("--out", type=files.expand, help=out_help)
    arguments = parser.parse_args(argv)
    print(ship(arguments.run, arguments.name, arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(command_line.execute(main, "experiments.ship"))
