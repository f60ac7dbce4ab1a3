"""Trains, evaluates or samples a recurrent autoencoder.

    rnnae --config mnist                                train, or continue
    rnnae --config mnist --config.model.width=256 --workdir runs/wide
    rnnae --config my/own.py                            a config file of your own
    rnnae --mode evaluate --workdir runs/mnist          validation and test metrics
    rnnae --mode sample --workdir runs/mnist            new images and figures
    rnnae --mode sample --workdir runs/mnist --label 7 --count 64 --out sevens.png
    rnnae --config mnist_vae --seeds=0,1,2              a run for each seed

`python -m rnnae.main` is the same command. A config without a path is one that comes with rnnae.

The same command in the same workdir continues a stopped run. Without --config, the modes evaluate
and sample use the config that the run saved.

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

import math
import re
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from rnnae import command

if __name__ == "__main__":
    command.end_on_signals()  # the following imports take tenths of a second, or more

from absl import flags
from ml_collections import ConfigDict, config_flags

from rnnae import config as config_lib
from rnnae import files
from rnnae.config import config_file, reference, saved_config
from rnnae.errors import ConfigError, did_you_mean, one_line

_MODES = ("train", "evaluate", "sample")

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, or the name of one that comes with rnnae, such as mnist. Training needs it.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run. Default: runs/<name of the config file>."
)
_MODE = flags.DEFINE_enum("mode", "train", _MODES, "What to do.")
_OUT = flags.DEFINE_string(
    "out",
    None,
    "File for the numbers of --mode evaluate (default: WORKDIR/evaluation.json), or .png or .npy "
    "file for the new images of --mode sample (default: WORKDIR/samples, with all figures).",
)
_LABEL = flags.DEFINE_string(
    "label", None, "Class of the new images of --mode sample, by name or by number. Default: any."
)
_COUNT = flags.DEFINE_integer("count", 64, "Number of new images.", lower_bound=1)
_DRAW_SEED = flags.DEFINE_integer(
    "draw_seed", None, "Seed of the new images. Default: the seed of the run."
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 1.0, "Below 1, new images are drawn from a sharper distribution.", lower_bound=0
)
_GUIDANCE = flags.DEFINE_float(
    "guidance", 0.0, "Above 0, new images resemble their class more than the model's do."
)
_OF_SAMPLE = (_LABEL, _COUNT, _DRAW_SEED, _TEMPERATURE, _GUIDANCE)
_SEEDS = flags.DEFINE_list(
    "seeds", None, "Seeds, as 0,1,2: train a run with each, in WORKDIR/seed0 and so on."
)
_TOGETHER = flags.DEFINE_bool(
    "together",
    None,
    "Train --seeds as one program. Default: yes on accelerators, no on CPUs; --notogether: never.",
)
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Let jax find the other processes.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.")
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "Number of processes; 1 trains alone, whatever the cluster says."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_JOIN_SECONDS = flags.DEFINE_float(
    "join_seconds", 300.0, "Seconds to wait for the other processes at the start.", lower_bound=1.0
)


def help_text() -> str:
    """The text of --help: modes, flags with their defaults, examples, exit codes."""
    lines = [__doc__.strip(), "", "Flags:"]
    for flag in FLAGS.get_key_flags_for_module(sys.modules[__name__]):
        default = f" (default: {flag.default})" if flag.default not in (None, False) else ""
        lines.append(f"    --{flag.name}{default}\n        {flag.help}")
    lines += [
        "    --config.KEY=VALUE\n        Sets a key of the config; --helpfull lists them all."
    ]
    return "\n".join(lines)


def parse(argv: list[str]) -> tuple[str, ConfigDict, Path]:
    """(mode, config, workdir). Raises ConfigError, one line, for anything that cannot be run."""
    if "--helpfull" in argv or "-helpfull" in argv:
        print(f"{help_text()}\n\n{reference.text()}")
        raise SystemExit(0)
    if {"--help", "-h", "-help"} & set(argv):
        print(help_text())
        raise SystemExit(0)
    argv = _with_config(argv)
    file = _value(argv, "config")
    if not file:
        names = ", ".join(config_file.shipped())
        raise ConfigError(f"--config is needed: a file, or one of {names}")
    path = Path(file.split(":")[0])
    try:
        rest = FLAGS(argv)
        config = _CONFIG.value
        if not isinstance(config, ConfigDict):
            raise TypeError(f"get_config() must return a ConfigDict; it returned {config!r}")
        config_lib.check(config)
    except flags.Error as error:
        if "whilst parsing config file" in str(error):  # so ml_collections wraps a TypeError
            raise ConfigError(config_file.explain(config_file.inside(path, error), path)) from error
        raise ConfigError(_explain_flag(error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config file is a program, and may raise anything
        raise ConfigError(config_file.explain(error, path)) from error
    if len(rest) > 1:
        raise ConfigError(f"unexpected argument {rest[1]!r}: every setting is a flag, --name=value")
    _check_seeds(_MODE.value, _SEEDS.value)
    _check_mode_flags(_MODE.value)
    if not math.isfinite(_JOIN_SECONDS.value):
        raise ConfigError(f"--join_seconds={_JOIN_SECONDS.value} must be finite")
    workdir = files.expand(_WORKDIR.value or Path("runs") / path.stem)
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir={workdir} is a file, not a directory")
    return _MODE.value, config, workdir


def _check_mode_flags(mode: str) -> None:
    """ConfigError for a flag that the mode has no use for."""
    if _OUT.value and mode == "train":
        raise ConfigError("--out is for --mode evaluate and --mode sample")
    if mode != "sample":
        for flag in _OF_SAMPLE:
            if flag.value != flag.default:
                raise ConfigError(f"--{flag.name} is for --mode sample, which draws new images")
    elif _OUT.value and Path(_OUT.value).suffix not in (".png", ".npy"):
        raise ConfigError(f"--out={_OUT.value} must end in .png or .npy")


def _check_seeds(mode: str, seeds: list[str] | None) -> None:
    if seeds is None:
        return
    if mode != "train":
        raise ConfigError(f"--seeds is for training; --mode {mode} takes the --workdir of one run")
    numbers = {int(seed) for seed in seeds if seed.isdecimal()}
    if not seeds or len(numbers) < len(seeds) or not all(map(config_lib.is_seed, numbers)):
        raise ConfigError(
            f"--seeds={','.join(seeds)} must be different integers from 0 to "
            f"{config_lib.MAX_SEED:,}, for instance --seeds=0,1"
        )


def _with_config(argv: list[str]) -> list[str]:
    """argv with the path of the config file in --config; and with the config that the run in
    --workdir saved, if a mode needs one and none is given."""
    if file := _value(argv, "config"):
        name, colon, argument = file.partition(":")
        path = f"{config_file.find(name)}{colon}{argument}"
        index = _index(argv, "config")
        after = index + 1 if "=" in argv[index] else index + 2
        return [*argv[:index], f"--config={path}", *argv[after:]]
    workdir = _value(argv, "workdir")
    if not workdir or _value(argv, "mode") in (None, "train"):
        return argv
    saved = saved_config.find(files.expand(workdir))
    return [argv[0], f"--config={saved_config.__file__}:{saved}", *argv[1:]]


def _value(argv: list[str], name: str) -> str | None:
    """The value that `--name value` or `--name=value` has in argv."""
    index = _index(argv, name)
    if index is None:
        return None
    _, equals, value = argv[index].partition("=")
    return value if equals else (argv + [""])[index + 1] or None


def _index(argv: list[str], name: str) -> int | None:
    """Where the first `--name` or `--name=value` stands in argv."""
    keys = [word.partition("=")[0] for word in argv]
    return next((i for i, key in enumerate(keys) if key in (f"--{name}", f"-{name}")), None)


def _explain_flag(error: Exception) -> str:
    """A flag error on one line; for an unknown flag with the closest name that exists."""
    text = one_line(error)
    unknown = re.search(r"Unknown command line flag '([^']+)'", text)
    if not unknown:
        return text
    name = unknown[1]
    if renamed := saved_config.new_name(name.removeprefix("config.")):
        return f"there is no flag --{name}; its name is now --config.{renamed}"
    known = [key for key in FLAGS if len(key) > 1]
    if name.startswith("config.") and _CONFIG.value is not None:
        known = [f"config.{key}" for key in config_lib.flat(_CONFIG.value.to_dict())]
    return f"there is no flag --{name}{did_you_mean('--{}'.format, name, known)}"


def run(mode: str, config: ConfigDict, workdir: Path) -> None:
    """Runs a mode. Its imports are slow, and come only after the flags have been checked."""
    command.check_address_space()
    from rnnae.devices import distributed, runtime

    count = distributed.connect(
        _COORDINATOR.value,
        _PROCESSES.value,
        _PROCESS_ID.value,
        detect=_DISTRIBUTED.value,
        seconds=_JOIN_SECONDS.value,
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
            if _SEEDS.value is None:
                train(config, workdir)
            else:
                seeds = [int(seed) for seed in _SEEDS.value]
                train_seeds(config, workdir, seeds, together=_TOGETHER.value)
    else:
        from rnnae.evaluation import modes

        if mode == "evaluate":
            modes.evaluate(config, workdir, _OUT.value)
        else:
            flags_of_images = (flag.value for flag in _OF_SAMPLE)
            modes.sample(config, workdir, modes.NewImages(*flags_of_images), _OUT.value)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code. Every error that a user can correct is one line on stderr."""

    def run_mode() -> int:
        run(*parse(sys.argv if argv is None else argv))
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
