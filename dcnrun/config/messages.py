"""What is wrong with a setting, in one line, with what to do."""

from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from dcnrun.config.groups import GROUPS
from dcnrun.config.settings import all_settings, kinds_with, known_keys
from dcnrun.config.suggest import did_you_mean


def unknown_key(key: str) -> str:
    """Say that a key is no setting, with the nearest right ones or the kinds of its section that do have it."""
    kinds = kinds_with(key)
    if kinds:
        section = key.split(".")[0]
        return f"{key} is a setting of {section}={' or '.join(kinds)} only: {choose(section, kinds[0])}."
    hint = did_you_mean(key, [*known_keys(), *GROUPS])
    return f"there is no setting {key}{hint or ' (`dcnrun config --list` shows all).'}"


def choose(section: str, kind: str) -> str:
    """Say how to get the settings of a kind of data set or model."""
    return f"choose {section}={kind}, or begin your own file with `defaults: [{kind}, _self_]`"


def is_unknown_key(error: OmegaConfBaseException) -> bool:
    """Whether OmegaConf missed a key, not minded a value."""
    return isinstance(error, ConfigKeyError | ConfigAttributeError)


def explain(error: OmegaConfBaseException) -> str:
    """Say what OmegaConf found: an unknown key, a value of the wrong type or a missing one."""
    key = (error.full_key or "").split("[")[0]
    if is_unknown_key(error) and key:
        return unknown_key(key)
    setting = all_settings().get(key)
    if isinstance(error, ValidationError) and setting is not None:
        return f"{key} is {setting.allowed} ({setting.meaning})."
    if isinstance(error, MissingMandatoryValue) and setting is not None:
        return f"{key} is not set; it is {setting.allowed} ({setting.meaning})."
    first_line = str(error).splitlines()[0]
    return f"{key}: {first_line}." if key else f"{first_line}."
