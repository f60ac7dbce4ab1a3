"""What can go wrong for a user, and the exit code of each."""


class RnnaeError(Exception):
    """Its message is one line for people: what is wrong and what to do."""

    exit_code = 1


class ConfigError(RnnaeError):
    exit_code = 2


class CheckpointError(RnnaeError):
    exit_code = 3


class NonFiniteError(RnnaeError):
    exit_code = 4


class DataError(RnnaeError):
    exit_code = 5


class Stopped(RnnaeError):
    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code
