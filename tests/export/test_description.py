"""What a file says of itself, as texts and back."""

import dataclasses

import pytest
import torch
from torch import nn

from dcnrun.errors import DataError
from dcnrun.export.description import Description, Normalising
from dcnrun.export.targets import Precision
from tests.export.factories import DESCRIPTION

OTHER = dataclasses.replace(
    DESCRIPTION,
    mean=(300.5,),
    std=(2.0,),
    bands=(4,),
    of_bytes=False,
    normalises=True,
    size=(40, 56),
    precision=Precision.fp16,
)


@pytest.mark.parametrize("description", [DESCRIPTION, OTHER])
def test_texts_are_read_as_they_were_written(description):
    metadata = description.as_metadata()
    assert all(isinstance(text, str) for text in metadata.values())
    assert Description.of(metadata) == description


def test_texts_that_are_of_another_file():
    for wrong in (
        {"classes": "[]"},
        {**DESCRIPTION.as_metadata(), "step": "many"},
        {**DESCRIPTION.as_metadata(), "mean": "1"},
    ):
        with pytest.raises(DataError, match="does not say what it is"):
            Description.of(wrong)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (
            DESCRIPTION,
            "float32 (batch, 3, height, width), RGB; each is (value / 255 - mean) / std. The network does not",
        ),
        (
            OTHER,
            "float32 (batch, 1, height, width), bands [4] of the image's, counted from 0, values of which unsigned",
        ),
    ],
)
def test_the_input_in_words(description, words):
    assert description.as_metadata()["input"].startswith(words)


@pytest.mark.parametrize("of_bytes", [True, False])
def test_pixels_are_what_normalisation_was_made_of(of_bytes):
    description = dataclasses.replace(DESCRIPTION, of_bytes=of_bytes)
    pixels = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8) if of_bytes else torch.rand(2, 3, 4, 5)
    values = pixels / 255 if of_bytes else pixels
    normalised = (values - torch.tensor(DESCRIPTION.mean)[:, None, None]) / torch.tensor(DESCRIPTION.std)[:, None, None]
    torch.testing.assert_close(description.pixels(normalised), pixels)
    torch.testing.assert_close(Normalising(nn.Identity(), description)(pixels), normalised)
