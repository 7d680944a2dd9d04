"""Layers and networks of other projects: the names of their modules and their arithmetic, in plain PyTorch, of any width.

Written from mmcv's and mmdetection's, detectron2's, transformers' and DCNv2's (CharlesShang) modules and kernels.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

# Layers -------------------------------------------------------------------------------------------------------------------


def bilinear(image, y, x):
    """A feature map (C, H, W) at points of any shape, zeros around it."""
    height, width = image.shape[-2:]
    value = 0
    for row, row_weight in ((y.floor(), 1 - y + y.floor()), (y.floor() + 1, y - y.floor())):
        for column, column_weight in ((x.floor(), 1 - x + x.floor()), (x.floor() + 1, x - x.floor())):
            is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = image[:, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
            value = value + at * (row_weight * column_weight * is_inside)
    return value


def deform_kernel(x, offset, mask, weight, stride, padding, groups):
    """What the kernels of all three projects compute: offset channels are y and x in turn, group after group, points row by row."""
    out_channels, channels, high, wide = weight.shape
    per_group = channels // groups
    rows, columns = torch.meshgrid(
        *(torch.arange(side) * stride - padding for side in offset.shape[-2:]), indexing="ij"
    )
    images = []
    for image, moves, factors in zip(x, offset, mask, strict=True):
        output = torch.zeros(out_channels, *offset.shape[-2:], dtype=x.dtype)
        for group in range(groups):
            taken = slice(group * per_group, (group + 1) * per_group)
            for i in range(high):
                for j in range(wide):
                    point = group * high * wide + i * wide + j
                    samples = bilinear(image[taken], rows + i + moves[2 * point], columns + j + moves[2 * point + 1])
                    output += torch.einsum("oc,chw->ohw", weight[:, taken, i, j], samples * factors[point])
        images.append(output)
    return torch.stack(images)


class DeformPack(nn.Module):
    """mmcv's DeformConv2dPack and ModulatedDeformConv2dPack, and DCNv2's DCN, which are called by the name of their branch."""

    branch = "conv_offset"

    def __init__(self, channels, stride=1, *, modulated, groups=1, bias=False):
        super().__init__()
        self.stride, self.groups, self.modulated = stride, groups, modulated
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        if bias:
            self.bias = nn.Parameter(torch.empty(channels))
        self.add_module(self.branch, nn.Conv2d(channels, (2 + modulated) * 9 * groups, 3, stride, 1))

    def forward(self, x):
        return self.convolved(x, getattr(self, self.branch)(x)) + (
            self.bias[:, None, None] if hasattr(self, "bias") else 0
        )

    def convolved(self, x, out):
        if self.modulated:
            o1, o2, mask = torch.chunk(out, 3, dim=1)
            offset, mask = torch.cat((o1, o2), dim=1), torch.sigmoid(mask)
        else:
            offset, mask = out, torch.ones_like(out[:, ::2])
        return deform_kernel(x, offset, mask, self.weight, self.stride, 1, self.groups)


class CharlesShang(DeformPack):
    branch = "conv_offset_mask"


class DeformRoIPoolPack(nn.Module):
    """mmcv's, on one feature map; the first half of its offsets is x."""

    def __init__(self, side, channels, hidden, scale, gamma=0.1):
        super().__init__()
        self.side, self.scale, self.gamma = side, scale, gamma
        self.offset_fc = nn.Sequential(
            *(nn.Linear(side**2 * channels, hidden), nn.ReLU()),
            *(nn.Linear(hidden, hidden), nn.ReLU()),
            nn.Linear(hidden, 2 * side**2),
        )

    def forward(self, feature_map, rois):
        """(C, H, W) and boxes (R, 4) in pixels of the image to (R, C, side, side)."""
        plain = self.pooled(feature_map, rois, torch.zeros(len(rois), 2, self.side, self.side))
        offset = self.offset_fc(plain.flatten(1)).reshape(len(rois), 2, self.side, self.side)
        return self.pooled(feature_map, rois, offset)

    def pooled(self, feature_map, rois, offset):
        height, width = feature_map.shape[-2:]
        pooled = torch.zeros(len(rois), len(feature_map), self.side, self.side)
        for nth, roi in enumerate(rois * self.scale - 0.5):
            roi_width, roi_height = roi[2] - roi[0], roi[3] - roi[1]
            for row in range(self.side):
                for column in range(self.side):
                    left = roi[0] + self.gamma * roi_width * offset[nth, 0, row, column]
                    top = roi[1] + self.gamma * roi_height * offset[nth, 1, row, column]
                    samples_y = int(torch.ceil(roi_height / self.side))
                    samples_x = int(torch.ceil(roi_width / self.side))
                    within = torch.meshgrid(torch.arange(samples_y), torch.arange(samples_x), indexing="ij")
                    y = top + roi_height / self.side * (row + (within[0] + 0.5) / samples_y)
                    x = left + roi_width / self.side * (column + (within[1] + 0.5) / samples_x)
                    is_inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
                    values = bilinear(feature_map, y.clamp(0, height - 1), x.clamp(0, width - 1)) * is_inside
                    pooled[nth, :, row, column] = values.sum((1, 2)) / max(samples_y * samples_x, 1)
        return pooled


# Networks -----------------------------------------------------------------------------------------------------------------


def randomize(network, seed=0):
    """Draw every tensor of a network so that what it computes neither grows nor fades."""
    random = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not tensor.dtype.is_floating_point or name.startswith("pixel_"):
            continue
        if tensor.dim() > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=random) / tensor[0].numel() ** 0.5)
        elif name.endswith(("running_var", "weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
        else:
            tensor.copy_(torch.randn(tensor.shape, generator=random) / 4)
    return network.eval()


def pyramid(laterals, outputs, features):
    """The levels of both projects' feature pyramids, the finest first."""
    merged = [lateral(feature) for lateral, feature in zip(laterals, features, strict=True)]
    for finer in range(len(merged) - 1, 0, -1):
        size = merged[finer - 1].shape[-2:]
        merged[finer - 1] = merged[finer - 1] + functional.interpolate(merged[finer], size=size, mode="nearest")
    return [output(each) for output, each in zip(outputs, merged, strict=True)]


class MmdetBlock(nn.Module):
    def __init__(self, channels, width, stride, dcn):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = DeformPack(width, stride, **dcn) if dcn else nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        if stride > 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        return (self.bn3(self.conv3(out)) + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class MmdetResNet(nn.Module):
    """ResNet-50 in PyTorch's style with DCN in stages c3 to c5."""

    def __init__(self, width, dcn):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate([3, 4, 6, 3]):
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(MmdetBlock(channels, width * 2**stage, stride, dcn if stage else None))
                channels = 4 * width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        features = [functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)]
        for stage in range(4):
            features.append(getattr(self, f"layer{stage + 1}")(features[-1]))
        return features[1:]


class MmsegBlock(nn.Module):
    def __init__(self, channels, width, stride, dilation):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, dilation, dilation, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        if channels != width:
            shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x):
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (out + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class MmsegResNet(nn.Module):
    """ResNet-18 v1c with an output stride of 8: c4 and c5 are dilated by 2 and 4, their first block by half as much, and no second convolution."""

    def __init__(self, width):
        super().__init__()
        half, layers = width // 2, []
        for channels, out_channels, stride in ((3, half, 2), (half, half, 1), (half, width, 1)):
            convolution = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
        self.stem, channels = nn.Sequential(*layers), width
        for stage, (stride, dilation) in enumerate(((1, 1), (2, 1), (1, 2), (1, 4))):
            wide, first = width * 2**stage, max(dilation // 2, 1)
            blocks = MmsegBlock(channels, wide, stride, first), MmsegBlock(wide, wide, 1, dilation)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = wide

    def forward(self, x):
        features = [functional.max_pool2d(self.stem(x), 3, 2, 1)]
        for stage in range(4):
            features.append(getattr(self, f"layer{stage + 1}")(features[-1]))
        return features[1:]


class MmcvLayer(nn.Module):
    """mmcv's ConvModule with norm: a convolution by the name `conv`, its normalisation `bn`, and ReLU."""

    def __init__(self, channels, out_channels, side, dilation=1, groups=1):
        super().__init__()
        padding = dilation * (side // 2)
        self.conv = nn.Conv2d(channels, out_channels, side, 1, padding, dilation, groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


class MmcvSeparable(nn.Module):
    def __init__(self, channels, out_channels, dilation=1):
        super().__init__()
        self.depthwise_conv = MmcvLayer(channels, channels, 3, dilation, channels)
        self.pointwise_conv = MmcvLayer(channels, out_channels, 1)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class MmsegFCNHead(nn.Module):
    """Of two layers beside their input, or of one alone, as in the published configs."""

    def __init__(self, width, channels, classes, concat=True):
        super().__init__()
        inputs = 8 * width
        layers = [MmcvLayer(inputs, channels, 3), MmcvLayer(channels, channels, 3)]
        self.convs = nn.Sequential(*layers[: 1 + concat])
        if concat:
            self.conv_cat = MmcvLayer(inputs + channels, channels, 3)
        self.conv_seg = nn.Conv2d(channels, classes, 1)

    def forward(self, c2, c5):
        hidden = self.convs(c5)
        if hasattr(self, "conv_cat"):
            hidden = self.conv_cat(torch.cat([c5, hidden], dim=1))
        return self.conv_seg(hidden)


class MmsegASPPHead(nn.Module):
    """DeepLabv3's head, and v3+'s where it has channels of c2."""

    def __init__(self, width, channels, classes, of_c2=0):
        super().__init__()
        inputs = 8 * width
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), MmcvLayer(inputs, channels, 1))
        later = [(MmcvSeparable if of_c2 else MmcvLayer), *((inputs, channels) if of_c2 else (inputs, channels, 3))]
        self.aspp_modules = nn.ModuleList(
            [MmcvLayer(inputs, channels, 1), *(later[0](*later[1:], dilation=rate) for rate in (12, 24, 36))]
        )
        self.bottleneck = MmcvLayer(5 * channels, channels, 3)
        if of_c2:
            self.c1_bottleneck = MmcvLayer(width, of_c2, 1)
            self.sep_bottleneck = nn.Sequential(
                MmcvSeparable(channels + of_c2, channels), MmcvSeparable(channels, channels)
            )
        self.conv_seg = nn.Conv2d(channels, classes, 1)

    def forward(self, c2, c5):
        pooled = self.image_pool(c5).expand(-1, -1, *c5.shape[-2:])
        x = self.bottleneck(torch.cat([pooled, *(module(c5) for module in self.aspp_modules)], dim=1))
        if hasattr(self, "sep_bottleneck"):
            x = functional.interpolate(x, c2.shape[-2:], mode="bilinear", align_corners=False)
            x = self.sep_bottleneck(torch.cat([x, self.c1_bottleneck(c2)], dim=1))
        return self.conv_seg(x)


class MmsegNetwork(nn.Module):
    """An EncoderDecoder on R-18 v1c, with the auxiliary head that the published ones have."""

    def __init__(self, width, head):
        super().__init__()
        self.backbone, self.decode_head = MmsegResNet(width), head
        self.auxiliary_head = nn.Module()
        self.auxiliary_head.convs = nn.Sequential(MmcvLayer(4 * width, width, 3))
        self.auxiliary_head.conv_seg = nn.Conv2d(width, 3, 1)

    def forward(self, rgb):
        """Scores of images in RGB from 0 to 255, of their size."""
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
        c2, _, _, c5 = self.backbone((rgb - mean[:, None, None]) / std[:, None, None])
        return functional.interpolate(self.decode_head(c2, c5), rgb.shape[-2:], mode="bilinear", align_corners=False)


class ConvModule(nn.Module):
    """mmcv's, without norm: a convolution by the name `conv`, perhaps with ReLU."""

    def __init__(self, channels, out_channels, side, stride=1, act=False):
        super().__init__()
        self.conv, self.act = nn.Conv2d(channels, out_channels, side, stride, side // 2), act

    def forward(self, x):
        return self.conv(x).relu() if self.act else self.conv(x)


class MmdetFPN(nn.Module):
    def __init__(self, width, channels, start, extra):
        super().__init__()
        inputs = [4 * width * 2**stage for stage in range(start, 4)]
        self.lateral_convs = nn.ModuleList(ConvModule(each, channels, 1) for each in inputs)
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in inputs)
        if extra:  # on_input
            self.fpn_convs.append(ConvModule(inputs[-1], channels, 3, 2))
            self.fpn_convs.append(ConvModule(channels, channels, 3, 2))
        self.start = start

    def forward(self, features):
        used = features[self.start :]
        return pyramid(self.lateral_convs, self.fpn_convs[: len(used)], used)


class MmdetRPNHead(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls, self.rpn_reg = nn.Conv2d(channels, 3, 1), nn.Conv2d(channels, 12, 1)

    def forward(self, x):
        x = self.rpn_conv(x).relu()
        return self.rpn_cls(x), self.rpn_reg(x)


class MmdetBBoxHead(nn.Module):
    def __init__(self, channels, hidden, side, classes):
        super().__init__()
        self.shared_fcs = nn.ModuleList([nn.Linear(channels * side**2, hidden), nn.Linear(hidden, hidden)])
        self.fc_cls, self.fc_reg = nn.Linear(hidden, classes + 1), nn.Linear(hidden, 4 * classes)

    def forward(self, pooled):
        x = pooled.flatten(1)
        for layer in self.shared_fcs:
            x = layer(x).relu()
        return self.fc_cls(x), self.fc_reg(x)


class MmdetMaskHead(nn.Module):
    def __init__(self, channels, hidden, classes):
        super().__init__()
        self.convs = nn.ModuleList(ConvModule(hidden if nth else channels, hidden, 3, act=True) for nth in range(4))
        self.upsample = nn.ConvTranspose2d(hidden, hidden, 2, 2)
        self.conv_logits = nn.Conv2d(hidden, classes, 1)

    def forward(self, pooled):
        for conv in self.convs:
            pooled = conv(pooled)
        return self.conv_logits(self.upsample(pooled).relu())


class MmdetMaskRcnn(nn.Module):
    """Mask R-CNN R-50 FPN with DCN in c3 to c5, whose background is the last class."""

    def __init__(self, width=64, channels=256, hidden=1024, mask_channels=256, side=7, classes=80, dcn=None):
        super().__init__()
        self.backbone = MmdetResNet(width, dcn or {"modulated": False})
        self.neck = MmdetFPN(width, channels, 0, extra=False)
        self.rpn_head = MmdetRPNHead(channels)
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = MmdetBBoxHead(channels, hidden, side, classes)
        self.roi_head.mask_head = MmdetMaskHead(channels, mask_channels, classes)

    def levels(self, rgb):
        """The pyramid of images in RGB from 0 to 255."""
        mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
        return self.neck(self.backbone((rgb - mean[:, None, None]) / std[:, None, None]))

    def proposals(self, level):
        return self.rpn_head(level)

    def boxes(self, pooled):
        return self.roi_head.bbox_head(pooled)

    def masks(self, pooled):
        return self.roi_head.mask_head(pooled)


class MmdetRetinaHead(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.cls_convs = nn.ModuleList(ConvModule(channels, channels, 3, act=True) for _ in range(4))
        self.reg_convs = nn.ModuleList(ConvModule(channels, channels, 3, act=True) for _ in range(4))
        self.retina_cls = nn.Conv2d(channels, 9 * classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(channels, 36, 3, padding=1)

    def forward(self, x):
        of_classes = of_boxes = x
        for cls_conv, reg_conv in zip(self.cls_convs, self.reg_convs, strict=True):
            of_classes, of_boxes = cls_conv(of_classes), reg_conv(of_boxes)
        return self.retina_cls(of_classes), self.retina_reg(of_boxes)


class MmdetRetinaNet(nn.Module):
    """RetinaNet R-50 FPN with DCNv2 in c3 to c5; p6 is made of c5."""

    def __init__(self, width=64, channels=256, classes=80, dcn=None):
        super().__init__()
        self.backbone = MmdetResNet(width, dcn or {"modulated": True})
        self.neck = MmdetFPN(width, channels, 1, extra=True)
        self.bbox_head = MmdetRetinaHead(channels, classes)

    levels = MmdetMaskRcnn.levels

    def outputs(self, level):
        return self.bbox_head(level)

    @staticmethod
    def cell_anchors(size):
        """Widths and heights, in the order of the outputs: a ratio's sizes one after another."""
        sizes = [size * 2 ** (nth / 3) for nth in range(3)]
        return torch.tensor([[each / ratio**0.5, each * ratio**0.5] for ratio in (0.5, 1, 2) for each in sizes])


class D2Conv(nn.Conv2d):
    """detectron2's: with its normalisation inside."""

    def __init__(self, channels, out_channels, side, stride=1):
        super().__init__(channels, out_channels, side, stride, side // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x):
        return self.norm(super().forward(x))


class D2DeformConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.empty(channels, channels, 3, 3)), nn.BatchNorm2d(channels)


class D2Block(nn.Module):
    """A bottleneck whose first convolution strides, as those from Caffe do."""

    def __init__(self, channels, width, stride, modulated):
        super().__init__()
        if channels != 4 * width:
            self.shortcut = D2Conv(channels, 4 * width, 1, stride)
        self.conv1 = D2Conv(channels, width, 1, stride)
        self.modulated = modulated
        if modulated is None:
            self.conv2 = D2Conv(width, width, 3)
        else:
            self.conv2_offset = nn.Conv2d(width, 27 if modulated else 18, 3, padding=1)
            self.conv2 = D2DeformConv(width)
        self.conv3 = D2Conv(width, 4 * width, 1)

    def forward(self, x):
        out = self.conv1(x).relu()
        if self.modulated is None:
            out = self.conv2(out)
        else:
            moves = self.conv2_offset(out)
            if self.modulated:
                offset_x, offset_y, mask = torch.chunk(moves, 3, dim=1)
                moves, mask = torch.cat((offset_x, offset_y), dim=1), mask.sigmoid()
            else:
                mask = torch.ones_like(moves[:, ::2])
            out = self.conv2.norm(deform_kernel(out, moves, mask, self.conv2.weight, 1, 1, 1))
        return (self.conv3(out.relu()) + (self.shortcut(x) if hasattr(self, "shortcut") else x)).relu()


class D2Stem(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = D2Conv(3, channels, 7, 2)

    def forward(self, x):
        return self.conv1(x).relu()


class D2DeepLabStem(nn.Module):
    """What the ResNets of detectron2's DeepLab begin with."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = D2Conv(3, channels // 2, 3, 2)
        self.conv2 = D2Conv(channels // 2, channels // 2, 3)
        self.conv3 = D2Conv(channels // 2, channels, 3)

    def forward(self, x):
        return self.conv3(self.conv2(self.conv1(x).relu()).relu()).relu()


class D2ResNet(nn.Module):
    def __init__(self, width, modulated, stem=D2Stem, stem_channels=None):
        super().__init__()
        channels = stem_channels or width
        self.stem = stem(channels)
        for stage, depth in enumerate([3, 4, 6, 3]):
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(D2Block(channels, width * 2**stage, stride, modulated if stage else None))
                channels = 4 * width * 2**stage
            self.add_module(f"res{stage + 2}", nn.Sequential(*blocks))

    def forward(self, x):
        features = [functional.max_pool2d(self.stem(x), 3, 2, 1)]
        for stage in range(4):
            features.append(getattr(self, f"res{stage + 2}")(features[-1]))
        return features[1:]


class D2FPN(nn.Module):
    def __init__(self, width, channels, modulated, finest=2):
        super().__init__()
        self.stages = range(finest, 6)
        for stage in self.stages:
            self.add_module(f"fpn_lateral{stage}", nn.Conv2d(4 * width * 2 ** (stage - 2), channels, 1))
            self.add_module(f"fpn_output{stage}", nn.Conv2d(channels, channels, 3, padding=1))
        if finest == 3:
            self.top_block = nn.Module()
            self.top_block.p6 = nn.Conv2d(32 * width, channels, 3, 2, 1)
            self.top_block.p7 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.bottom_up = D2ResNet(width, modulated)

    def forward(self, x):
        features = self.bottom_up(x)[self.stages[0] - 2 :]
        laterals, outputs = ([getattr(self, f"fpn_{each}{n}") for n in self.stages] for each in ("lateral", "output"))
        return pyramid(laterals, outputs, features)


class D2Network(nn.Module):
    """What detectron2's meta architectures share: images in BGR, of which only the mean is subtracted."""

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.tensor([103.53, 116.28, 123.675])[:, None, None])
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))

    def levels(self, rgb):
        """The pyramid of images in RGB from 0 to 255."""
        return self.backbone((rgb.flip(1) - self.pixel_mean) / self.pixel_std)


class D2MaskRcnn(D2Network):
    """Mask R-CNN R-50 FPN with deformable convolution in c3 to c5, whose background is the last class."""

    def __init__(self, width=64, channels=256, hidden=1024, mask_channels=256, side=7, classes=80, modulated=False):
        super().__init__()
        self.backbone = D2FPN(width, channels, modulated)
        self.proposal_generator = nn.Module()
        self.proposal_generator.rpn_head = head = nn.Module()
        head.conv = nn.Conv2d(channels, channels, 3, padding=1)
        head.objectness_logits, head.anchor_deltas = nn.Conv2d(channels, 3, 1), nn.Conv2d(channels, 12, 1)
        self.roi_heads = nn.Module()
        self.roi_heads.box_head = nn.Module()
        self.roi_heads.box_head.fc1 = nn.Linear(channels * side**2, hidden)
        self.roi_heads.box_head.fc2 = nn.Linear(hidden, hidden)
        self.roi_heads.box_predictor = nn.Module()
        self.roi_heads.box_predictor.cls_score = nn.Linear(hidden, classes + 1)
        self.roi_heads.box_predictor.bbox_pred = nn.Linear(hidden, 4 * classes)
        self.roi_heads.mask_head = masks = nn.Module()
        for nth in range(4):
            convolution = nn.Conv2d(mask_channels if nth else channels, mask_channels, 3, padding=1)
            masks.add_module(f"mask_fcn{nth + 1}", convolution)
        masks.deconv = nn.ConvTranspose2d(mask_channels, mask_channels, 2, 2)
        masks.predictor = nn.Conv2d(mask_channels, classes, 1)

    def proposals(self, level):
        head = self.proposal_generator.rpn_head
        hidden = head.conv(level).relu()
        return head.objectness_logits(hidden), head.anchor_deltas(hidden)

    def boxes(self, pooled):
        hidden = self.roi_heads.box_head.fc2(self.roi_heads.box_head.fc1(pooled.flatten(1)).relu()).relu()
        return self.roi_heads.box_predictor.cls_score(hidden), self.roi_heads.box_predictor.bbox_pred(hidden)

    def masks(self, pooled):
        head = self.roi_heads.mask_head
        for nth in range(4):
            pooled = getattr(head, f"mask_fcn{nth + 1}")(pooled).relu()
        return head.predictor(head.deconv(pooled).relu())


class D2RetinaNet(D2Network):
    """RetinaNet R-50 FPN with deformable convolution in c3 to c5; p6 is made of c5."""

    def __init__(self, width=64, channels=256, classes=80, modulated=True):
        super().__init__()
        self.backbone = D2FPN(width, channels, modulated, finest=3)
        self.head = nn.Module()
        for name in ("cls_subnet", "bbox_subnet"):
            layers = [layer for _ in range(4) for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())]
            self.head.add_module(name, nn.Sequential(*layers))
        self.head.cls_score = nn.Conv2d(channels, 9 * classes, 3, padding=1)
        self.head.bbox_pred = nn.Conv2d(channels, 36, 3, padding=1)

    def outputs(self, level):
        return self.head.cls_score(self.head.cls_subnet(level)), self.head.bbox_pred(self.head.bbox_subnet(level))

    @staticmethod
    def cell_anchors(size):
        """Widths and heights, in the order of the outputs: a size's ratios one after another."""
        sizes = [size * 2 ** (nth / 3) for nth in range(3)]
        return torch.tensor([[each / ratio**0.5, each * ratio**0.5] for each in sizes for ratio in (0.5, 1, 2)])


# transformers -------------------------------------------------------------------------------------------------------------


class TransformersConv(nn.Module):
    """ResNetConvLayer."""

    def __init__(self, channels, outputs, kernel, stride=1):
        super().__init__()
        self.convolution = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.normalization(self.convolution(x))


class TransformersBlock(nn.Module):
    """ResNetBottleNeckLayer, or ResNetBasicLayer where it is not narrow."""

    def __init__(self, channels, width, stride, narrow):
        super().__init__()
        outputs = 4 * width if narrow else width
        self.shortcut = (
            TransformersConv(channels, outputs, 1, stride) if stride > 1 or channels != outputs else nn.Identity()
        )
        sizes = ((1, 1), (3, stride), (1, 1)) if narrow else ((3, stride), (3, 1))
        widths = [channels, *(width,) * (len(sizes) - 1), outputs]
        self.layer = nn.Sequential(
            *(TransformersConv(*pair, *size) for pair, size in zip(pairwise(widths), sizes, strict=True))
        )

    def forward(self, x):
        y = x
        for nth, layer in enumerate(self.layer):
            y = layer(y).relu() if nth < len(self.layer) - 1 else layer(y)
        return (y + self.shortcut(x)).relu()


class TransformersResNet(nn.Module):
    """ResNetModel."""

    def __init__(self, width, depths, narrow):
        super().__init__()
        self.embedder = nn.ModuleDict({"embedder": TransformersConv(3, width, 7, 2)})
        channels, stages = width, []
        for stage, depth in enumerate(depths):
            blocks = nn.ModuleList()
            for block in range(depth):
                blocks.append(TransformersBlock(channels, width * 2**stage, 2 if stage and not block else 1, narrow))
                channels = width * 2**stage * (4 if narrow else 1)
            stages.append(nn.ModuleDict({"layers": blocks}))
        self.encoder = nn.ModuleDict({"stages": nn.ModuleList(stages)})

    def forward(self, x):
        features = [functional.max_pool2d(self.embedder["embedder"](x).relu(), 3, 2, 1)]
        for stage in self.encoder["stages"]:
            y = features[-1]
            for block in stage["layers"]:
                y = block(y)
            features.append(y)
        return features[1:]
