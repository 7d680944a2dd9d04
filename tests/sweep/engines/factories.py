"""The Ray engine for tests and benchmarks. It needs Ray."""

from functools import partial

from dcnrun.sweep.engines.ray import RayEngine
from dcnrun.sweep.trial import trial_command
from tests.sweep import fakes
from tests.sweep.factories import QuickEngine


class QuickRayEngine(QuickEngine, RayEngine):
    """The Ray engine that checks no settings and draws no figures, and whose trials are fakes."""

    def __init__(self) -> None:
        RayEngine.__init__(self, partial(trial_command, program=fakes.TRIAL))
