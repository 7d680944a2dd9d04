"""What may change of a config when its run is resumed: nothing that decides a number."""

from dcnrun.config.inactive import settings_of
from dcnrun.config.schema import Config, Schedule
from dcnrun.config.settings import all_settings, as_typed
from dcnrun.errors import ConfigError

_LENGTH = ("trainer.steps", "trainer.epochs")
_PROCESSES = ("trainer.devices", "trainer.nodes")


def require_same_numbers(begun: Config, resumed: Config) -> None:
    """Raise ConfigError with every setting that a resumed run may not have another value of, and why.

    It may change what decides no number, up to the rounding of another device; and train for longer where its learning
    rate does not depend on its length.
    """
    before, after = settings_of(begun), settings_of(resumed)
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    refused = [key for key in sorted(changed) if all_settings()[key].changes_numbers and key not in _LENGTH]
    problems = [
        f"{key} can't change when a run is resumed: it is {as_typed(before[key])} in the run, and "
        f"{as_typed(after[key])} would give other numbers."
        for key in refused
    ]
    if set(_LENGTH) & set(changed):
        problems += _problems_of_length(begun, resumed)
    if set(_PROCESSES) & set(changed) and _processes(begun) != _processes(resumed):
        problems.append(
            f"trainer.devices={resumed.trainer.devices} and trainer.nodes={resumed.trainer.nodes} make "
            f"{_processes(resumed)} processes, but the run was begun by {_processes(begun)}: resume it on as many."
        )
    if problems:
        raise ConfigError([*problems, f"--resume accepts {', '.join(accepted())}. For others start a new run."])


def accepted() -> list[str]:
    """Return what may change, in the order of the settings: those of a section together where all may."""
    free = [key for key, setting in all_settings().items() if not setting.changes_numbers]
    return [
        *(key for key in free if not key.startswith("logger.")),
        "logger.*",
        "and, where optim.schedule=constant, more trainer.steps or trainer.epochs",
    ]


def _problems_of_length(begun: Config, resumed: Config) -> list[str]:
    schedule, before, after = begun.optim.schedule, begun.trainer, resumed.trainer
    if schedule is not Schedule.constant:
        return [
            f"trainer.steps and trainer.epochs can't change when a run is resumed: with optim.schedule={schedule} they set "
            f"the learning rate of every step, also of the {before.steps} that the run was begun for."
        ]
    if after.epochs is not None and before.epochs is None:
        return [
            f"trainer.epochs={as_typed(after.epochs)}: the run was begun with trainer.steps={before.steps}: give these."
        ]
    for key, old, new in (("epochs", before.epochs, after.epochs), ("steps", before.steps, after.steps)):
        if old is not None and new is not None and new < old:
            return [f"trainer.{key}={as_typed(new)} is less than the {as_typed(old)} that the run was begun for."]
    return []


def _processes(config: Config) -> int:
    return config.trainer.devices * config.trainer.nodes
