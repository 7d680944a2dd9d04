from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from dcnrun.config.compose import compose
from dcnrun.config.groups import SECTIONS
from dcnrun.config.schema import KINDS, Architecture, Config, FolderConfig, ShapesConfig, Source
from dcnrun.config.settings import (
    all_settings,
    kinds_with,
    list_settings,
    listing_as_text,
    schemas_of,
    section_meaning,
    settings,
)


def leaves(node, prefix=""):
    """Keys of everything that is no section, found by OmegaConf and not by us."""
    for key, value in node.items():
        if OmegaConf.is_dict(value):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize("choice", [f"data={source}" for source in Source] + [f"model={head}" for head in Architecture])
def test_the_settings_are_those_of_a_composed_config(choice):
    config = compose([choice])
    assert [setting.key for setting in settings(schemas_of(config))] == list(leaves(OmegaConf.structured(config)))


def test_every_setting_and_section_says_what_it_means():
    for setting in all_settings().values():
        assert setting.meaning
        assert setting.allowed
    for section in SECTIONS:
        assert section_meaning(section)


def test_sections_are_the_groups_and_keys_stand_in_their_order():
    assert [field.name for field in fields(Config)][: len(SECTIONS)] == list(SECTIONS)
    sections = [key.split(".")[0] for key in list(all_settings()) if "." in key]
    assert list(dict.fromkeys(sections)) == list(SECTIONS)
    assert sections == sorted(sections, key=SECTIONS.index)


def test_types_in_words_and_their_values():
    by_key = all_settings()
    assert by_key["optim.lr"].allowed == "a number, at least 0"
    assert by_key["conv.dilation"].allowed == "an integer, at least 1, or null"
    assert by_key["conv.kind"].allowed == "one of standard, dilated, deformable, modulated, dcnv3, dcnv4"
    assert by_key["conv.kind"].values == ["standard", "dilated", "deformable", "modulated", "dcnv3", "dcnv4"]
    assert by_key["logger.csv"].values == ["true", "false"]
    assert by_key["optim.lr"].values == []
    assert by_key["data.mean"].default == ShapesConfig().mean


def test_settings_that_only_some_kinds_have():
    assert kinds_with("data.warp") == ["shapes"]
    assert kinds_with("data.flip") == list(Source)
    assert kinds_with("model.anchor_sizes") == ["faster_rcnn", "retinanet", "mask_rcnn"]
    assert kinds_with("data.nothing") == []
    assert kinds_with("optim.lr") == kinds_with("seed") == []


def test_every_value_of_an_enum_is_accepted():
    kinds = {f"{section}.{key}" for section, (key, _) in KINDS.items()}
    for setting in all_settings().values():
        section = setting.key.split(".")[0]
        choice = [f"{section}={kinds_with(setting.key)[0]}"] if section in KINDS else []
        for value in setting.values:
            if setting.key not in kinds:
                compose([*choice, f"{setting.key}={value}"])


def test_the_list_has_every_setting_with_its_value():
    listing = list_settings(compose(["data=nuclei", "optim.lr=0.125", "optim.clip_norm=null"]))
    entries = {entry["key"]: entry for entry in listing["settings"]}
    assert set(entries) == set(all_settings())
    assert entries["optim.lr"]["value"] == 0.125
    assert entries["data.classes"]["value"] == ["background", "nucleus"]
    assert entries["data.classes"]["only_with"] == [
        "data=folder",
        "data=voc",
        "data=yolo",
        "data=labelme",
        "data=supervisely",
        "data=instance_masks",
    ]
    assert entries["data.warp"]["value"] == ShapesConfig().warp
    assert entries["data.batch_size"]["value"] != FolderConfig().batch_size
    assert entries["data.flip"]["only_with"] == []
    assert listing["groups"]["model"] == sorted(Architecture)

    text = listing_as_text(listing)
    for line in ["optim.lr=0.125", "data.classes=[background,nucleus]", "optim.clip_norm=null", "logger.csv=false"]:
        assert f"  {line} " in text
