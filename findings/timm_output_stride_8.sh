#!/usr/bin/env bash
# timm 1.0.31: with output_stride=8 ConvNeXt, NF-RegNet and the ResNets that downsample by averages (-D) compute something else than their weights learnt.
#
# Guess: output_stride=16 or 8 puts dilation in place of strides so that the features are those of the strided network at more pixels: every second or fourth of
# them is one of these (the a trous algorithm), or the family refuses. So it is with resnet50, RegNet, MobileNetV2, Res2Net and RepVGG, with both.
# Seen: with 16 it is so of these too. With 8 the last stage of ConvNeXt and NF-RegNet is off by about as much as its largest feature, at random weights: its
# downsampling has an even kernel or an average over 2 x 2 pixels, which are taken from the neighbours of the dense map, or shifted. The ResNets of type D (also
# ResNeSt, ECA-ResNet-T, ResNetV2-D) are off by a twentieth to an eighth. Nothing is said; 8 is what DeepLabv3 asks for in segmentation_models.pytorch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1 timm==1.0.31
cd "$folder"
seen=$(venv/bin/python -W ignore - <<'PY'
import timm
import torch

torch.manual_seed(0)
image = torch.randn(1, 3, 128, 128, dtype=torch.float64)
for name in ("resnet18", "resnet50", "regnetx_002", "resnet26d", "resnetv2_50d", "convnext_atto", "nf_regnet_b0"):
    strided = timm.create_model(name, features_only=True).double().eval()
    with torch.no_grad():
        wanted = strided(image)[-1]
    told = []
    for stride in (16, 8):
        dilated = timm.create_model(name, features_only=True, output_stride=stride).double().eval()
        dilated.load_state_dict(strided.state_dict())
        with torch.no_grad():
            dense = dilated(image)[-1]
        every = 32 // stride
        apart = (dense[:, :, ::every, ::every] - wanted).abs().max() / wanted.abs().max()
        told.append("the same" if apart < 1e-9 else "more than a half apart" if apart > 0.5 else "more than a hundredth apart" if apart > 0.01 else "near")
    print(name, *told, sep=", ")
PY
)
echo "$seen"
[ "$seen" = "resnet18, the same, the same
resnet50, the same, the same
regnetx_002, the same, the same
resnet26d, the same, more than a hundredth apart
resnetv2_50d, the same, more than a hundredth apart
convnext_atto, the same, more than a half apart
nf_regnet_b0, the same, more than a half apart" ]
