#!/usr/bin/env bash
# AlbumentationsX 2.5.1: transforms that say they move oriented boxes leave these without their turn: a box turned by 30 degrees comes back with 0, and lies beside its object.
#
# Guess: with bbox_type="obb" each transform that lists "obb" returns a box around the object, turned as the object is, or the transform refuses (some do).
# Seen: so it is with flips, crops, Affine, Rotate and Perspective. After ElasticTransform, GridDistortion, OpticalDistortion, PiecewiseAffine and ThinPlateSpline, each so weak
# that no pixel moves by half a pixel, the angle is 0 or near it, while width and height are about those of the turned box: half of the object is outside.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 albumentationsx==2.5.1 opencv-python-headless==5.0.0.93 numpy==2.4.6
cd "$folder"
seen=$(NO_ALBUMENTATIONS_UPDATE=1 venv/bin/python -W ignore - 2> /dev/null <<'PY'
import albumentations as A
import numpy as np

box = [120, 80, 70, 26, 30]


def inside(box, shape):
    """Which pixels are in an oriented box."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    angle = np.deg2rad(box[4])
    along, across = (x - box[0]) * np.cos(angle) + (y - box[1]) * np.sin(angle), (y - box[1]) * np.cos(angle) - (x - box[0]) * np.sin(angle)
    return (abs(along) <= box[2] / 2) & (abs(across) <= box[3] / 2)


mask = inside(box, (160, 240)).astype(np.uint8)
for transform in (
    A.HorizontalFlip(p=1),
    A.Affine(rotate=(5, 5), p=1),
    A.Perspective(scale=(0.01, 0.01), p=1),
    A.ElasticTransform(alpha=0.01, sigma=8, p=1),
    A.GridDistortion(distort_limit=(0.001, 0.001), p=1),
    A.OpticalDistortion(distort_limit=(0.001, 0.001), p=1),
    A.PiecewiseAffine(scale=(0.0001, 0.0001), p=1),
    A.ThinPlateSpline(scale_range=(0.0001, 0.0001), p=1),
):
    kind = A.BboxParams(coord_format="cxcywh", bbox_type="obb", label_fields=["names"])
    moved = A.Compose([transform], bbox_params=kind, seed=0)(image=mask * 255, mask=mask, bboxes=[box], names=[1])
    found, object_ = inside(moved["bboxes"][0], mask.shape), moved["mask"] > 0
    print(type(transform).__name__, "IoU", f"{(found & object_).sum() / (found | object_).sum():.1f}", "angle", f"{moved['bboxes'][0][4]:.0f}")
PY
)
echo "$seen"
[ "$seen" = "HorizontalFlip IoU 1.0 angle -30
Affine IoU 1.0 angle 25
Perspective IoU 1.0 angle 30
ElasticTransform IoU 0.5 angle -3
GridDistortion IoU 0.5 angle 0
OpticalDistortion IoU 0.5 angle 0
PiecewiseAffine IoU 0.4 angle 0
ThinPlateSpline IoU 0.5 angle 0" ]
