#!/usr/bin/env bash
# PaddlePaddle 3.3.1: paddle.vision.transforms' affine turns, scales and shears an array about its corner, a PIL image and a tensor about their middle: image and mask come apart.
#
# Guess: a transform does the same to a PIL image, an array and a tensor, to which the same functions apply, so that an image in one form and its mask in another stay together.
# Seen: for arrays the centre is left out (a given one, too), and angles count the other way: a disc turned by 30 degrees lies 5 pixels above where it lies in the image, and partly outside; sheared by 20
# it lies 5 below. RandomAffine uses these functions. adjust_contrast of an array goes by a grey of 74 instead of by the image's mean, and center_crop to more than the image makes 4 x 4 pixels of an array or tensor of 31 x 41,
# where a PIL image is padded. Nothing is said. Flips, crops and translations agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0 opencv-python-headless==5.0.0.93 paddlepaddle==3.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import numpy as np
import paddle
from paddle.vision.transforms import functional
from PIL import Image

y, x = np.mgrid[:31, :41]
image = np.repeat(255 * ((x - 14) ** 2 + (y - 10) ** 2 < 30).astype(np.uint8)[..., None], 3, 2)
forms = {"PIL": Image.fromarray(image), "array": image, "tensor": paddle.to_tensor(image.transpose(2, 0, 1), dtype="float32")}


def middle(result):
    pixels = (result.numpy().transpose(1, 2, 0) if isinstance(result, paddle.Tensor) else np.asarray(result))[..., 0] > 0
    return f"({x[pixels].mean():.0f}, {y[pixels].mean():.0f})"


for name, angle, translation, scale, shear in (
    ("translated by 3, -2", 0, (3, -2), 1, (0, 0)),
    ("turned by 30", 30, (0, 0), 1, (0, 0)),
    ("scaled by 1.2", 0, (0, 0), 1.2, (0, 0)),
    ("sheared by 20", 0, (0, 0), 1, (20, 0)),
):
    print(name, *(f"{form} {middle(functional.affine(value, angle, translation, scale, shear))}" for form, value in forms.items()))
print("mean", f"{image.mean():.0f}", "contrast 0: PIL", np.asarray(functional.adjust_contrast(forms["PIL"], 0))[0, 0, 0], "array", functional.adjust_contrast(image, 0)[0, 0, 0])
print("cropped to 40 x 50: PIL", functional.center_crop(forms["PIL"], (40, 50)).size, "array", functional.center_crop(image, (40, 50)).shape)
PY
)
echo "$seen"
[ "$seen" = "translated by 3, -2 PIL (17, 8) array (17, 8) tensor (17, 8)
turned by 30 PIL (17, 8) array (17, 3) tensor (17, 8)
scaled by 1.2 PIL (13, 9) array (17, 12) tensor (13, 9)
sheared by 20 PIL (16, 10) array (14, 15) tensor (16, 10)
mean 19 contrast 0: PIL 19 array 74
cropped to 40 x 50: PIL (50, 40) array (4, 4, 3)" ]
