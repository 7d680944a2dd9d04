"""The browser that the page is tested in."""

import shutil

import pytest

from tests.visualize.viewer.browser import Browser
from tests.visualize.viewer.factories import two_runs, written


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("no chromium and chromedriver: apt-get install chromium chromium-driver")
    started = Browser(chromium, chromedriver, tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """Two runs of three layers, with 2 and 1 offset groups, on a grey image of 128 x 128."""
    return written(tmp_path_factory.mktemp("page"), two_runs())
