"""The flags of the command, and which of them fit together."""

import math
import re
import sys
from pathlib import Path
from typing import NamedTuple

from absl import flags as absl_flags
from ml_collections import ConfigDict, config_flags

from rnnae import config as config_lib
from rnnae import files
from rnnae.config import config_file, reference, saved_config, shipped
from rnnae.errors import ConfigError, check_choice, did_you_mean, one_line


class Mode(NamedTuple):
    """What a mode takes, beside --config, --workdir and flags that all modes take. All but `train`
    use the config that the run in --workdir saved, or that of --weights, if --config is not given.
    """

    flags: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()  # of --out, if not any


_IMAGES = (".png", ".npy")
MODES = {
    "train": Mode(("init_from", "profile", "seeds", "together")),
    "evaluate": Mode(("weights", "out")),
    "sample": Mode(
        ("weights", "out", "label", "count", "draw_seed", "temperature", "guidance"), _IMAGES
    ),
    "complete": Mode(("weights", "out", "image", "mask", "label", "count", "draw_seed"), _IMAGES),
    "encode": Mode(("weights", "out"), files.TABLE_ENDINGS),
    "export": Mode(("weights", "out")),
    "describe": Mode(("weights",)),
    "report": Mode(("out",), (".html",)),
    "debug": Mode(("init_from",)),
}

FLAGS = absl_flags.FLAGS
CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Config file, or the name of one that comes with rnnae, such as mnist. Training needs it.",
    lock_config=True,
)
WORKDIR = absl_flags.DEFINE_string(
    "workdir", None, "Directory of the run. Default: runs/<name of the config file>."
)
WEIGHTS = absl_flags.DEFINE_string(
    "weights",
    None,
    "Weights to use instead of a trained run: a name such as rows64, or a directory. The "
    "default of --workdir, where the results go, is then runs/weights_NAME.",
)
MODE = absl_flags.DEFINE_enum("mode", "train", [*MODES], "What to do.")
OUT = absl_flags.DEFINE_string(
    "out",
    None,
    "File for the numbers of --mode evaluate (default: WORKDIR/evaluation.json); .png or .npy file "
    "for the new images of --mode sample (default: WORKDIR/samples, with all figures) or of --mode "
    "complete (default: WORKDIR/completed.png); .npz or .parquet file for the latents of --mode "
    "encode (default: WORKDIR/codes.npz); new directory of --mode export; .html file of --mode "
    "report (default: WORKDIR/report.html).",
)
IMAGE = absl_flags.DEFINE_string("image", None, "Image file that --mode complete completes.")
MASK = absl_flags.DEFINE_string(
    "mask", None, "Image file of the same size: white where --image is given, black where not."
)
LABEL = absl_flags.DEFINE_string(
    "label", None, "Class of the new images, by name or by number. Default: any."
)
COUNT = absl_flags.DEFINE_integer(
    "count", None, "Number of new images. Default: 64, or 8 completions.", lower_bound=1
)
DRAW_SEED = absl_flags.DEFINE_integer(
    "draw_seed", None, "Seed of the new images. Default: the seed of the run."
)
TEMPERATURE = absl_flags.DEFINE_float(
    "temperature", 1.0, "Below 1, new images are drawn from a sharper distribution.", lower_bound=0
)
GUIDANCE = absl_flags.DEFINE_float(
    "guidance", 0.0, "Above 0, new images resemble their class more than the model's do."
)
INIT_FROM = absl_flags.DEFINE_string(
    "init_from", None, "Start training from the weights of this run, directory or name."
)
PROFILE = absl_flags.DEFINE_integer(
    "profile",
    0,
    "Trace this many program calls of a training run with jax.profiler, in WORKDIR/profile.",
    lower_bound=0,
)
SEEDS = absl_flags.DEFINE_list(
    "seeds", None, "Seeds, as 0,1,2: train a run with each, in WORKDIR/seed0 and so on."
)
TOGETHER = absl_flags.DEFINE_bool(
    "together",
    None,
    "Train --seeds as one program. Default: yes on accelerators, no on CPUs; --notogether: never.",
)
DISTRIBUTED = absl_flags.DEFINE_bool("distributed", False, "Let jax find the other processes.")
COORDINATOR = absl_flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.")
PROCESSES = absl_flags.DEFINE_integer(
    "processes", None, "Number of processes; 1 trains alone, whatever the cluster says."
)
PROCESS_ID = absl_flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
JOIN_SECONDS = absl_flags.DEFINE_float(
    "join_seconds", 300.0, "Seconds to wait for the other processes at the start.", lower_bound=1.0
)


def help_text(introduction: str) -> str:
    """The text of --help: the introduction, and all flags with their defaults."""
    lines = [introduction.strip(), "", "Flags:"]
    for flag in FLAGS.get_key_flags_for_module(sys.modules[__name__]):
        default = f" (default: {flag.default})" if flag.default not in (None, False) else ""
        lines.append(f"    --{flag.name}{default}\n        {flag.help}")
    lines += [
        "    --config.KEY=VALUE\n        Sets a key of the config; --helpfull lists them all."
    ]
    return "\n".join(lines)


def parse(argv: list[str], introduction: str = "") -> tuple[str, ConfigDict, Path]:
    """(mode, config, workdir). Raises ConfigError, one line, for anything that cannot be run.
    --help prints the introduction and the flags, and ends the process."""
    if "--helpfull" in argv or "-helpfull" in argv:
        print(f"{help_text(introduction)}\n\n{reference.text()}")
        raise SystemExit(0)
    if {"--help", "-h", "-help"} & set(argv):
        print(help_text(introduction))
        raise SystemExit(0)
    _check_source(argv)
    argv = _with_config(argv)
    path = Path(_value(argv, "config").split(":")[0])
    try:
        rest = FLAGS(argv)
        config = CONFIG.value
        if not isinstance(config, ConfigDict):
            raise TypeError(f"get_config() must return a ConfigDict; it returned {config!r}")
        config_lib.check(config)
    except absl_flags.Error as error:
        if "whilst parsing config file" in str(error):  # so ml_collections wraps a TypeError
            raise ConfigError(config_file.explain(config_file.inside(path, error), path)) from error
        raise ConfigError(_explain_flag(error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config file is a program, and may raise anything
        raise ConfigError(config_file.explain(error, path)) from error
    if INIT_FROM.value:
        config.train.init_from = INIT_FROM.value
    if len(rest) > 1:
        raise ConfigError(f"unexpected argument {rest[1]!r}: every setting is a flag, --name=value")
    _check_mode_flags(MODE.value)
    _check_seeds(SEEDS.value)
    if not math.isfinite(JOIN_SECONDS.value):
        raise ConfigError(f"--join_seconds={JOIN_SECONDS.value} must be finite")
    name = f"weights_{Path(WEIGHTS.value).name}" if WEIGHTS.value else path.stem
    workdir = files.expand(WORKDIR.value or Path("runs") / name)
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir={workdir} is a file, not a directory")
    return MODE.value, config, workdir


def _check_mode_flags(mode: str) -> None:
    """ConfigError for a flag that the mode has no use for, or without one that it needs."""
    own, endings = MODES[mode]
    for name in sorted({name for other in MODES.values() for name in other.flags} - {*own}):
        if FLAGS[name].value != FLAGS[name].default:
            users = [user for user, other in MODES.items() if name in other.flags]
            raise ConfigError(f"--{name} is for --mode {', '.join(users)}")
    if PROFILE.value and SEEDS.value:
        raise ConfigError("--profile is for training one run, without --seeds")
    if OUT.value and endings and Path(OUT.value).suffix not in endings:
        raise ConfigError(f"--out={OUT.value} must end in {' or '.join(endings)}")
    if mode == "export" and not OUT.value:
        raise ConfigError("--mode export needs --out, a new directory")
    if mode == "complete" and not (IMAGE.value and MASK.value):
        raise ConfigError("--mode complete needs --image and --mask, two image files of one size")


def _check_source(argv: list[str]) -> None:
    """ConfigError unless the flags name a config or what has one, as the mode needs it."""
    mode, config, weights = (_value(argv, name) for name in ("mode", "config", "weights"))
    mode = mode or "train"
    check_choice(MODES, "--mode", mode)
    keys = [word.lstrip("-") for word in argv if word.startswith("-")]
    if mode == "report" and any(key.startswith("config") for key in keys):
        raise ConfigError("--mode report shows the config of the run: --config is not for it")
    if mode == "describe" and config and weights:
        raise ConfigError(
            f"--mode describe is of one model: leave out --config={config} or --weights={weights}"
        )
    if mode == "train" and not config:
        names = ", ".join(shipped.configs())
        raise ConfigError(f"--config is needed: a file, or one of {names}")
    if not (config or weights or _value(argv, "workdir")):
        others = ", or --weights" if "weights" in MODES[mode].flags else ""
        others += ", or --config" if mode == "describe" else ""
        raise ConfigError(f"--mode {mode} needs --workdir, the directory of a run{others}")


def _check_seeds(seeds: list[str] | None) -> None:
    if seeds is None:
        if TOGETHER.value is not None:
            raise ConfigError("--together is for training with several --seeds")
        return
    numbers = {int(seed) for seed in seeds if seed.isdecimal()}
    if not seeds or len(numbers) < len(seeds) or not all(map(config_lib.is_seed, numbers)):
        raise ConfigError(
            f"--seeds={','.join(seeds)} must be different integers from 0 to "
            f"{config_lib.MAX_SEED:,}, for instance --seeds=0,1"
        )


def _with_config(argv: list[str]) -> list[str]:
    """argv with the path of the config file in --config; or with the config that the run in
    --workdir saved, or that of --weights."""
    if file := _value(argv, "config"):
        name, colon, argument = file.partition(":")
        path = f"{shipped.find_config(name)}{colon}{argument}"
        index = _index(argv, "config")
        after = index + 1 if "=" in argv[index] else index + 2
        return [*argv[:index], f"--config={path}", *argv[after:]]
    weights, workdir = _value(argv, "weights"), _value(argv, "workdir")
    directory = shipped.find_weights(weights) if weights else files.expand(workdir or "")
    saved = saved_config.find(directory)
    return [argv[0], f"--config={saved_config.__file__}:{saved}", *argv[1:]]


def _value(argv: list[str], name: str) -> str | None:
    """The value that `--name value` or `--name=value` has in argv."""
    index = _index(argv, name)
    if index is None:
        return None
    _, equals, value = argv[index].partition("=")
    return value if equals else (argv + [""])[index + 1] or None


def _index(argv: list[str], name: str) -> int | None:
    """Where `--name` or `--name=value` stands in argv. ConfigError if it stands there twice."""
    keys = [word.partition("=")[0] for word in argv]
    found = [i for i, key in enumerate(keys) if key in (f"--{name}", f"-{name}")]
    if len(found) > 1:
        raise ConfigError(f"--{name} is given {len(found)} times: give it once")
    return found[0] if found else None


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
    if name.startswith("config.") and CONFIG.value is not None:
        known = [f"config.{key}" for key in config_lib.flat(CONFIG.value.to_dict())]
    return f"there is no flag --{name}{did_you_mean('--{}'.format, name, known)}"
