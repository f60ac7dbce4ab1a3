"""What can go wrong for a user, and the exit code of each. Messages are one line for people."""


class RnnaeError(Exception):
    """Base; `exit_code` is the process's."""

    exit_code = 1


class ConfigError(RnnaeError):
    """A flag, key, value or combination that cannot be run."""

    exit_code = 2


class CheckpointError(RnnaeError):
    """Checkpoints exist and none can be trusted, one is needed and there is none, or the disk."""

    exit_code = 3


class NonFiniteError(RnnaeError):
    """The loss or its gradient is not finite."""

    exit_code = 4


class DataError(RnnaeError):
    """Data missing, or not what it should be."""

    exit_code = 5


class Stopped(RnnaeError):
    """By a signal, in good order: 143 after SIGTERM, 130 after SIGINT."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code
