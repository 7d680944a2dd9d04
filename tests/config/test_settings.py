from dataclasses import fields

import pytest
from omegaconf import OmegaConf

from dcnrun.config.compose import compose
from dcnrun.config.groups import SECTIONS
from dcnrun.config.listing import as_text, list_settings
from dcnrun.config.schema import DATA_SCHEMAS, Config, FolderConfig, ShapesConfig, Source
from dcnrun.config.settings import all_settings, known_keys, section_meaning, settings, sources_with


def leaves(node, prefix=""):
    """Keys of everything that is no section, found by OmegaConf and not by us."""
    for key, value in node.items():
        if OmegaConf.is_dict(value):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize("source", Source)
def test_the_settings_are_those_of_a_composed_config(source):
    composed = OmegaConf.structured(compose([f"data={source}"]))
    assert [setting.key for setting in settings(DATA_SCHEMAS[source])] == list(leaves(composed))


def test_every_setting_and_section_says_what_it_means():
    for setting in all_settings().values():
        assert setting.meaning
        assert setting.allowed
    for section in SECTIONS:
        assert section_meaning(section)


def test_sections_are_the_groups_and_keys_stand_in_their_order():
    assert [field.name for field in fields(Config)][: len(SECTIONS)] == list(SECTIONS)
    sections = [key.split(".")[0] for key in known_keys() if "." in key]
    assert list(dict.fromkeys(sections)) == list(SECTIONS)
    assert sections == sorted(sections, key=SECTIONS.index)


def test_types_in_words_and_their_values():
    by_key = all_settings()
    assert by_key["optim.lr"].allowed == "a number"
    assert by_key["conv.dilation"].allowed == "a whole number or null"
    assert by_key["conv.kind"].allowed == "one of standard, dilated, deformable, modulated"
    assert by_key["conv.kind"].values == ["standard", "dilated", "deformable", "modulated"]
    assert by_key["logger.csv"].values == ["true", "false"]
    assert by_key["optim.lr"].values == []
    assert by_key["data.mean"].default == ShapesConfig().mean


def test_settings_that_only_some_data_sets_have():
    assert sources_with("data.classes") == [Source.folder]
    assert sources_with("data.flip") == list(Source)
    assert sources_with("data.nothing") == []


def test_every_value_of_an_enum_is_accepted():
    for setting in all_settings().values():
        for value in setting.values:
            if setting.key != "data.source":
                compose([f"{setting.key}={value}"])


def test_the_list_has_every_setting_with_its_value():
    listing = list_settings(compose(["data=nuclei", "optim.lr=0.125", "optim.clip_norm=null"]))
    entries = {entry["key"]: entry for entry in listing["settings"]}
    assert set(entries) == set(known_keys())
    assert entries["optim.lr"]["value"] == 0.125
    assert entries["data.classes"]["value"] == ["background", "nucleus"]
    assert entries["data.classes"]["only_with"] == ["folder"]
    assert entries["data.warp"]["value"] == ShapesConfig().warp
    assert entries["data.batch_size"]["value"] != FolderConfig().batch_size
    assert entries["data.flip"]["only_with"] == []
    assert listing["groups"]["model"] == ["deeplab", "deeplabv3", "fcn"]

    text = as_text(listing)
    for line in ["optim.lr=0.125", "data.classes=[background,nucleus]", "optim.clip_norm=null", "logger.csv=false"]:
        assert f"  {line} " in text
