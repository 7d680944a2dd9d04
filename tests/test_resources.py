"""Where shipped files are found: in a checkout at the top level, in an installed package inside it."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from dcnrun.resources import resource_dir

ROOT = Path(__file__).parents[1]
IN_THE_CHECKOUT = {"conf": "conf", "kernels": "kernels", "sweeps": "sweeps", "samples": "tests/fixtures"}


@pytest.mark.parametrize(("name", "folder"), IN_THE_CHECKOUT.items())
def test_in_a_checkout_they_are_at_the_top_level(name, folder):
    assert resource_dir(name) == ROOT / folder
    assert any(resource_dir(name).iterdir())


@pytest.mark.parametrize("name", IN_THE_CHECKOUT)
def test_in_an_installed_package_they_are_inside(name, tmp_path):
    package = tmp_path / "dcnrun"
    (package / name).mkdir(parents=True)
    module = package / "resources.py"
    module.write_text((ROOT / "dcnrun" / "resources.py").read_text())
    assert _loaded(module).resource_dir(name) == package / name


def _loaded(path):
    spec = spec_from_file_location("resources_elsewhere", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
