"""The errors that a user sees as one clear message, and the exit codes they end with."""


class DcnrunError(Exception):
    """Something a user can understand and mend; shown without a traceback."""

    exit_code = 1


class UsageError(DcnrunError):
    """A wrong command line, config or layout of files: found before anything ran."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more problems with the settings, all reported together."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(DcnrunError):
    """A file of a data set that can't be used: the message names it and what was expected."""


class RunError(DcnrunError):
    """A run that failed while running: loss not finite, full disk, damaged checkpoint."""
