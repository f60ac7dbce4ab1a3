"""Trains a recurrent autoencoder, or does something else with one (--mode).

    rnnae --config mnist                                train, or continue
    rnnae --config mnist --config.model.width=256 --workdir runs/wide
    rnnae --config my/own.py                            a config file of your own
    rnnae --mode evaluate --workdir runs/mnist          validation and test metrics
    rnnae --mode sample --workdir runs/mnist            new images and figures
    rnnae --mode sample --workdir runs/mnist --label 7 --count 64 --out sevens.png
    rnnae --mode complete --workdir runs/mnist --image half.png --mask mask.png --out new.png
    rnnae --mode evaluate --weights NAME                weights that come with rnnae
    rnnae --mode encode --workdir runs/mnist --out codes.parquet
    rnnae --mode export --workdir runs/mnist --out DIR  programs that run without rnnae
    rnnae --mode report --workdir runs/mnist            one HTML page of the run
    rnnae --mode debug --workdir runs/mnist             what made a run not finite
    rnnae --config mnist --mode describe                sizes and costs, without training
    rnnae --config mnist_vae --seeds=0,1,2              a run for each seed

`python -m rnnae.main` is the same command. A config without a path is one that comes with rnnae.

The same command in the same workdir continues a stopped run. Without --config, the modes evaluate,
sample, complete, encode, export and describe use the config that the run saved. The mode report
always does.

Several processes train one model if SLURM, Open MPI or GKE starts them together, on a TPU pod with
--distributed, and otherwise with --coordinator, --processes and --process_id in each of them.

Exit codes:
    0    done
    1    a bug in rnnae, with its traceback
    2    a flag or a config value is invalid
    3    there is no run or no valid checkpoint, or a file of the run cannot be written
    4    a loss, a gradient or a parameter is not finite
    5    data are missing or damaged
    6    another process of the run is gone, or was started differently
    7    a file cannot be read or written
    8    out of memory
    129  stopped by SIGHUP; this and the following: 128 + the number of the signal
    130  stopped by SIGINT
    138  stopped by SIGUSR1
    141  nobody reads the output any more, as in `| head -1`
    143  stopped by SIGTERM
"""

import sys
import traceback
from pathlib import Path
from typing import NoReturn

from rnnae import command

if __name__ == "__main__":
    command.end_on_signals()  # the following imports take tenths of a second, or more

from ml_collections import ConfigDict

from rnnae import flags
from rnnae.errors import ConfigError


def run(mode: str, config: ConfigDict, workdir: Path) -> None:
    """Runs a mode. Its imports are slow, and come only after the flags have been checked."""
    if mode == "report":
        from rnnae.evaluation import run_report

        run_report.write(workdir, flags.OUT.value)
        return
    command.check_address_space()
    from rnnae.devices import distributed, runtime

    count = distributed.connect(
        flags.COORDINATOR.value,
        flags.PROCESSES.value,
        flags.PROCESS_ID.value,
        detect=flags.DISTRIBUTED.value,
        seconds=flags.JOIN_SECONDS.value,
    )
    runtime.setup(
        compilation_cache=config.compilation_cache,
        devices=config.devices,
        batch_size=config.data.batch_size // count,
        keep_memory=config.keep_memory,
    )
    if mode != "train" and distributed.several():
        raise ConfigError(f"--mode {mode} runs in one process only")
    if mode == "train":
        from rnnae.training.seeds import train_seeds
        from rnnae.training.train import train

        with distributed.report_lost_contact():
            if flags.SEEDS.value is None:
                train(config, workdir, flags.PROFILE.value)
            else:
                seeds = [int(seed) for seed in flags.SEEDS.value]
                train_seeds(config, workdir, seeds, together=flags.TOGETHER.value)
    elif mode == "describe":
        from rnnae.training.describe import describe

        describe(config)
    elif mode == "debug":
        from rnnae.training.debug import debug

        debug(config, workdir)
    elif mode == "encode":
        from rnnae.evaluation.encode import encode

        encode(config, workdir, flags.OUT.value, flags.WEIGHTS.value)
    elif mode == "export":
        from rnnae.evaluation.export import export

        export(config, workdir, flags.OUT.value, flags.WEIGHTS.value)
    else:
        from rnnae.evaluation import modes

        if mode == "evaluate":
            modes.evaluate(config, workdir, flags.OUT.value, flags.WEIGHTS.value)
            return
        function, settings = {
            "sample": (modes.sample, modes.SampleRequest),
            "complete": (modes.complete, modes.CompletionRequest),
        }[mode]
        values = {name: flags.FLAGS[name].value for name in settings._fields}
        given = {name: value for name, value in values.items() if value is not None}
        function(config, workdir, settings(**given), flags.OUT.value, flags.WEIGHTS.value)


def main() -> int:
    """Returns the exit code. Every error that a user can correct is one line on stderr."""

    def run_mode() -> int:
        run(*flags.parse(sys.argv, __doc__))
        return 0

    with command.answered_signals():
        return command.execute(run_mode)


def run_command() -> NoReturn:
    """`main` as a process of its own, which ends with the exit code."""
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 1
    if code and "rnnae.devices.distributed" in sys.modules:
        sys.modules["rnnae.devices.distributed"].leave(code)
    sys.exit(code)


if __name__ == "__main__":
    run_command()
