"""Rules across settings, checked together before anything is built."""

from collections.abc import Iterator

from dcnrun.config.effects import LAYERS, settings_of, without_effect
from dcnrun.config.overrides import as_typed
from dcnrun.config.schema import Config
from dcnrun.config.settings import all_settings
from dcnrun.data import problems as data_problems
from dcnrun.errors import ConfigError
from dcnrun.tasks.build import model_problems
from dcnrun.training.launch import trainer_problems
from dcnrun.training.optim import optim_problems


def check(config: Config) -> None:
    """Raise ConfigError with everything that is wrong with a config, not only the first thing."""
    problems = [
        *model_problems(config),
        *data_problems(config.data),
        *trainer_problems(config),
        *optim_problems(config.optim, config.trainer.steps),
        *seed_problems(config.seed),
        *_idle_problems(config),
    ]
    if problems:
        raise ConfigError(problems)


def seed_problems(seed: int) -> Iterator[str]:
    """A seed that one of the random generators doesn't take."""
    if not 0 <= seed < 2**32:
        yield f"seed={seed} must be from 0 to {2**32 - 1}"


def _idle_problems(config: Config) -> Iterator[str]:
    """Settings that are set and do nothing; layers may always be chosen, also where the convolution in them is plain."""
    settings = settings_of(config)
    for key, why in without_effect(settings).items():
        default = all_settings()[key].default
        if key != LAYERS and settings[key] != default:
            yield f"{key}={as_typed(settings[key])} does nothing with {why}: leave it out, or at {as_typed(default)}"
