"""What keeps a detector from being built."""

import pytest

from dcnrun.config.schema import RoiPool
from dcnrun.tasks.detection.task import detector_problems
from tests.tasks.detection.factories import dilated_c5, faster_rcnn, retinanet


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (faster_rcnn(anchor_sizes=[32, 64]), "model.anchor_sizes=[32, 64] must be 5 sizes, one for each level"),
        (retinanet(anchor_sizes=[8] * 6), "must be 5 sizes"),
        (faster_rcnn(fpn=False, output_stride=32), "model.output_stride=32 does not fit model.fpn=false"),
        (dilated_c5(fpn_norm=True), "model.fpn_norm=true does nothing with model.fpn=false"),
    ],
)
def test_problems_name_the_key_and_the_value(model, problem):
    (found,) = detector_problems(model)
    assert problem in found


def test_settings_that_fit_have_no_problems():
    fitting = [
        faster_rcnn(),
        retinanet(),
        dilated_c5(),
        dilated_c5(anchor_sizes=[32]),
        faster_rcnn(roi_gamma=0.2, roi_pool=RoiPool.modulated),
    ]
    assert [list(detector_problems(model)) for model in fitting] == [[]] * len(fitting)
