"""What a comparison's page says of errors, beside the results that it comes from."""

import numpy as np
import pytest

from dcnrun.compare import errors_page
from dcnrun.compare.errors_page import confusion_names, errors_data, errors_sections
from dcnrun.compare.results import compare
from tests.compare.factories import CLASSES, matches, variant


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
    assert names == {"confusion": confusion_names(comparison), "curveClasses": []}
    for each, held in zip(comparison.variants, data, strict=True):
        expected = sum(run.images.confusion.sum(axis=0) for run in each.runs)
        assert held["confusion"] == expected.tolist()
    text = "".join(errors_sections(comparison))
    assert 'id="of-confusion"' in text
    assert 'id="recall"' not in text


def test_curves_of_detectors_have_the_area_of_the_metric(detectors):
    assert confusion_names(detectors) == []
    for each, held in zip(detectors.variants, errors_data(detectors)[1], strict=True):
        recall = held["recall"]
        assert len(recall["seeds"]) == 2
        assert np.mean(recall["mean"][1]) == pytest.approx(100 * each.mean, abs=1.5)  # at every second of 101 recalls
    text = "".join(errors_sections(detectors))
    assert 'id="recall"' in text
    assert "Left out: runs of detectors from before dcnrun kept confusion matrices" in text


def test_curves_of_a_class_are_means_over_seeds(detectors, monkeypatch):
    names, data = errors_data(detectors)
    assert names["curveClasses"] == list(CLASSES)
    for each, held in zip(detectors.variants, data, strict=True):
        for name, curve in zip(CLASSES, held["classRecall"], strict=True):
            of_runs = [run.images.precision_recall("val/map_50")[name].at(np.linspace(0, 1, 51)) for run in each.runs]
            assert curve == pytest.approx(100 * np.mean(of_runs, axis=0), rel=1e-3)
    assert 'id="of-recall"' in "".join(errors_sections(detectors))
    monkeypatch.setattr(errors_page, "_MOST_PRECISIONS", 2 * 3 * 51 - 1)
    assert errors_data(detectors)[0]["curveClasses"] == []
    text = "".join(errors_sections(detectors))
    assert 'id="of-recall"' not in text
    assert "Left out: curves of single classes" in text


def test_confusion_of_detectors_is_shown_or_said_to_be_too_much(tmp_path, monkeypatch):
    counts = np.arange(16).reshape(4, 4)
    images = matches(0)
    images.confusion = counts
    options = {"images": images, "metric": "val/map_50"}
    runs = variant(tmp_path, "standard", ["conv=standard", "model=faster_rcnn"], (0, 1), **options)
    comparison = compare([runs])
    names, (data,) = errors_data(comparison)
    assert names["confusion"] == [*CLASSES, "nothing"]
    assert data["confusion"] == (2 * counts).tolist()
    assert "Nothing: columns are objects that were missed" in "".join(errors_sections(comparison))
    monkeypatch.setattr(errors_page, "_MOST_CELLS", 15)
    assert errors_data(comparison)[0]["confusion"] == []
    assert "Left out: matrices of 4 x 4 cells for 1 variants are too much" in "".join(errors_sections(comparison))


def test_without_results_per_image_nothing_is_said(tmp_path):
    alone = compare([variant(tmp_path, "standard", ["conv=standard"], with_images=False)])
    assert errors_sections(alone) == []
    nothing = {"confusion": [], "recall": {"seeds": [], "mean": None}, "classRecall": []}
    assert errors_data(alone) == ({"confusion": [], "curveClasses": []}, [nothing])
