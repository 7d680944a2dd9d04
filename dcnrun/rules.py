"""Everything that keeps a config from running, checked together before anything is built."""

from dcnrun.config.machine import machine_problems
from dcnrun.config.schema import Config
from dcnrun.config.validate import config_problems, range_problems, without_consequences
from dcnrun.data import problems as data_problems
from dcnrun.errors import ConfigError
from dcnrun.tasks.build import model_problems


def check(config: Config) -> None:
    """Raise ConfigError with everything that is wrong with a config, not only the first thing."""
    out_of_range = range_problems(config)
    others = [*model_problems(config), *data_problems(config.data), *machine_problems(config)]
    problems = [*config_problems(config), *without_consequences(out_of_range, others)]
    if problems:
        raise ConfigError(problems)
