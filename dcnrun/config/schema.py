"""Every setting of dcnrun, with its type, unit, meaning and range: the one list; and what the kinds of convolution are.

The YAML files under `conf/` fill these dataclasses; nothing outside them gets in.
"""

# ruff: noqa: RUF009  setting() makes a dataclass field, a new one each time

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, NamedTuple, Optional

from omegaconf import MISSING

from dcnrun.config.ranges import setting

SMALLEST_SIDE = 16
LARGEST_SIDE = 32768
"""The smallest and the largest side of an image that a network is trained on or evaluated at, in pixels."""
PUBLISHED_WIDTH = 64
"""The channels of the first stage in ResNets with published weights."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the images that published weights are for: RGB from 0 to 1."""


class ConvKind(StrEnum):
    """The convolutions that are compared."""

    standard = "standard"
    dilated = "dilated"
    deformable = "deformable"
    modulated = "modulated"
    dcnv3 = "dcnv3"
    dcnv4 = "dcnv4"


class Dilation(Enum):
    """How a kind of convolution takes a dilation of its own, `conv.dilation`."""

    none = "none"
    """It has none: a plain convolution."""
    required = "required"
    """It is what the kind is tuned by: the control of what learns offsets."""
    optional = "optional"
    """It may be given; else each layer keeps the network's."""


class Match(StrEnum):
    """What a layer without weights of a kernel has as much of as the 3x3 convolution in whose place it stands."""

    layers = "layers"
    """One layer for one convolution, as published, with far fewer parameters and FLOPs."""
    parameters = "parameters"
    flops = "flops"


@dataclass(frozen=True)
class ConvTraits:
    """What the rest of the package asks of a kind of convolution."""

    dilation: Dilation
    colour: str
    """In figures; of Okabe and Ito's, which every kind of colour vision distinguishes."""
    marker: str
    """In figures, for print in grey: one of matplotlib's."""
    learns_offsets: bool = False
    """Whether it has a branch that learns offsets."""
    has_kernel: bool = True
    """Whether it has weights of its own for each sampling point; without, the layer's input alone says how a point counts."""
    settings: tuple[str, ...] = ()
    """Settings that have an effect with this kind, and with no kind that does not list them."""


_RATES = ("optim.offset_lr_mult", "optim.offset_bias_lr_mult")
_OFFSET_SETTINGS = ("conv.offset_groups", *_RATES)

CONV_TRAITS: dict[ConvKind, ConvTraits] = {
    ConvKind.standard: ConvTraits(Dilation.none, "#000000", "o"),
    ConvKind.dilated: ConvTraits(Dilation.required, "#D55E00", "s"),
    ConvKind.deformable: ConvTraits(Dilation.optional, "#0072B2", "^", learns_offsets=True, settings=_OFFSET_SETTINGS),
    ConvKind.modulated: ConvTraits(
        Dilation.optional, "#009E73", "D", learns_offsets=True, settings=(*_OFFSET_SETTINGS, "conv.mask_start")
    ),
    ConvKind.dcnv3: ConvTraits(
        Dilation.optional, "#E69F00", "v", learns_offsets=True, has_kernel=False, settings=(*_RATES, "conv.match")
    ),
    ConvKind.dcnv4: ConvTraits(
        Dilation.optional, "#56B4E9", "P", learns_offsets=True, has_kernel=False, settings=(*_RATES, "conv.match")
    ),
}


class Architecture(StrEnum):
    """The networks on a backbone: for class scores of pixels, for boxes, or for masks of objects."""

    deeplab = "deeplab"
    deeplabv3 = "deeplabv3"
    deeplabv3plus = "deeplabv3plus"
    fcn = "fcn"
    smp = "smp"
    faster_rcnn = "faster_rcnn"
    retinanet = "retinanet"
    mask_rcnn = "mask_rcnn"


class Where(StrEnum):
    """The part of a network whose convolutions are counted."""

    encoder = "encoder"
    decoder = "decoder"
    all = "all"


class RoiPool(StrEnum):
    """How a detector takes the features of a region."""

    align = "align"
    deformable = "deformable"
    modulated = "modulated"


class Loss(StrEnum):
    """What networks for segmentation minimise; `model.loss` is a sum of them."""

    cross_entropy = "cross_entropy"
    dice = "dice"
    focal = "focal"
    lovasz = "lovasz"


class Backbone(StrEnum):
    """ResNets of torchvision."""

    resnet18 = "resnet18"
    resnet34 = "resnet34"
    resnet50 = "resnet50"
    resnet101 = "resnet101"


class ResNetStyle(StrEnum):
    """Which convolution of a bottleneck strides: the 3x3, or the 1x1 before it."""

    pytorch = "pytorch"
    caffe = "caffe"


class ResNetStem(StrEnum):
    """What a ResNet begins with: a 7x7 convolution, or three of 3x3 (ResNet-C of He et al. 2019)."""

    plain = "plain"
    deep = "deep"


class HeadDesign(StrEnum):
    """Whose layers a head for segmentation has."""

    torchvision = "torchvision"
    openmmlab = "openmmlab"


class Source(StrEnum):
    """Where images and their labels come from: one reader each."""

    shapes = "shapes"
    folder = "folder"
    voc2012 = "voc2012"
    cityscapes = "cityscapes"
    voc = "voc"
    coco = "coco"
    yolo = "yolo"
    labelme = "labelme"
    supervisely = "supervisely"
    instance_masks = "instance_masks"
    panoptic = "panoptic"


class Rectangles(StrEnum):
    """What rectangles of labelme are."""

    masks = "masks"
    boxes = "boxes"


class BadBoxes(StrEnum):
    """What becomes of a data set with boxes that can't be right."""

    error = "error"
    warn = "warn"


class Crowds(StrEnum):
    """What iscrowd=1 means in a COCO file."""

    auto = "auto"
    keep = "keep"
    objects = "objects"


class Optimizer(StrEnum):
    """How weights follow gradients."""

    sgd = "sgd"
    adamw = "adamw"


class Schedule(StrEnum):
    """How the learning rate goes over the training steps."""

    constant = "constant"
    poly = "poly"
    step = "step"
    cosine = "cosine"


class Precision(StrEnum):
    """Numbers the network computes with; bf16 and fp16 are mixed with fp32."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Accelerator(StrEnum):
    """What the network runs on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class WandbMode(StrEnum):
    """Whether Weights & Biases is sent to at once."""

    offline = "offline"
    online = "online"


def stages_in(layers: str) -> list[str] | None:
    """Return the stages that a value of conv.layers names, such as c3,c4 or c3-c5; None for a number or names."""
    names = ["c2", "c3", "c4", "c5"]
    value = layers.replace(" ", "")
    if match := re.fullmatch(r"(c[2-5])-(c[2-5])", value):
        return names[names.index(match[1]) : names.index(match[2]) + 1] or None
    chosen = value.split(",")
    return chosen if all(stage in names for stage in chosen) else None


def loss_terms(loss: str) -> dict[Loss, float]:
    """Return the factor of each loss in a value of model.loss, such as cross_entropy+0.5*dice.

    ValueError with the term that is no loss, comes twice, or has a factor that is not above 0.
    """
    terms: dict[Loss, float] = {}
    for term in (part.strip() for part in loss.split("+")):
        factor, times, name = term.rpartition("*")
        name = name.strip()
        try:
            value = float(factor) if times else 1.0
        except ValueError:
            value = math.nan
        if name not in list(Loss) or Loss(name) in terms or not 0 < value < math.inf:
            raise ValueError(term)
        terms[Loss(name)] = value
    return terms


@dataclass
class ConvConfig:
    """Which convolution stands in the last layers of the backbone with a kernel larger than 1x1, or in those that are named."""

    kind: ConvKind = setting(MISSING, "standard, dilated, deformable (DCNv1), modulated (DCNv2), dcnv3 or dcnv4")
    layers: str = setting(
        "3", "the last N convolutions larger than 1x1 (3), stages (c3,c4,c5 or c3-c5), or names (layer4.*.conv2)"
    )
    where: Where = setting(Where.encoder, "what conv.layers=N counts the convolutions of: encoder, decoder or all")
    depthwise: bool = setting(False, "also depth-wise and grouped convolutions; names find these in any case")
    dilation: Optional[int] = setting(
        None, "of the replaced layers; null: each layer's own (from output_stride)", ge=1, most=4096
    )
    groups: int = setting(
        1, "weight groups of the replaced layers; dcnv3, dcnv4: groups of channels with points of their own", ge=1
    )
    offset_groups: int = setting(1, "groups of input channels with offsets of their own (deformable groups)", ge=1)
    match: Match = setting(
        Match.layers, "dcnv3, dcnv4: as wide as the convolution (layers), or with as many parameters or flops as it"
    )
    mask_start: float = setting(1.0, "initial mask: 1 (2 x sigmoid) or 0.5 (sigmoid, as in DCNv2)", one_of=(0.5, 1))


@dataclass
class ModelConfig:
    """A network."""

    head: Architecture = setting(
        MISSING,
        "deeplab (as in DCN), deeplabv3, deeplabv3plus, fcn, smp (any of a library); for boxes faster_rcnn, retinanet; for masks of objects mask_rcnn",
    )
    weights: Optional[str] = setting(
        None,
        "null (random), a published name such as DEFAULT, a .pt file or a run's folder",
        is_path=True,
    )
    weights_of: Optional[str] = setting(
        None,
        "which network of a file with several, by a text that its names begin with, as encoder_q or teacher; null: the only one",
    )


@dataclass
class ResNetModelConfig(ModelConfig):
    """A ResNet backbone and what stands on it."""

    backbone: Backbone = setting(Backbone.resnet18, "a ResNet of torchvision")
    width: int = setting(
        64, "channels of the first stage; 64 is the published network, 16 a narrow one", ge=1, most=65536
    )
    style: ResNetStyle = setting(
        ResNetStyle.pytorch,
        "which convolution of resnet50 and 101 strides: pytorch, the 3x3; caffe, the 1x1 before it, as most weights of detectron2 need",
    )
    stem: ResNetStem = setting(
        ResNetStem.plain,
        "what the ResNet begins with: plain, a 7x7 convolution; deep, three of 3x3, as resnet50_v1c of mmsegmentation has it",
    )
    output_stride: int = setting(8, "input pixels per pixel of the last feature map: 8, 16 or 32", one_of=(8, 16, 32))
    atrous: bool = setting(True, "dilate stages whose stride is removed, as published weights need; false: plain")
    frozen_stages: int = setting(
        0, "first stages that don't learn (1: conv1, 2: also c2, ...)", ge=0, le=5, note="none to the whole backbone"
    )
    frozen_norm: bool = setting(False, "batch normalisation keeps its statistics and scales, as with published weights")


@dataclass
class MaskModelConfig(ModelConfig):
    """A network that learns class scores of every pixel from masks."""

    loss: str = setting(
        "cross_entropy", "cross_entropy, dice, focal, lovasz, or a sum with factors such as cross_entropy+0.5*dice"
    )
    class_weights: Optional[list[float]] = setting(
        None,
        "what cross_entropy and focal weigh pixels by, one per class; null: all alike, auto: by inverse frequency",
        ge=0,
        auto=True,
    )
    focal_gamma: float = setting(2.0, "exponent of focal: the higher, the less well-classified pixels count", ge=0)


@dataclass
class SegmentationModelConfig(ResNetModelConfig, MaskModelConfig):
    """A network for class scores of every pixel, on a ResNet of torchvision."""

    head_channels: int = setting(256, "channels of the head's hidden layers (1024 in the DCN papers)", ge=1, most=65536)
    head_kernel: int = setting(1, "deeplab: 1 as in the DCN papers' code, 3 for the large field of view", one_of=(1, 3))
    head_dilation: int = setting(12, "deeplab with head_kernel=3: its atrous rate", ge=1, most=4096)
    head_design: HeadDesign = setting(
        HeadDesign.torchvision, "deeplabv3, fcn: the layers of torchvision's head, or of mmsegmentation's (openmmlab)"
    )


@dataclass
class DeepLabV3PlusConfig(SegmentationModelConfig):
    """DeepLabv3+: also sees what c2 has of fine detail."""

    head: Architecture = setting(Architecture.deeplabv3plus, "the network")
    fine_channels: int = setting(48, "channels that the head has of c2, beside model.head_channels", ge=1, most=65536)


@dataclass
class SmpConfig(MaskModelConfig):
    """A network of segmentation_models.pytorch: an architecture on an encoder."""

    head: Architecture = setting(Architecture.smp, "the network")
    arch: str = setting("unet", "its architecture, such as unet, fpn, deeplabv3plus, upernet or segformer")
    encoder: str = setting("resnet34", "its encoder, such as resnet34 or mit_b0; tu-NAME for one of timm")


@dataclass
class DetectionModelConfig(ResNetModelConfig):
    """A network for boxes of objects."""

    output_stride: int = setting(32, "input pixels per pixel of the last feature map: 8, 16 or 32", one_of=(8, 16, 32))
    encoder: Optional[str] = setting(
        None, "in place of model.backbone an encoder as of model=smp, such as tu-convnext_tiny; null: the ResNet"
    )
    fpn_channels: int = setting(256, "channels of every level of the feature pyramid", ge=1, most=65536)
    fpn_norm: bool = setting(
        False, "group normalisation in the pyramid, RetinaNet's head and the mask head, to train from no weights"
    )
    anchor_sizes: list[int] = setting(
        [32, 64, 128, 256, 512], "anchors' sides in pixels of the image the network sees", gt=0, least_length=1
    )
    anchor_ratios: list[float] = setting([0.5, 1.0, 2.0], "anchors' heights over widths", gt=0, least_length=1)
    score_threshold: float = setting(0.05, "detections that score less are dropped", ge=0, le=1)
    nms_threshold: float = setting(
        0.5, "of two detections of a class that overlap by more (IoU), the weaker is dropped", ge=0, le=1
    )
    detections_per_image: int = setting(100, "most detections that are kept of an image", ge=1, most=1_000_000)


@dataclass
class FasterRcnnConfig(DetectionModelConfig):
    """Faster R-CNN: regions are proposed, then classified."""

    head: Architecture = setting(Architecture.faster_rcnn, "the network")
    fpn: bool = setting(True, "a feature pyramid; false: proposals from c4, regions pooled from c5, as in DCNv1")
    roi_pool: RoiPool = setting(RoiPool.align, "align, deformable (DCNv1) or modulated (DCNv2) RoI pooling")
    roi_size: int = setting(7, "bins of a pooled region, along each side", ge=1, most=1024)
    roi_channels: int = setting(1024, "channels of the two hidden layers that see a pooled region", ge=1, most=65536)
    roi_gamma: float = setting(0.1, "a RoI offset of 1 moves a bin by this share of the region's side", gt=0)
    rpn_batch: int = setting(256, "anchors of an image that the proposals learn from", ge=1, most=1_000_000)
    roi_batch: int = setting(512, "regions of an image that the classifier learns from", ge=1, most=1_000_000)
    proposals: int = setting(
        1000, "regions kept of an image after suppression (training and evaluation)", ge=1, most=1_000_000
    )


@dataclass
class MaskRcnnConfig(FasterRcnnConfig):
    """Mask R-CNN: Faster R-CNN with a head for the masks of objects."""

    head: Architecture = setting(Architecture.mask_rcnn, "the network")
    mask_roi_pool: RoiPool = setting(
        RoiPool.align, "as model.roi_pool, of the regions that masks are made of: align, deformable or modulated"
    )
    mask_roi_size: int = setting(
        14, "bins of a region that a mask is made of; the mask has twice as many", ge=1, most=512
    )
    mask_channels: int = setting(256, "channels of the mask head's hidden layers", ge=1, most=65536)


@dataclass
class RetinaNetConfig(DetectionModelConfig):
    """RetinaNet: one stage, the focal loss."""

    head: Architecture = setting(Architecture.retinanet, "the network")


MODEL_SCHEMAS: dict[Architecture, type[ModelConfig]] = {
    Architecture.deeplab: SegmentationModelConfig,
    Architecture.deeplabv3: SegmentationModelConfig,
    Architecture.deeplabv3plus: DeepLabV3PlusConfig,
    Architecture.fcn: SegmentationModelConfig,
    Architecture.smp: SmpConfig,
    Architecture.faster_rcnn: FasterRcnnConfig,
    Architecture.retinanet: RetinaNetConfig,
    Architecture.mask_rcnn: MaskRcnnConfig,
}


@dataclass
class DataConfig:
    """What every data set has: where it is, how it is batched, cropped and augmented."""

    source: Source = setting(MISSING, "the reader of images and labels")
    root: Optional[str] = setting(
        None, "folder of the data set; null where it is built in", is_path=True, changes_numbers=False
    )
    download: bool = setting(
        False, "fetch the data set when it is missing, where its reader can", changes_numbers=False
    )
    allow_overlap: bool = setting(
        False, "validation images may be training images too; false: that is an error", changes_numbers=False
    )
    batch_size: int = setting(8, "images in a batch, over all devices", ge=1, most=1_000_000)
    eval_batch_size: int = setting(
        8, "most images evaluated at once on a device: those of one size", ge=1, most=1_000_000
    )
    workers: int = setting(
        1,
        "processes that prepare data, per device; 0: the training process itself",
        ge=0,
        changes_numbers=False,
        most=4096,
    )
    cache: bool = setting(False, "keep decoded images in memory, in every worker", changes_numbers=False)
    short_sides: list[int] = setting(
        [],
        "training images are resized to a short side drawn from these; []: as they are",
        ge=SMALLEST_SIDE,
        most=LARGEST_SIDE,
    )
    eval_short_side: int = setting(
        0,
        "images are evaluated at this short side, scored at their own size; 0: as they are",
        ge=SMALLEST_SIDE,
        also=0,
        most=LARGEST_SIDE,
    )
    long_side_max: int = setting(0, "what is resized to a short side gets no longer side than this; 0: no limit", ge=0)
    crop_size: int = setting(
        0, "side of the square training crop in pixels; 0: whole image", ge=SMALLEST_SIDE, also=0, most=LARGEST_SIDE
    )
    scale_min: float = setting(1.0, "smallest random resize of training images (factor)", gt=0)
    scale_max: float = setting(1.0, "largest random resize of training images (factor)", gt=0)
    flip: float = setting(0.5, "probability of a horizontal flip", ge=0, le=1, note="a probability")
    vertical_flip: float = setting(0.0, "probability of a vertical flip", ge=0, le=1, note="a probability")
    quarter_turns: bool = setting(False, "turn training images by 0, 90, 180 or 270 degrees, at random")
    random_rotation: float = setting(
        0.0,
        "largest random rotation of training images, degrees either way; objects need masks",
        ge=0,
        le=180,
        note="degrees",
    )
    elastic: float = setting(
        0.0,
        "deviation of random displacements at 3 x 3 points, pixels (U-Net: 10); objects need masks",
        ge=0,
        most=LARGEST_SIDE,
    )
    mosaic: float = setting(
        0.0, "probability that a training image is a mosaic, of parts of four images", ge=0, le=1, note="a probability"
    )
    color_jitter: float = setting(0.0, "strength of random brightness, contrast and saturation", ge=0, le=1)
    bands: list[int] = setting(
        [],
        "bands taken of each image, counted from 0; []: RGB of 8-bit images, all but alpha of others",
        ge=0,
        most=65535,
    )
    mean: list[float] = setting(
        [*IMAGENET_MEAN], "per band (8 bits: 0 to 1), subtracted; auto: of the training images", auto=True
    )
    std: list[float] = setting(
        [*IMAGENET_STD], "per band (8 bits: 0 to 1), divided by; auto: of the training images", gt=0, auto=True
    )

    @property
    def channels(self) -> int:
        """The bands of an image as a network sees it."""
        return len(self.bands) or 3


@dataclass
class ShapesConfig(DataConfig):
    """The built-in data set: generated shapes with known scale, rotation and warp."""

    source: Source = setting(Source.shapes, "the reader")
    seed: int = setting(0, "of the images; independent of the run's seed", ge=0)
    image_size: int = setting(128, "side of an image in pixels", ge=SMALLEST_SIDE, most=LARGEST_SIDE)
    train_images: int = setting(2000, "number of training images", ge=1, most=10_000_000)
    val_images: int = setting(200, "number of validation images", ge=1, most=10_000_000)
    objects_min: int = setting(2, "fewest objects in an image", ge=0)
    objects_max: int = setting(6, "most objects in an image; fewer where there is no room", ge=0, le=255)
    object_scale_min: float = setting(0.07, "smallest object radius, as a share of the image's side", gt=0)
    object_scale_max: float = setting(0.28, "largest object radius, as a share of the image's side", gt=0, le=0.5)
    object_scale_range: Optional[float] = setting(
        None,
        "largest object radius as a multiple of the smallest, about the geometric mean of object_scale_min and object_scale_max; null: from one to the other",
        ge=1,
        le=100,
    )
    rotation: float = setting(180.0, "largest rotation of an object, degrees either way", ge=0, le=180, note="degrees")
    warp: float = setting(0.3, "strength of the non-rigid warp, displacement as a share of the radius", ge=0, le=1)
    distractors: int = setting(4, "most distractors (background that looks like objects) in an image", ge=0, most=10000)
    texture: float = setting(0.5, "strength of the texture, 0 (flat colours) to 1", ge=0, le=1)


@dataclass
class FilesConfig(DataConfig):
    """What data sets of a user's own files have."""

    val_share: float = setting(
        0.0, "share of data.train's images that are validated on in place of data.val; 0: data.val's are", ge=0, lt=1
    )
    split_seed: int = setting(0, "of the images that data.val_share draws; independent of the run's seed", ge=0)
    split_by: Optional[str] = setting(
        None,
        "what data.val_share leaves together: folder, or a regular expression, by the text that it finds in images' names; null: nothing",
    )
    allow_outside: bool = setting(False, "names of images may lead out of root")


@dataclass
class PairedFilesConfig(FilesConfig):
    """What data sets of images with files of masks have."""

    images: str = setting(
        "images",
        "folder of the images, below root; SPLIT stands for data.train or data.val, * for any text in a folder's name",
    )
    masks: str = setting("masks", "folder of the masks, below root; SPLIT and * stand for what they do in data.images")
    mask_suffix: Optional[str] = setting(
        None, "what masks' names have after their images', such as _mask; null: nothing, or a known one that fits"
    )
    train: str = setting("train", "sub-folder of the training images, or a .txt file of names or pairs below root")
    val: str = setting("val", "sub-folder of the validation images, or a .txt file of names or pairs below root")


@dataclass
class FolderConfig(PairedFilesConfig):
    """A user's own images and index-colour masks."""

    source: Source = setting(Source.folder, "the reader")
    classes: list[str] = setting([], "class names in the order of the mask's values, background included")
    masks: str = setting(
        "masks",
        "folder of the masks, below root, SPLIT and * as in data.images; with CLASS, for each class but the first: a file for each class",
    )
    mask_suffix: Optional[str] = setting(
        None,
        "what masks' names have after their images', such as _mask, or with CLASS in it; null: nothing, or a known one that fits",
    )
    ignore_label: Optional[int] = setting(
        None,
        "mask value that is neither trained on nor scored; 0: classes count from 1; null: 255 if it is no class",
        ge=0,
        le=255,
    )
    mask_values: list[int] = setting(
        [],
        "mask values of the classes, in their order; []: 0, 1, 2 ..., but 0, 255 where two classes have no other",
        ge=0,
        le=255,
    )
    colours: list[str] = setting(
        [],
        "colours of the classes in masks, in their order, #rrggbb or r,g,b; further ones are ignored; []: as labelmap has",
    )
    nearest_class: bool = setting(
        False,
        "values and colours in masks that are no class count as the nearest class, as JPEG and edges that a program has smoothed need; allows JPEG masks",
    )
    labelmap: Optional[str] = setting(
        "labelmap.txt",
        "file below root with the classes' colours, NAME:R,G,B or R G B NAME a line; where it is absent or null: none",
    )


@dataclass
class Voc2012Config(DataConfig):
    """Pascal VOC 2012 segmentation, 21 classes."""

    source: Source = setting(Source.voc2012, "the reader")
    train: str = setting("train", "image set to train on: train or trainval", one_of=("train", "trainval", "val"))
    val: str = setting("val", "image set to validate on", one_of=("train", "trainval", "val"))


@dataclass
class CityscapesConfig(DataConfig):
    """Cityscapes fine annotations, 19 classes."""

    source: Source = setting(Source.cityscapes, "the reader")
    train: str = setting("train", "split to train on", one_of=("train", "val"))
    val: str = setting("val", "split to validate on", one_of=("train", "val"))


@dataclass
class BoxFilesConfig(FilesConfig):
    """What data sets with boxes in files have."""

    bad_boxes: BadBoxes = setting(
        BadBoxes.error, "boxes that are empty, outside the image or of no class: error, or warn (drop or clip them)"
    )
    tolerance: float = setting(
        1.0,
        "pixels that a box may reach beyond its image: it is clipped, and counted in a note; beyond that it is bad",
        ge=0,
    )
    train_empty: bool = setting(False, "also train on images without objects; they are always evaluated")


@dataclass
class VocConfig(BoxFilesConfig):
    """Boxes in the layout of Pascal VOC."""

    source: Source = setting(Source.voc, "the reader")
    classes: list[str] = setting([], "class names; []: the 20 of Pascal VOC")
    train: list[str] = setting(
        ["VOC2007/trainval"],
        "image sets (FOLDER/SET), folders or .txt files of names to train on, below root or VOCdevkit",
    )
    val: list[str] = setting(
        ["VOC2007/test"],
        "image sets (FOLDER/SET), folders or .txt files of names to validate on, below root or VOCdevkit",
    )
    first_corner: str = setting(
        "auto",
        "number of an image's first pixel in the files: 1 as in Pascal VOC, 0 as many tools write; auto: what the boxes say",
        one_of=("auto", "0", "1"),
    )


@dataclass
class CocoConfig(BoxFilesConfig):
    """Boxes in the layout of COCO: one JSON file for a split."""

    source: Source = setting(Source.coco, "the reader")
    images: str = setting("SPLIT", "folder of the images, below root; SPLIT stands for data.train or data.val")
    annotations: str = setting("annotations/instances_SPLIT.json", "JSON file, below root; SPLIT as for data.images")
    train: str = setting("train", "split to train on")
    val: str = setting("val", "split to validate on")
    crowds: Crowds = setting(
        Crowds.auto,
        "what iscrowd=1 means: keep (a crowd), objects (an object as others, as tools write it for masks of run lengths), or"
        " auto (the training file's annotations show it)",
    )


@dataclass
class YoloConfig(BoxFilesConfig):
    """Boxes and polygons in the layout of YOLO: a .txt file for each image."""

    source: Source = setting(Source.yolo, "the reader")
    yaml: str = setting(
        "", "the data set's .yaml, below root; empty: data.yaml, dataset.yaml or the only one with names"
    )
    classes: list[str] = setting([], "class names in the order of their numbers; []: those of the .yaml or classes.txt")
    train: str = setting(
        "train", "what to train on: a key of the .yaml, or a folder or a .txt list of images below root"
    )
    val: str = setting(
        "val", "what to validate on: a key of the .yaml, or a folder or a .txt list of images below root"
    )


@dataclass
class LabelmeConfig(BoxFilesConfig):
    """Boxes and masks of objects in labelme's files: a .json file for each image."""

    source: Source = setting(Source.labelme, "the reader")
    classes: list[str] = setting([], "class names; []: all labels that there are, sorted")
    rectangles: Rectangles = setting(
        Rectangles.masks,
        "rectangles are masks that fill them, as labelme exports them; or boxes, whose objects have none",
    )
    train: str = setting("train", "folder of the training images and their .json files, or a .txt list, below root")
    val: str = setting("val", "folder of the validation images and their .json files, or a .txt list, below root")


@dataclass
class SuperviselyConfig(BoxFilesConfig):
    """Boxes and masks of objects in a project of Supervisely: a .json file for each image."""

    source: Source = setting(Source.supervisely, "the reader")
    classes: list[str] = setting([], "class names; []: those of meta.json")
    train: str = setting("train", "folder of the training images, with img and ann in it, or a .txt list, below root")
    val: str = setting("val", "folder of the validation images, with img and ann in it, or a .txt list, below root")


@dataclass
class InstanceMasksConfig(BoxFilesConfig, PairedFilesConfig):
    """Masks of objects of one class: a number for each object in an image's mask, or a file for each object."""

    source: Source = setting(Source.instance_masks, "the reader")
    classes: list[str] = setting(["object"], "the name of the one class")
    ignore_label: Optional[int] = setting(
        None,
        "number in masks that is neither trained on nor scored, such as Pascal VOC's 255; null: every number but 0 is an object",
        ge=1,
    )


@dataclass
class PanopticConfig(BoxFilesConfig):
    """Segments in COCO's panoptic format: one JSON file for a split, and a picture of the segments of each image."""

    source: Source = setting(Source.panoptic, "the reader")
    images: str = setting("SPLIT", "folder of the images, below root; SPLIT stands for data.train or data.val")
    annotations: str = setting("annotations/panoptic_SPLIT.json", "JSON file, below root; SPLIT as for data.images")
    masks: str = setting("annotations/panoptic_SPLIT", "folder of the pictures of segments, below root; SPLIT likewise")
    train: str = setting("train", "split to train on")
    val: str = setting("val", "split to validate on")


def _subclasses(schema: type[DataConfig]) -> Iterator[type[DataConfig]]:
    for subclass in schema.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


_DATA_SCHEMAS = {schema.source: schema for schema in _subclasses(DataConfig) if "source" in vars(schema)}
DATA_SCHEMAS: dict[Source, type[DataConfig]] = {source: _DATA_SCHEMAS[source] for source in Source}
"""The settings of each source: of the class whose own default of `source` it is."""


def encoder_of(model: ModelConfig) -> str | None:
    """Return the encoder of segmentation_models.pytorch or timm that a network stands on; None where it is a ResNet of torchvision."""
    return model.encoder if isinstance(model, SmpConfig | DetectionModelConfig) else None


class Kinds(NamedTuple):
    """A section whose settings depend on one of them."""

    key: str
    schemas: Mapping[Any, type]


KINDS: dict[str, Kinds] = {"model": Kinds("head", MODEL_SCHEMAS), "data": Kinds("source", DATA_SCHEMAS)}


@dataclass
class OptimConfig:
    """Optimizer, learning rates and their schedule."""

    optimizer: Optimizer = setting(MISSING, "sgd or adamw")
    lr: float = setting(0.01, "base learning rate, before schedule and multipliers", ge=0)
    momentum: float = setting(0.9, "of sgd", ge=0)
    weight_decay: float = setting(1e-4, "of every parameter", ge=0)
    offset_lr_mult: Optional[float] = setting(None, "offset branches learn at lr x this; null is 1 (DCNv2: 0.1)", ge=0)
    offset_bias_lr_mult: Optional[float] = setting(
        None, "biases of offset branches learn at lr x offset_lr_mult x this; null is 1", ge=0
    )
    roi_offset_lr_mult: Optional[float] = setting(
        None, "offset branches of RoI pooling learn at lr x this; null is 0.01 (as in DCNv1)", ge=0
    )
    schedule: Schedule = setting(Schedule.poly, "constant, poly, step or cosine, over trainer.steps")
    poly_power: float = setting(0.9, "exponent of the poly schedule", ge=0)
    step_at: list[float] = setting(
        [0.6667], "step schedule: shares of the steps after which lr drops", gt=0, lt=1, note="shares of trainer.steps"
    )
    step_gamma: float = setting(0.1, "step schedule: factor of each drop", ge=0)
    warmup_steps: int = setting(0, "steps of linear warm-up, part of trainer.steps", ge=0)
    clip_norm: Optional[float] = setting(None, "largest norm of the whole gradient; null: no clipping", gt=0)
    ema: Optional[float] = setting(
        None,
        "decay, at each step, of an average of the weights that is evaluated and kept in their place; null: none",
        gt=0,
        lt=1,
    )

    @property
    def offset_multiplier(self) -> float:
        """What offset branches learn at, as a multiple of `lr`."""
        return 1.0 if self.offset_lr_mult is None else self.offset_lr_mult

    @property
    def offset_bias_multiplier(self) -> float:
        """What biases of offset branches learn at, as a multiple of `lr`."""
        return self.offset_multiplier * (1.0 if self.offset_bias_lr_mult is None else self.offset_bias_lr_mult)

    @property
    def roi_offset_multiplier(self) -> float:
        """What offset branches of RoI pooling learn at, as a multiple of `lr` (Dai et al. 2017, section 3.3)."""
        return 0.01 if self.roi_offset_lr_mult is None else self.roi_offset_lr_mult


@dataclass
class TrainerConfig:
    """How long, on what, and how often to log, validate and save."""

    steps: int = setting(1000, "training steps, each of data.batch_size x trainer.accumulate images", ge=1)
    epochs: Optional[float] = setting(
        None, "how often to see the training images, in place of trainer.steps; null: trainer.steps counts", gt=0
    )
    accumulate: int = setting(
        1, "batches whose gradients make a step, as a batch that large would", ge=1, most=1_000_000
    )
    log_every: int = setting(20, "steps between logged training metrics", ge=1)
    eval_every: int = setting(250, "steps between validations; the last step is always validated", ge=1)
    metric: Optional[str] = setting(
        None, "best checkpoint and comparisons go by it; null: val/miou (boxes: val/map, instances: val/mask_map)"
    )
    pictures: int = setting(
        0,
        "validation images of each kind (best, worst, and any) that a sheet after each validation, or 20 of them, shows with truth and prediction",
        ge=0,
        most=8,
        changes_numbers=False,
    )
    patience: Optional[int] = setting(
        None, "validations in a row without a better trainer.metric that end the run; null: all trainer.steps", ge=1
    )
    save_every: int = setting(
        250, "steps between checkpoints; the last step is always saved", ge=1, changes_numbers=False
    )
    accelerator: Accelerator = setting(Accelerator.auto, "auto, cpu or cuda", changes_numbers=False)
    devices: int = setting(
        1, "devices on this machine; more than 1 under torchrun", ge=1, changes_numbers=False, most=100_000
    )
    nodes: int = setting(1, "machines, under torchrun", ge=1, changes_numbers=False, most=100_000)
    precision: Precision = setting(Precision.fp32, "fp32, bf16 or fp16 (mixed)")
    threads: int = setting(0, "CPU threads of a process; 0: one per core", ge=0, changes_numbers=False, most=4096)
    channels_last: bool = setting(True, "store feature maps channels-last, the faster layout")


@dataclass
class LoggerConfig:
    """Where metrics go beside metrics.jsonl, which is always written."""

    csv: bool = setting(False, "also write metrics.csv", changes_numbers=False)
    tensorboard: bool = setting(False, "also log to TensorBoard's files", changes_numbers=False)
    wandb: bool = setting(False, "also log to Weights & Biases", changes_numbers=False)
    wandb_project: str = setting("dcnrun", "project on Weights & Biases", changes_numbers=False)
    wandb_mode: WandbMode = setting(WandbMode.offline, "offline (sync later) or online", changes_numbers=False)
    mlflow: bool = setting(False, "also log to MLflow", changes_numbers=False)
    mlflow_experiment: str = setting("dcnrun", "experiment on MLflow", changes_numbers=False)
    mlflow_uri: Optional[str] = setting(
        None,
        "MLflow's store, e.g. sqlite:////data/mlflow.db or http://server:5000; null: MLFLOW_TRACKING_URI, or mlflow.db in runs_dir",
        changes_numbers=False,
    )


SYNONYMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("learning_rate", "base_lr", "lr0", "eta"), ("optim.lr",)),
    **dict.fromkeys(("wd", "decay", "l2"), ("optim.weight_decay",)),
    **dict.fromkeys(("opt", "algorithm"), ("optim.optimizer",)),
    **dict.fromkeys(("lr_scheduler", "lr_schedule"), ("optim.schedule",)),
    **dict.fromkeys(("warmup", "warmup_iters"), ("optim.warmup_steps",)),
    **dict.fromkeys(("grad_clip", "clip", "max_norm", "gradient_clip_val", "max_grad_norm"), ("optim.clip_norm",)),
    **dict.fromkeys(("ema_decay", "model_ema", "model_ema_decay", "ema_momentum"), ("optim.ema",)),
    **dict.fromkeys(("max_steps", "iterations", "iters", "max_iters", "max_iter", "num_steps"), ("trainer.steps",)),
    **dict.fromkeys(("epoch", "max_epochs", "num_epochs", "n_epochs"), ("trainer.epochs",)),
    **dict.fromkeys(
        ("accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum", "accumulation"),
        ("trainer.accumulate",),
    ),
    **dict.fromkeys(("eval_interval", "val_interval", "val_every", "val_check_interval"), ("trainer.eval_every",)),
    **dict.fromkeys(("checkpoint_every", "save_interval"), ("trainer.save_every",)),
    **dict.fromkeys(("log_interval", "log_every_n_steps"), ("trainer.log_every",)),
    **dict.fromkeys(("monitor", "best_metric"), ("trainer.metric",)),
    **dict.fromkeys(("early_stopping", "early_stop", "early_stopping_patience"), ("trainer.patience",)),
    **dict.fromkeys(("device", "accelerators"), ("trainer.accelerator",)),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpus"), ("trainer.devices",)),
    **dict.fromkeys(("amp", "fp16", "bf16", "mixed_precision", "dtype", "half"), ("trainer.precision",)),
    **dict.fromkeys(("batch", "bs", "batchsize", "train_batch_size"), ("data.batch_size",)),
    **dict.fromkeys(("val_batch_size", "test_batch_size"), ("data.eval_batch_size",)),
    **dict.fromkeys(("num_workers", "n_workers"), ("data.workers",)),
    **dict.fromkeys(("path", "dir", "data_dir", "data_path", "data_root", "dataset_path", "folder"), ("data.root",)),
    **dict.fromkeys(("dataset",), ("data", "data.root")),
    **dict.fromkeys(("names", "class_names", "num_classes", "nc"), ("data.classes",)),
    **dict.fromkeys(("ignore_index", "ignore"), ("data.ignore_label",)),
    **dict.fromkeys(("imgsz", "img_size", "input_size", "resize"), ("data.crop_size", "data.short_sides")),
    **dict.fromkeys(("crop",), ("data.crop_size",)),
    **dict.fromkeys(("hflip", "fliplr", "horizontal_flip"), ("data.flip",)),
    **dict.fromkeys(("vflip", "flipud"), ("data.vertical_flip",)),
    **dict.fromkeys(("rotate", "rotations", "degrees", "max_rotation"), ("data.random_rotation", "data.quarter_turns")),
    **dict.fromkeys(("rot90", "rotate90", "random_rotate90"), ("data.quarter_turns",)),
    **dict.fromkeys(("elastic_transform", "elastic_deformation", "deformation"), ("data.elastic",)),
    **dict.fromkeys(("mosaic_prob", "mosaic_p"), ("data.mosaic",)),
    **dict.fromkeys(("jitter", "colorjitter"), ("data.color_jitter",)),
    **dict.fromkeys(("augment", "augmentation"), ("data.flip", "data.scale_min", "data.random_rotation")),
    **dict.fromkeys(("pretrained", "checkpoint", "ckpt"), ("model.weights",)),
    **dict.fromkeys(("network", "architecture"), ("model.backbone", "model", "model.arch")),
    **dict.fromkeys(("encoder_name",), ("model.encoder",)),
    **dict.fromkeys(("criterion", "loss_fn", "loss_function"), ("model.loss",)),
    **dict.fromkeys(("class_weight", "loss_weights"), ("model.class_weights",)),
    **dict.fromkeys(("out", "output", "output_dir", "out_dir", "save_dir", "work_dir"), ("runs_dir",)),
    **dict.fromkeys(("run_name", "experiment_name"), ("name",)),
    **dict.fromkeys(("random_seed", "manual_seed"), ("seed",)),
}
"""What settings and groups are called elsewhere, whatever the section, and what they are called here."""


@dataclass
class Config:
    """The whole of a run."""

    conv: ConvConfig = MISSING
    model: ModelConfig = MISSING
    data: DataConfig = MISSING
    optim: OptimConfig = MISSING
    trainer: TrainerConfig = MISSING
    logger: LoggerConfig = MISSING
    seed: int = setting(0, "of initial weights, data order and augmentation", ge=0, le=2**32 - 1)
    name: str = setting("${conv.kind}-${data.source}", "part of the run folder's name", changes_numbers=False)
    runs_dir: str = setting("runs", "folder that run folders are made in", is_path=True, changes_numbers=False)
