"""A config file is a program: whatever it raises is one line with its line number, and exit 2."""

from pathlib import Path

import pytest

from rnnae import flags
from rnnae.errors import ConfigError

DEFAULT = "from rnnae.config import default\ndef get_config():\n    c = default()\n    "


@pytest.mark.parametrize(
    "text, words",
    [
        ("def get_config():\n    return 1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("def f():\n    f()\ndef get_config():\n    f()", "line 2: RecursionError: maximum"),
        ("import sys\nsys.exit('enough')", "line 2: SystemExit: enough"),
        ("raise BaseException('own')", "line 1: BaseException: own"),
        ("assert False", "line 1: AssertionError"),
        ("import no_such_module", "line 1: ModuleNotFoundError: No module named"),
        ("x = 1\ny = (", "line 2: SyntaxError"),
        ("x = '\0'", "null bytes"),
        ("def get_config():\n    return 5", "get_config() must return a ConfigDict; it returned 5"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E", "line 3: E"),
        ("def get_config(x):\n    return x", "missing 1 required positional argument: 'x'"),
        (f"{DEFAULT}c.model.layers = 10**7\n    return c", "model.layers must be at most 1,000"),
        (f"{DEFAULT}c.modle = 4", "line 4: the config has no key 'modle'; did you mean config.mod"),
        (f"{DEFAULT}c.lerning_rate = 4", "'lerning_rate'; did you mean config.optim.learning_rate"),
        (f"{DEFAULT}c.learning_rate = 4", "no key 'learning_rate'; did you mean config.optim.lear"),
        (f"{DEFAULT}c.model.widht = 4", "'widht'; did you mean config.model.width?"),
        (f"{DEFAULT}c.model.widht += 4", "line 4: the config has no key 'widht'; did you mean 'wi"),
        (f"{DEFAULT}c.model.chain = 4", "config.model has it if the model is sweep"),
        (f"{DEFAULT}c.model.xyzzy", "line 4: the config has no key 'xyzzy'"),
        (f"{DEFAULT}default('sequense')", "line 4: the model of default() must be one of"),
        (f"{DEFAULT}c.seed = 'a'", "line 4: TypeError"),
        (f"{DEFAULT}c.data.name = '../x'\n    return c", "config.data.name must be the name of"),
    ],
)
def test_an_error_of_a_config_file_is_one_line_with_its_number(text, words, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        flags.parse(["rnnae", f"--config={file}"])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_name_finds_the_config_that_comes_with_rnnae(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, config, workdir = flags.parse(["rnnae", "--workdir", "mnist_vae", "--config", "mnist_vae"])
    assert config.latent.name == "gaussian" and workdir == Path("mnist_vae")
    assert flags.parse(["rnnae", "--workdir=", "--config=mnist_vae"])[2] == Path("runs/mnist_vae")
    with pytest.raises(ConfigError, match="no config file mnist_vea; did you mean mnist_vae"):
        flags.parse(["rnnae", "--config=mnist_vea"])
    with pytest.raises(ConfigError, match="no config file own/mnist$"):
        flags.parse(["rnnae", "--config=own/mnist"])
    with pytest.raises(ConfigError, match="a file, or one of cifar10, .*, mnist, .*, smoke"):
        flags.parse(["rnnae"])


def test_a_path_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mnist_vae").write_text(f"{DEFAULT}c.seed = 5\n    return c", encoding="utf-8")
    Path("other.py").write_text(f"{DEFAULT}c.seed = 6\n    return c", encoding="utf-8")
    assert flags.parse(["rnnae", "--workdir=", "--config=other.py"])[1].seed == 6
    with pytest.raises(ConfigError, match="no config file othr.py; did you mean other.py"):
        flags.parse(["rnnae", "--config=othr.py"])
    assert flags.parse(["rnnae", "--workdir=", "--config=mnist_vae"])[1].seed == 5


def test_a_home_directory_in_flags_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.py").write_text(f"{DEFAULT}return c", encoding="utf-8")
    for config in (["--config=~/own.py"], ["--config", "~/own.py"]):
        assert flags.parse(["rnnae", *config, "--workdir=~/run"])[2] == tmp_path / "run"


def test_a_directory_is_no_config_file(tmp_path):
    (tmp_path / "own.py").mkdir()
    with pytest.raises(ConfigError) as error:
        flags.parse(["rnnae", f"--config={tmp_path / 'own.py'}"])
    assert str(error.value) == f"there is no config file {tmp_path / 'own.py'}"
