"""What keeps a detector from being built."""

import pytest

from dcnrun.config.compose import compose
from dcnrun.config.schema import RoiPool, YoloConfig
from dcnrun.errors import ConfigError
from dcnrun.tasks.detection.task import Detection, detector_problems
from dcnrun.tasks.validate import check_images_of, model_problems
from tests.data.factories import save_yolo, yolo_tree
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


@pytest.mark.parametrize("warp", ["data.random_rotation=5", "data.elastic=2.5"])
def test_data_without_masks_can_be_turned_by_quarters_alone(warp):
    voc = ["model=retinanet", "data=voc", "data.quarter_turns=true"]
    (said,) = model_problems(compose([*voc, warp]))
    assert said.startswith(f"{warp}: data=voc has no masks of objects; the box of a rotated or deformed object")
    assert model_problems(compose(voc)) == model_problems(compose(["model=retinanet", "data=coco", warp])) == []


def test_masks_are_opened_where_boxes_are_taken_from_them_and_objects_without_are_refused(tmp_path):
    plain, warped = (YoloConfig(root=str(yolo_tree(tmp_path)), elastic=pixels) for pixels in (0.0, 2.5))
    task = Detection()
    assert task.dataset(plain, "train")[0]["masks"] is None
    assert task.dataset(warped, "val")[0]["masks"] is None
    sample = task.dataset(warped, "train")[0]
    assert sample["masks"].flatten(1).any(1).all()
    save_yolo(tmp_path, "images/train/e.png", "0 0.5 0.5 0.5 0.5")
    before_any_run = compose(["model=retinanet", "data=yolo", f"data.root={tmp_path}", "data.elastic=2.5"])
    for refused in (lambda: task.dataset(warped, "train"), lambda: check_images_of(before_any_run)):
        with pytest.raises(ConfigError, match=r"data.elastic=2.5: training objects without a mask: 1; the box"):
            refused()
    task.dataset(plain, "train")
