"""Detections of two networks compared, and an exported detector in the place of its network."""

import dataclasses

import pytest
import torch

from dcnrun.errors import DataError, DcnrunError
from dcnrun.export.description import OF_OBJECTS
from dcnrun.export.detections import ExportedDetector, Partners, partners
from dcnrun.export.formats import ExportedNetwork
from tests.export.factories import DESCRIPTION


def detections(*found, masks=None):
    """Of (x0, y0, x1, y1, score, label)."""
    rows = torch.tensor(found, dtype=torch.float64).reshape(-1, 6)
    of_them = {"boxes": rows[:, :4].float(), "scores": rows[:, 4].float(), "labels": rows[:, 5].long()}
    return of_them if masks is None else {**of_them, "masks": masks}


CAT, DOG = (0, 0, 100, 50, 0.9, 1), (10, 10, 30, 30, 0.5, 2)


def alone(found, wanted, tolerance=1e-2):
    forth, back = partners(found, wanted, tolerance), partners(wanted, found, tolerance)
    assert forth.alone == back.alone
    return forth.alone


def test_partners_have_the_same_class_place_score_and_mask():
    here = detections(CAT, DOG)
    assert partners(here, here, 1e-3) == Partners(4, 0, 0.0, 0.0)
    near = partners(detections((0, 0.9, 100, 50, 0.905, 1), DOG), here, 1e-2)
    assert near.alone == 0
    assert (near.largest_distance, near.largest_difference) == pytest.approx((0.9, 0.005), abs=1e-6)
    assert alone(detections((0, 1.1, 100, 50, 0.9, 1), DOG), here) == 2
    assert alone(detections((0, 0, 100, 50, 0.92, 1), DOG), here) == 2
    assert alone(detections((0, 0, 100, 50, 0.9, 0), DOG), here) == 2
    masks = torch.rand(2, 1, 4, 4)
    assert alone(detections(CAT, DOG, masks=masks), detections(CAT, DOG, masks=masks + 0.005)) == 0
    assert alone(detections(CAT, DOG, masks=masks.flip(0)), detections(CAT, DOG, masks=masks)) == 2


def test_each_has_one_partner_and_the_nearest():
    shifted = detections((0, 0.5, 100, 50, 0.9, 1), CAT)
    assert partners(shifted, detections(CAT, (0, 0.6, 100, 50, 0.9, 1)), 1e-2).largest_distance == pytest.approx(0.1)
    assert partners(detections(CAT, CAT), detections(CAT), 1e-3).alone == 1


def test_what_was_cut_off_does_not_count_as_missing():
    other = (200, 0, 300, 50, 0.5, 2)
    assert alone(detections(CAT, DOG), detections(CAT, other)) == 0
    assert alone(detections(CAT, DOG), detections(CAT)) == 1
    assert alone(detections(), detections(CAT, DOG)) == 2
    assert alone(detections(), detections()) == 0


def test_more_than_one_in_a_hundred_alone_is_refused():
    Partners(200, 2).require_few_alone("Here", 1e-3)
    with pytest.raises(
        DcnrunError, match=r"Here, 3 of 200 detections .* no partner .*0\.001 .*1%\. No file was written"
    ):
        Partners(200, 3).require_few_alone("Here", 1e-3)


class Answers(ExportedNetwork):
    """A file that finds what it is given to find."""

    def __init__(self, *found):
        self.found, self.images = found, []

    def run(self, images):
        raise AssertionError

    def outputs(self, images):
        self.images.append(images)
        return self.found


OF_BOXES = dataclasses.replace(DESCRIPTION, outputs=OF_OBJECTS)


def test_an_exported_detector_sees_each_image_without_its_padding():
    answers = Answers(torch.tensor([[10.0, 10, 20, 30]]), torch.tensor([0.5]), torch.tensor([2]))
    images = torch.rand(2, 3, 64, 64)
    sized = dataclasses.replace(OF_BOXES, size=(100, 40))
    found = ExportedDetector(answers, OF_BOXES)(images, [(50, 60), (64, 32)])
    assert [image.shape[2:] for image in answers.images] == [(50, 60), (64, 32)]
    assert torch.equal(answers.images[1], images[1:, :, :, :32])
    assert found[0]["boxes"].tolist() == [[10, 10, 20, 30]]
    (found,) = ExportedDetector(answers, sized)(images[:1], [(50, 60)])
    assert answers.images[2].shape[2:] == (100, 40)
    assert found["boxes"].tolist() == [[15, 5, 30, 15]]


@pytest.mark.parametrize(
    "outputs",
    [
        (torch.zeros(2, 4), torch.zeros(2)),
        (torch.zeros(2, 5), torch.zeros(2), torch.zeros(2).long()),
        (torch.zeros(2, 4), torch.zeros(1), torch.zeros(2).long()),
        (torch.zeros(2, 4), torch.zeros(2), torch.zeros(2)),
        (torch.zeros(2, 4), torch.zeros(2), torch.tensor([0, 3])),
    ],
)
def test_outputs_that_are_no_detections(outputs):
    with pytest.raises(DataError, match="expected are boxes, scores, labels"):
        ExportedDetector(Answers(*outputs), OF_BOXES)(torch.zeros(1, 3, 8, 8), [(8, 8)])
