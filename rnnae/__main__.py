"""The command `rnnae`, and `python -m rnnae`."""

from rnnae import command

command.end_on_signals()  # the following import takes tenths of a second, or more

from rnnae.main import run_command  # noqa: E402

if __name__ == "__main__":
    run_command()
