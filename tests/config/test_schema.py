"""The schema is whole: each choice has its class of settings, each kind of convolution its traits."""

from dataclasses import fields

import pytest

from dcnrun.config.schema import (
    CONV_TRAITS,
    DATA_SCHEMAS,
    KINDS,
    MODEL_SCHEMAS,
    Architecture,
    ConvKind,
    Dilation,
    OptimConfig,
    Source,
)
from dcnrun.config.settings import all_settings


def test_every_architecture_and_source_has_a_class_of_settings():
    assert list(MODEL_SCHEMAS) == list(Architecture)
    assert set(DATA_SCHEMAS) == set(Source)
    assert {section: kinds.schemas for section, kinds in KINDS.items()} == {
        "model": MODEL_SCHEMAS,
        "data": DATA_SCHEMAS,
    }


@pytest.mark.parametrize("source", Source)
def test_settings_of_a_source_name_it_and_are_no_others(source):
    schema = DATA_SCHEMAS[source]
    assert schema().source is source
    assert sum(other is schema for other in DATA_SCHEMAS.values()) == 1


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_the_setting_that_chooses_a_kind_is_a_setting_of_every_kind(kinds):
    for schema in kinds.schemas.values():
        assert kinds.key in {field.name for field in fields(schema)}


def test_every_kind_of_convolution_has_traits_and_looks_like_no_other():
    assert list(CONV_TRAITS) == list(ConvKind)
    for look in ("colour", "marker"):
        assert len({getattr(traits, look) for traits in CONV_TRAITS.values()}) == len(ConvKind)


@pytest.mark.parametrize("kind", ConvKind)
def test_traits_name_settings_that_there_are(kind):
    traits = CONV_TRAITS[kind]
    assert set(traits.settings) <= all_settings().keys()
    assert len(set(traits.settings)) == len(traits.settings)
    assert ("optim.offset_lr_mult" in traits.settings) is traits.learns_offsets
    assert not (traits.learns_offsets and traits.dilation is Dilation.required)  # a control learns no offsets


@pytest.mark.parametrize(
    ("settings", "offset", "bias", "roi"),
    [
        ({}, 1, 1, 0.01),
        ({"offset_lr_mult": 0.1}, 0.1, 0.1, 0.01),
        ({"offset_bias_lr_mult": 2}, 1, 2, 0.01),
        ({"offset_lr_mult": 0.1, "offset_bias_lr_mult": 0.5, "roi_offset_lr_mult": 0}, 0.1, 0.05, 0),
    ],
)
def test_what_an_unset_multiplier_is(settings, offset, bias, roi):
    optim = OptimConfig(**settings)
    found = (optim.offset_multiplier, optim.offset_bias_multiplier, optim.roi_offset_multiplier)
    assert found == pytest.approx((offset, bias, roi))
