#!/usr/bin/env bash
# PaddlePaddle 3.3.1: resizing to one pixel takes the first, mode="area" resizes the wrong axes of NHWC, and averages with divisor_override aren't divided by it where there is padding.
#
# Guess: interpolate(align_corners=False) to one pixel gives the middle, as for every other size and as in PyTorch; mode="area" heeds data_format; "if specified, it will be used as divisor"
# (avg_pool2d) holds at the border; ceil_mode has no window that lies outside the map altogether.
# Seen: bilinear and bicubic give the first pixel of a row, linear its middle with the gradient of the first, trilinear the middle with its gradient. Area resizing of NHWC makes of 4 x 6 pixels
# with 3 channels 4 rows of 2 "columns" of 3, without a word. divisor_override multiplies by the kernel's size and divides what exclusive=True, the default, has divided by fewer pixels:
# padded windows are too large. With ceil_mode and a stride larger than the kernel the last row of maxima is -3.4e38, that of averages NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 paddlepaddle==3.3.1
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import paddle
from paddle.nn import functional

for mode, shape, size, layout in (
    ("linear", [1, 1, 5], [1], "NCW"),
    ("bilinear", [1, 1, 1, 5], [1, 1], "NCHW"),
    ("bicubic", [1, 1, 1, 5], [1, 1], "NCHW"),
    ("trilinear", [1, 1, 1, 1, 5], [1, 1, 1], "NCDHW"),
):
    row = paddle.arange(1, 6, dtype="float64").reshape(shape)
    row.stop_gradient = False
    resized = functional.interpolate(row, size, mode=mode, data_format=layout)
    resized.sum().backward()
    print(mode, f"{resized.item():.2f}", row.grad.flatten().numpy().round(2).tolist())
image = paddle.ones([1, 4, 6, 3])
print(*(functional.interpolate(image, [2, 3], mode=mode, data_format="NHWC").shape for mode in ("bilinear", "area")))
ones = paddle.ones([1, 1, 4, 4])
print("divided by 9", functional.avg_pool2d(ones, 3, 2, 1, divisor_override=9)[0, 0].numpy().astype(float).round(2).tolist())
print("not exclusive", functional.avg_pool2d(ones, 3, 2, 1, divisor_override=9, exclusive=False)[0, 0].numpy().astype(float).round(2).tolist())
for pooling in (functional.max_pool2d, functional.avg_pool2d):
    print(pooling.__name__, *(f"{value:.3g}" for value in pooling(ones, 1, 2, ceil_mode=True)[0, 0, -1].tolist()))
PY
)
echo "$seen"
[ "$seen" = "linear 3.00 [1.0, 0.0, 0.0, 0.0, 0.0]
bilinear 1.00 [1.0, 0.0, 0.0, 0.0, 0.0]
bicubic 0.91 [1.09, -0.09, 0.0, 0.0, 0.0]
trilinear 3.00 [0.0, 0.0, 1.0, 0.0, 0.0]
paddle.Size([1, 2, 3, 3]) paddle.Size([1, 4, 2, 3])
divided by 9 [[1.0, 1.0], [1.0, 1.0]]
not exclusive [[0.44, 0.67], [0.67, 1.0]]
max_pool2d -3.4e+38 -3.4e+38 -3.4e+38
avg_pool2d nan nan nan" ]
