"""Trains every row of ablation tables with each of its seeds.

    python -m experiments.run cells [--size cpu] [--row LSTM ...] [--seeds 0,1,2]
                                    [--root runs/tables] [-- --config.data.data_dir=DIR ...]
    python -m experiments.run all --size cpu
    python -m experiments.run cells --submit --jobs 8 [--partition gpu] [--gpus 1] [--minutes 600]

Finished runs are skipped and stopped runs continue, so the same command can be repeated. One
process trains all seeds of a row; on accelerators it trains them as one program. If a row fails,
the failure is printed and the other rows are still trained.

The same command may run on any number of machines that share the disk of the runs. Each takes the
longest row that no other works on, and continues the rows of a machine that has died. On NFS the
locks of files must work across machines.

Flags after `--` are passed to every run. Only keys that say where files are and how to execute the
run are allowed there, because any other key would make another row.

`--submit` starts the command `--jobs` times with submitit, and returns: as jobs of SLURM, or as
processes of this machine where there is no SLURM. Their logs are in ROOT/submitit.

Exit codes: 0 all runs are finished, 1 a run failed, 2 a flag is wrong or a run belongs to another
version of the table, 128 + the number of a signal that stopped it.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from experiments import jobs, queue, tables
from rnnae import command as command_line
from rnnae import files

ROOT = Path("runs/tables")


def main(argv: list[str] | None = None) -> int:
    parser = tables.argument_parser("run", __doc__)
    parser.add_argument(
        "--row", action="append", help="only this row of the table; may be repeated"
    )
    parser.add_argument(
        "--seeds",
        type=tables.parse_seeds,
        help="other seeds than those of the tables",
        metavar="N,N",
    )
    root_help = "directory of all runs (default: %(default)s)"
    parser.add_argument("--root", type=files.expand, default=ROOT, help=root_help)
    workers = parser.add_argument_group("workers")
    workers.add_argument("--submit", action="store_true", help="start workers, and return")
    number = {"type": tables.parse_count, "metavar": "N"}
    workers.add_argument("--jobs", **number, help="number of workers (default: 1)")
    workers.add_argument("--gpus", **number, help="GPUs of each worker (default: none)")
    workers.add_argument("--minutes", **number, help="time limit of a worker (default: a day)")
    workers.add_argument("--partition", help="partition of SLURM")
    arguments, extra = tables.parse_arguments(parser, argv)
    if not arguments.submit and any(
        (arguments.jobs, arguments.gpus, arguments.minutes, arguments.partition)
    ):
        parser.error("--jobs, --gpus, --minutes and --partition go with --submit")
    chosen = tables.load_each(arguments.tables, arguments.size)
    if arguments.seeds:
        chosen = [dataclasses.replace(table, seeds=arguments.seeds) for table in chosen]
    labels = [row.label for table in chosen for row in table.rows]
    for label in arguments.row or ():
        if len(chosen) > 1:
            parser.error("--row goes with one table")
        if label not in labels:
            rows = ", ".join(map(repr, labels))
            parser.error(f"{chosen[0].name} has no row {label!r}; its rows: {rows}")
    every = [run for table in chosen for run in jobs.plan(table, arguments.root)]
    runs = [run for run in every if run.row.label in (arguments.row or labels)]
    needed = {directory for run in runs for directory in (run.workdir, run.weights_dir)}
    for run in every:
        if run.workdir in needed:
            run.check()
    if arguments.submit:
        submit(arguments, extra)
        return 0
    # A worker of its own, even if SLURM or Open MPI has started several as one program.
    return queue.work(runs, [*extra, "--processes=1"])


def submit(arguments: argparse.Namespace, extra: list[str]) -> list:
    """Starts the same command, without --submit, `arguments.jobs` times; returns the jobs."""
    words = [*arguments.tables, f"--size={arguments.size}", f"--root={arguments.root}"]
    words += [f"--row={label}" for label in arguments.row or ()]
    if arguments.seeds:
        words.append("--seeds=" + ",".join(map(str, arguments.seeds)))
    return queue.submit(
        [*words, "--", *extra],
        arguments.jobs or 1,
        arguments.root / "submitit",
        name="rnnae-" + "-".join(arguments.tables),
        timeout_min=arguments.minutes or 24 * 60,
        gpus_per_node=arguments.gpus,
        slurm_partition=arguments.partition,
    )


if __name__ == "__main__":
    sys.exit(command_line.execute(main, "experiments.run"))
