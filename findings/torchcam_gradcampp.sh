#!/usr/bin/env bash
# torchcam 0.5.0: Grad-CAM++ weighs channels by the cubes of their gradients, and Smooth Grad-CAM++ shows what the last noisy image activates.
#
# Guess: GradCAMpp weighs a channel as its help says, by alpha * ReLU(gradient), where alpha is the squared gradient over twice that and the cubed one times the activations' sum; and the map
# of SmoothGradCAMpp is made of the image's own activations, noise being there for the weights alone.
# Seen: alpha is divided in place where a mask is true (`alpha[mask].div_(...)`), which divides a copy: what is left is the cube of the gradient. Of two halves with gradients 1 and 3 the
# second stands out 27 times as much, by Grad-CAM++ 1.2 times. SmoothGradCAMpp runs the network with noise and takes the activations of the last of these runs: with one channel, where any
# weight gives the map of its activations, it is another map. RefineCAM is made of GradCAMpp unless told otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchcam==0.5.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import torch
from torch import nn
from torchcam.methods import GradCAM, GradCAMpp, SmoothGradCAMpp


def network(slopes):
    """Features are the image's channels; the score is the sum of all pixels, each channel times its slope."""
    layers = nn.Sequential(nn.Conv2d(len(slopes), len(slopes), 1, bias=False), nn.Conv2d(len(slopes), 1, 1, bias=False), nn.Flatten(), nn.Linear(16, 1, bias=False))
    with torch.no_grad():
        layers[0].weight.copy_(torch.eye(len(slopes))[..., None, None])
        layers[1].weight.copy_(torch.tensor(slopes).view(1, -1, 1, 1))
        layers[3].weight.fill_(1)
    return layers.eval()


image = torch.zeros(1, 2, 4, 4)
image[:, 0, :, :2] = image[:, 1, :, 2:] = 1  # channel 0 is the left half, channel 1 the right one, 8 pixels each
gradients, activations = torch.tensor([1.0, 3.0]), image.sum((2, 3))[0]
alpha = gradients**2 / (2 * gradients**2 + activations * gradients**3)
print("Grad-CAM++ as its help says: right / left", f"{(alpha * gradients)[1] / (alpha * gradients)[0]:.2f}")
for method in (GradCAM, GradCAMpp):
    layers = network([1.0, 3.0])
    with method(layers, "0") as extractor:
        left_to_right = extractor(0, layers(image), normalized=False)[0][0, 0]
    print(method.__name__, f"right / left {left_to_right[3] / left_to_right[0]:.2f}")

image = torch.arange(16.0).view(1, 1, 4, 4) / 15
for std in (0.0001, 0.3, 2.0):
    torch.manual_seed(0)
    layers = network([1.0])
    with SmoothGradCAMpp(layers, "0", std=std) as extractor:
        layers(image)
        smooth = extractor(0)[0]
    print(f"SmoothGradCAMpp, std {std}: off by {(smooth - image[0]).abs().max():.2f} at most")
PY
)
echo "$seen"
[ "$seen" = "Grad-CAM++ as its help says: right / left 1.15
GradCAM right / left 3.00
GradCAMpp right / left 27.00
SmoothGradCAMpp, std 0.0001: off by 0.00 at most
SmoothGradCAMpp, std 0.3: off by 0.68 at most
SmoothGradCAMpp, std 2.0: off by 1.00 at most" ]
