"""What a comparison's page says of errors, beside the results that it comes from."""

import numpy as np
import pytest

from dcnrun.compare.errors_page import confusion_names, errors_data, errors_sections
from dcnrun.compare.results import compare
from tests.compare.factories import matches, variant


@pytest.fixture
def detectors(tmp_path):
    return compare(
        [
            variant(
                tmp_path, name, [f"conv={name}", "model=faster_rcnn"], (0, 1), images=matches(i), metric="val/map_50"
            )
            for i, name in enumerate(("standard", "deformable"))
        ]
    )


def test_confusion_matrices_are_summed_over_seeds(comparison):
    assert confusion_names(comparison) == ["background", "circle", "star"]
    names, data = errors_data(comparison)
    assert names == confusion_names(comparison)
    for each, held in zip(comparison.variants, data, strict=True):
        expected = sum(run.images.confusion.sum(axis=0) for run in each.runs)
        assert held["confusion"] == expected.tolist()
    text = "".join(errors_sections(comparison))
    assert 'id="of-confusion"' in text
    assert 'id="recall"' not in text
    assert "The largest differences" in text


def test_curves_of_detectors_have_the_area_of_the_metric(detectors):
    assert confusion_names(detectors) == []
    for each, held in zip(detectors.variants, errors_data(detectors)[1], strict=True):
        recall = held["recall"]
        assert len(recall["seeds"]) == 2
        assert np.mean(recall["mean"][1]) == pytest.approx(100 * each.mean, abs=1.5)  # at every second of 101 recalls
    text = "".join(errors_sections(detectors))
    assert 'id="recall"' in text
    assert "Images that differ most" in text


def test_without_results_per_image_nothing_is_said(tmp_path):
    alone = compare([variant(tmp_path, "standard", ["conv=standard"], with_images=False)])
    assert errors_sections(alone) == []
    assert errors_data(alone) == ([], [{"confusion": [], "recall": {"seeds": [], "mean": None}}])
