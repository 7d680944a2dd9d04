"""What every test starts from."""

import gc
import shutil
import signal
import sys

import pytest

from tests.postgres import postgres  # noqa: F401  a fixture

# A job in the background of a shell starts with Ctrl-C ignored; the tests of Ctrl-C need it as on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Modules and tests stay: looking for garbage among them would take a fifth of the collection, and more at each later look.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def timed_briefly():
    """How fast a network infers is in the summary of every run; here one batch will do."""
    validation = sys.modules.get("dcnrun.training.validation")  # where no test imports it, none trains
    with pytest.MonkeyPatch.context() as patch:
        if validation:
            patch.setattr(validation, "TIMED_BATCHES", 1)
        yield


@pytest.fixture(scope="session")
def torchlib_parsed_once():
    """PyTorch's exporter parses the 500 functions of its library anew at each export; for many exports once will do."""
    from torch.onnx._internal.exporter._registration import onnxscript_apis

    functions = onnxscript_apis.get_torchlib_ops()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxscript_apis, "get_torchlib_ops", lambda: functions)
        yield


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """The browser that pages are tested in."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    from tests.browser import Browser  # imports Selenium

    started = Browser(chromium, chromedriver, tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()
