"""Trains, evaluates or samples a recurrent autoencoder.

    python -m rnnae.main --config configs/mnist.py [--mode train|evaluate|sample]
                         [--workdir runs/mnist] [--config.model.width=256 ...]

The same command in the same workdir continues a stopped run. Without --config, evaluate and sample
use the config kept in --workdir. --seeds=0,1,2 trains a run with each in WORKDIR/seed0 and so on,
as one program on accelerators, one after another on CPUs; --together and --notogether decide.
Several processes train one model where SLURM, Open MPI or GKE starts them, on a TPU pod with
--distributed, else with --coordinator=HOST:PORT --processes=N --process_id=I in each; --processes=1
is one that trains alone although SLURM or Open MPI started others. Exit codes: 0 done, 1 a bug,
with its traceback, 2 a flag or config value, 3 no run there, no checkpoint that can be trusted or
none that can be written, 4 a loss that is not finite, 5 data missing or damaged, 6 another process
of the run is gone or was started otherwise, 7 a file that cannot be read or written, 130 SIGINT,
143 SIGTERM.
"""

import difflib
import re
import sys
import traceback
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from rnnae import config as config_lib
from rnnae.config import saved_config
from rnnae.errors import ConfigError, RnnaeError

_MODES = ("train", "evaluate", "sample")
# What running a config file, or setting its keys, may raise.
_OF_CONFIGS = (AttributeError, ImportError, LookupError, NameError, OSError, SyntaxError)
_OF_CONFIGS += (TypeError, ValueError)

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Default: runs/<name of the config file>.")
_MODE = flags.DEFINE_enum("mode", "train", _MODES, "What to do.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Let jax find the other processes.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.")
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes train together.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")
_SEEDS = flags.DEFINE_list("seeds", None, "Values of config.seed, a run each.")
_TOGETHER = flags.DEFINE_bool("together", None, "Whether --seeds train as one program.")


def parse(argv: list[str]) -> tuple[str, ConfigDict, Path]:
    """(mode, config, workdir). Raises ConfigError, one line, for anything that cannot be run."""
    if {"--help", "-h", "--helpfull", "-help"} & set(argv):
        print(__doc__)
        raise SystemExit(0)
    argv = _with_saved_config(argv)
    file = _value(argv, "config")
    if not file:
        raise ConfigError("--config is needed, for instance --config configs/mnist.py")
    path = Path(file.split(":")[0])
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise ConfigError(f"there is no config file {path}{hint}")
    try:
        rest = FLAGS(argv)
        config = _CONFIG.value
        config_lib.check(config)
    except flags.Error as error:
        raise ConfigError(_explain(error)) from error
    except _OF_CONFIGS as error:
        raise ConfigError(_of_config(error, file)) from error
    if len(rest) > 1:
        raise ConfigError(f"what is {rest[1]!r}? Every setting is a flag: --name=value")
    _check_seeds(_MODE.value, _SEEDS.value)
    workdir = Path(_WORKDIR.value or Path("runs") / path.stem)
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir={workdir} is a file, not a directory")
    return _MODE.value, config, workdir


def _check_seeds(mode: str, seeds: list[str] | None) -> None:
    if seeds is None:
        return
    if mode != "train":
        raise ConfigError(f"--seeds is for training; --mode {mode} takes the --workdir of one run")
    numbers = {int(seed) for seed in seeds if seed.isdecimal()}
    if not seeds or len(numbers) < len(seeds) or max(numbers) > config_lib.MAX_SEED:
        raise ConfigError(
            f"--seeds={','.join(seeds)}: different numbers from 0 to {config_lib.MAX_SEED:,}, as "
            "--seeds=0,1"
        )


def _with_saved_config(argv: list[str]) -> list[str]:
    """evaluate and sample need no --config: the workdir has one."""
    workdir = _value(argv, "workdir")
    if _value(argv, "config") or not workdir or _value(argv, "mode") in (None, "train"):
        return argv
    saved = saved_config.find(workdir)
    return [argv[0], f"--config={saved_config.__file__}:{saved}", *argv[1:]]


def _value(argv: list[str], name: str) -> str | None:
    """The value that `--name value` or `--name=value` gives in argv."""
    for index, word in enumerate(argv):
        key, equals, value = word.partition("=")
        if key in (f"--{name}", f"-{name}"):
            return value if equals else (argv + [""])[index + 1] or None
    return None


def _explain(error: Exception) -> str:
    """A flag error with the nearest name that exists."""
    text = _one_line(error)
    unknown = re.search(r"Unknown command line flag '([^']+)'", text)
    if not unknown:
        return text
    name = unknown[1]
    known = [key for key in FLAGS if len(key) > 1]
    if name.startswith("config.") and _CONFIG.value is not None:
        known = [f"config.{key}" for key in _paths(_CONFIG.value)]
    near = difflib.get_close_matches(name, known, 1)
    return f"there is no flag --{name}" + (f"; did you mean --{near[0]}?" if near else "")


def _of_config(error: Exception, file: str) -> str:
    """An error of ml_collections, for a key that does not exist, or of `file`, on one line."""
    text = _one_line(error)
    near = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text)
    if near:
        return f"the config has no key {near[2]!r}; did you mean {near[1]!r}?"
    return f"cannot make a config of {file} and the flags: {type(error).__name__}: {text}"


def _paths(config: ConfigDict, prefix: str = "") -> list[str]:
    paths = []
    for key, value in config.items():
        inner = _paths(value, f"{prefix}{key}.") if isinstance(value, ConfigDict) else None
        paths += inner if inner is not None else [prefix + key]
    return paths


def _one_line(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def run(mode: str, config: ConfigDict, workdir: Path) -> None:
    """Imports what `mode` needs and does it. Late, so that a wrong flag is told at once."""
    from rnnae.devices import distributed, runtime

    count = distributed.connect(
        _COORDINATOR.value, _PROCESSES.value, _PROCESS_ID.value, detect=_DISTRIBUTED.value
    )
    runtime.setup(
        compilation_cache=config.compilation_cache,
        devices=config.devices,
        batch_size=config.data.batch_size // count,
        keep_memory=config.keep_memory,
    )
    if count > 1 and mode != "train":
        raise ConfigError(f"--mode {mode} is work for one process")
    if mode == "train":
        from rnnae.training import train

        with distributed.in_contact():
            if _SEEDS.value is None:
                train.train(config, workdir)
            else:
                seeds = [int(seed) for seed in _SEEDS.value]
                train.train_seeds(config, workdir, seeds, together=_TOGETHER.value)
    elif mode == "evaluate":
        from rnnae.evaluation import evaluate

        evaluate.main(config, workdir)
    else:
        from rnnae.evaluation import figures

        figures.main(config, workdir)


def main(argv: list[str] | None = None) -> int:
    """The exit code; every error a user can mend is one line on stderr."""
    try:
        run(*parse(sys.argv if argv is None else argv))
    except RnnaeError as error:
        print(f"rnnae: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print(f"rnnae: {error.strerror or _one_line(error)}:{where}", file=sys.stderr)
        return 7
    except KeyboardInterrupt:
        print("rnnae: stopped by SIGINT", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 1
    if code and "rnnae.devices.distributed" in sys.modules:
        sys.modules["rnnae.devices.distributed"].leave(code)
    sys.exit(code)
