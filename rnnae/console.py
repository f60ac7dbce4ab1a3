"""The console of everything that rich prints."""

from rich.console import Console as RichConsole


class Console(RichConsole):
    """Raises BrokenPipeError if nobody reads the output any more; rich would exit with code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
