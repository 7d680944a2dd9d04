"""Rules across settings, checked together before anything is built."""

from dcnrun.config.schema import Config
from dcnrun.data import problems as data_problems
from dcnrun.errors import ConfigError
from dcnrun.tasks.build import has_offset_branches, has_roi_offset_branch, model_problems
from dcnrun.training.launch import trainer_problems
from dcnrun.training.optim import multiplier_problems, optim_problems


def check(config: Config) -> None:
    """Raise ConfigError with everything that is wrong with a config, not only the first thing."""
    problems = [
        *model_problems(config),
        *data_problems(config.data),
        *trainer_problems(config),
        *optim_problems(config.optim, config.trainer.steps),
        *multiplier_problems(config.optim, has_offset_branches(config.conv), has_roi_offset_branch(config.model)),
    ]
    if problems:
        raise ConfigError(problems)
