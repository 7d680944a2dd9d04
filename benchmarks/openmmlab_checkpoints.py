"""Whether networks of ours compute what OpenMMLab's own do, from the checkpoints that its published configs lead to.

    pip install --no-deps --target DIR mmdet==3.3.0 mmsegmentation==1.2.2 mmpretrain==1.2.0 mmcv-lite==2.1.0 mmengine==0.10.7 addict yapf \\
        termcolor terminaltables six ftfy regex wcwidth
    python -m benchmarks.openmmlab_checkpoints DIR benchmarks/results/openmmlab_checkpoints.json [PART ...]

Each network is built by mmdetection, mmsegmentation or mmpretrain from its config, at full size and with random weights; its checkpoint is inspected, and a network
of ours built from the settings that `dcnrun weights inspect` suggests. Then both see the same images. Only mmcv's compiled kernels are
torchvision's here: mmcv-lite has none. Both compute in fp64. PARTs of names choose among the configs. It takes two minutes.
"""

import importlib
import importlib.abc
import importlib.machinery
import json
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import deform_conv2d

from dcnrun.config.compose import compose
from dcnrun.config.schema import IMAGENET_MEAN, IMAGENET_STD
from dcnrun.tasks.build import build_model
from dcnrun.tasks.inspect_weights import inspect_weights

CONFIGS = (
    "mmdet/dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "mmdet/dcn/mask-rcnn_r101-dconv-c3-c5_fpn_1x_coco.py",
    "mmdet/dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco.py",
    "mmdet/dcnv2/mask-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py",
    "mmdet/mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco.py",
    "mmdet/retinanet/retinanet_r50_fpn_1x_coco.py",
    "mmdet/retinanet/retinanet_r50-caffe_fpn_1x_coco.py",
    "mmdet/dcn/cascade-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "mmdet/cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
    "mmdet/faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py",
    "mmseg/fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "mmseg/fcn/fcn_r18b-d8_4xb2-80k_cityscapes-512x1024.py",
    "mmseg/deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "mmseg/deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py",
    "mmseg/deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    "mmpretrain/resnet/resnet50_8xb32_in1k.py",
    "mmpretrain/resnet/resnetv1c50_8xb32_in1k.py",
)


PACKAGES = ("mmdet", "mmseg", "mmpretrain")


class _Absent(types.ModuleType):
    """A module that is not installed and that nothing here computes with: it has whatever is asked for."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds those modules that the packages import and need for data, text and compiled kernels alone."""

    absent = ("cv2", "pycocotools", "shapely", "modelindex", "einops", "prettytable", "mat4py", "mmcv._ext")

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        is_absent = any(name == each or name.startswith(f"{each}.") for each in self.absent)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_absent else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def kernels_of_torchvision() -> None:
    """Let mmcv's layers call torchvision's operator in the place of their own, which mmcv-lite leaves out."""

    def plain(x: Tensor, offset: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, *_: Any) -> Tensor:
        return deform_conv2d(x, offset, weight, None, stride, padding, dilation)  # type: ignore[no-any-return]

    def modulated(
        x: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        *_: Any,
    ) -> Tensor:
        return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)  # type: ignore[no-any-return]

    importlib.import_module("mmcv.ops.deform_conv").deform_conv2d = plain  # type: ignore[attr-defined]
    importlib.import_module("mmcv.ops.modulated_deform_conv").modulated_deform_conv2d = modulated  # type: ignore[attr-defined]


def randomized(network: nn.Module) -> nn.Module:
    """Draw every tensor so that what the network computes neither grows nor fades."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
        elif tensor.dtype.is_floating_point:
            tensor.uniform_(0.5, 1.5) if name.endswith(("running_var", "weight")) else tensor.normal_(0, 0.25)
    return network.eval()


def compare(package: str, config: Any, folder: Path) -> dict[str, Any]:
    """Build a package's network and ours, and return how far apart what they compute is, relative to the largest number."""
    registry = importlib.import_module(f"{package}.registry")
    config.model.backbone.init_cfg = None
    config.model.pop("pretrained", None)
    if "shared_head" in config.model.get("roi_head", {}):
        config.model.roi_head.shared_head.init_cfg = None
    theirs: Any = randomized(registry.MODELS.build(config.model))
    path = folder / "checkpoint.pth"
    torch.save({"meta": {"cfg": config.pretty_text}, "state_dict": theirs.state_dict()}, path)
    report = inspect_weights(path)
    strides = ["model.output_stride=32"] if package == "mmpretrain" else []
    model = build_model(compose([*report["settings"], *strides, f"model.weights={path}"]), report["classes"] or 1)
    ours: Any = model.network.eval().double()
    theirs.double()  # a hundred layers that sample at random points multiply what fp32 rounds off

    rgb = 255 * torch.rand(1, 3, 128, 160, dtype=torch.float64)
    preprocessor = config.model.get("data_preprocessor") or config.data_preprocessor
    mean, std = (torch.tensor(preprocessor[key], dtype=torch.float64)[:, None, None] for key in ("mean", "std"))
    to_rgb = preprocessor.get("bgr_to_rgb", preprocessor.get("to_rgb"))
    their_image = ((rgb if to_rgb else rgb.flip(1)) - mean) / std
    mean, std = (torch.tensor(numbers, dtype=torch.float64)[:, None, None] for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    our_image = (rgb / 255 - mean) / std
    pairs = _pairs(package, theirs, their_image, ours, our_image)
    differences = {
        part: max(float((own - other).abs().max() / other.abs().max()) for own, other in both)
        for part, both in pairs.items()
    }
    assert model.loaded is not None
    said, *table = model.loaded.splitlines()
    return {
        "settings": report["settings"],
        "tensors": said.partition(": ")[2],
        "not used": [line.split()[0] for line in table if line.endswith("not used")],
        "differences": differences,
    }


def _pairs(package: str, theirs: Any, their_image: Tensor, ours: Any, our_image: Tensor) -> dict[str, Any]:
    """Return what our network computes beside what theirs does, by its parts."""
    if package == "mmseg":
        scores = theirs.decode_head(theirs.extract_feat(their_image))
        scores = functional.interpolate(scores, our_image.shape[-2:], mode="bilinear", align_corners=False)
        return {"scores": [(ours(our_image), scores)]}
    if package == "mmpretrain":
        return {"c5": [(ours.backbone(our_image), theirs.backbone(their_image)[-1])]}
    their_levels = theirs.extract_feat(their_image)
    maps = ours.maps(our_image)
    pairs: dict[str, Any] = {}
    if hasattr(theirs, "rpn_head") and "c4" in maps:
        pairs["proposals"] = zip(_flat(ours.rpn.head([maps["c4"]])), _flat(theirs.rpn_head(their_levels)), strict=True)
        c5 = ours.backbone.layer4(their_levels[0])[..., ::2, ::2]  # dilated here, strided there
        pairs["c5"] = [(c5, theirs.roi_head.shared_head(their_levels[0]))]
        levels = [maps["c4"]]
    elif hasattr(theirs, "rpn_head"):
        levels = list(maps.values())
        pairs["proposals"] = zip(_flat(ours.rpn.head(levels)), _flat(theirs.rpn_head(their_levels)), strict=True)
        pooled = torch.randn(3, 256, 7, 7, dtype=torch.float64)
        (scores, boxes), (their_scores, their_boxes) = (
            ours.roi_heads.box_predictor(ours.roi_heads.box_head(pooled)),
            _first(theirs.roi_head.bbox_head)(pooled),
        )
        times = boxes[:, 4:].shape[1] // their_boxes.shape[1]  # the box of a cascade's head is the same for all classes
        pairs["boxes"] = [(scores.roll(-1, 1), their_scores), (boxes[:, 4:], their_boxes.repeat(1, times))]
        if theirs.roi_head.with_mask:
            pooled = torch.randn(2, 256, 14, 14, dtype=torch.float64)
            masks = ours.roi_heads.mask_predictor(ours.roi_heads.mask_head(pooled))
            pairs["masks"] = [(masks[:, 1:], _first(theirs.roi_head.mask_head)(pooled))]
    else:
        their_levels, levels = their_levels[:3], [maps[name] for name in ("p3", "p4", "p5")]  # p6 is of c5 there
        of_classes, of_boxes = theirs.bbox_head(their_levels)
        head = ours.head(levels)
        pairs["head"] = [
            (head[name], torch.cat([each.permute(0, 2, 3, 1).reshape(1, -1, values) for each in outputs], 1))
            for name, outputs, values in (("cls_logits", of_classes, 80), ("bbox_regression", of_boxes, 4))
        ]
    pairs["pyramid"] = zip(levels, their_levels, strict=True)
    return pairs


def _first(head: Any) -> Any:
    """Return the first head of a cascade, or the only one."""
    return head[0] if isinstance(head, nn.ModuleList) else head


def _flat(outputs: Any) -> list[Tensor]:
    return [each for kind in outputs for each in kind]


@torch.no_grad()
def main(packages: str, out: str, parts: Sequence[str]) -> None:
    """Compare every config and write what was found."""
    sys.path.append(packages)
    sys.meta_path.insert(0, _Finder())
    versions = {name: importlib.import_module(name).__version__ for name in (*PACKAGES, "torch")}
    kernels_of_torchvision()
    from_file = importlib.import_module("mmengine.config").Config.fromfile
    found = {}
    for name in CONFIGS:
        if not parts or any(part in name for part in parts):
            package, _, path = name.partition("/")
            importlib.import_module(f"{package}.utils").register_all_modules()
            config = from_file(Path(packages) / package / ".mim/configs" / path)
            with tempfile.TemporaryDirectory() as folder:
                found[name] = compare(package, config, Path(folder))
    Path(out).write_text(json.dumps({"versions": versions, "networks": found}, indent=1) + "\n")
    for name, result in found.items():
        print(name, {part: f"{difference:.1e}" for part, difference in result["differences"].items()})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
