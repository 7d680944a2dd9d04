"""Composition by Hydra: one choice of each group, on top of the schema."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dcnrun.config.groups import SECTIONS
from dcnrun.config.store import compose_choices
from dcnrun.errors import ConfigError
from dcnrun.resources import resource_dir


def test_a_choice_fills_its_section_and_the_others_have_their_defaults():
    node = compose_choices({"conv": "dilated", "optim": "adamw"})
    defaults = OmegaConf.load(resource_dir("conf") / "config.yaml").defaults
    assert OmegaConf.select(node, "conv.kind").value == "dilated"
    assert node.optim.lr == OmegaConf.load(resource_dir("conf") / "optim" / "adamw.yaml").lr
    assert {"model": node.model["head"].value, "data": node.data["source"].value}.items() <= {
        key: value for default in defaults if not isinstance(default, str) for key, value in default.items()
    }.items()
    assert set(SECTIONS) <= set(node)
    assert not GlobalHydra.instance().is_initialized()


def test_interpolations_stay_as_they_are():
    node = compose_choices({"data": "nuclei"})
    assert OmegaConf.to_container(node, resolve=False)["data"]["root"] == "${sample:nuclei}"
    assert node.data.root == str(resource_dir("samples") / "nuclei")


def test_what_is_done_to_one_composition_does_not_show_in_the_next():
    compose_choices({}).optim.lr = 123.0
    assert compose_choices({}).optim.lr != 123.0


def test_only_what_is_in_the_schema_gets_in():
    node = compose_choices({"data": "shapes"})
    with pytest.raises(OmegaConfBaseException):
        node.data.imaginary = 1
    with pytest.raises(OmegaConfBaseException):
        node.data.train_images = "many"


def test_a_file_that_can_not_be_read_is_named(tmp_path):
    (tmp_path / "conv").mkdir()
    (tmp_path / "conv" / "broken.yaml").write_text("kind: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        compose_choices({"conv": "broken"}, tmp_path)
