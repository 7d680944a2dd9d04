"""`dcnrun data check`: what a whole data set holds, and what is wrong with it."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from torchvision.ops import box_iou, masks_to_boxes

from dcnrun.config.groups import LABELS_IN_WORDS, Labels
from dcnrun.config.schema import BoxFilesConfig, DataConfig, FilesConfig
from dcnrun.console import console, printable
from dcnrun.data.bands import settle
from dcnrun.data.box_files import BoxFileDataset
from dcnrun.data.coco_masks import areas
from dcnrun.data.files import first_few, name_problems
from dcnrun.data.loaders import look_at_each
from dcnrun.data.overlap import images_in_both, in_words
from dcnrun.data.pictures import draw_samples
from dcnrun.data.registry import DATASETS, open_box_dataset, open_dataset, open_instance_dataset, problems
from dcnrun.data.sample import (
    IGNORE,
    BoxSample,
    ImageSample,
    LabelledDataset,
    Sample,
    Split,
    even_indices,
    require_numbers,
)
from dcnrun.errors import ConfigError, DataError, UsageError

_MOST_LISTED = 20
_SMALLEST_SIDE = 4
"""Of a box in pixels that is compared with its object's mask."""
_TO_BE_IGNORED = re.compile(r"don'?t[\s_-]?care|_*ignored?_*|ignored?[\s_-]?(regions?|areas?)", re.IGNORECASE)
"""Names of classes such as KITTI's and VisDrone's, which converters to other formats write down like any other."""
_MEDIUM, _LARGE = 32**2, 96**2
"""Least areas of medium and large objects in pixels, as COCO has them."""


def check_data(
    config: DataConfig,
    splits: Sequence[Split] = ("train", "val"),
    samples: int = 12,
    out: Path | None = None,
    labels: Labels | None = None,
    images: bool = True,
) -> dict[str, Any]:
    """Read every sample of the splits, print what there is and what is wrong, and return it.

    Pictures of `samples` samples of each split are written below `out`. `labels`: by default those that its files are
    made for. Without `images` none is opened: boxes are checked alone, and whether their images' files are there.
    UsageError if the settings can't be right, or the data set is not there or has no such labels.
    """
    if wrong := problems(config):
        raise ConfigError(wrong)
    labels = labels or DATASETS[config.source].usual_labels
    if not images and (labels == "masks" or not isinstance(config, BoxFilesConfig)):
        raise UsageError(
            f"data.source={config.source} has no {LABELS_IN_WORDS[labels]} that can be checked without images; leave out --no-images"
        )
    looked_at: dict[Split, _Checked] = {}
    for split in splits:  # one network sees all images: as those of the first split have settled it
        settled = next((found.settled for found in looked_at.values()), None)
        is_shared = isinstance(config, FilesConfig) and config.val_share > 0
        known = {problem for found in looked_at.values() for problem in found.problems if is_shared}
        looked_at[split] = _check_split(config, settled, split, labels, samples if images else 0, out, images, known)
    checked = {split: found.report for split, found in looked_at.items()}
    found = sum(report["problems"] for report in checked.values())
    classes = [report["classes"] for report in checked.values() if report["images"]]
    if any(other != classes[0] for other in classes):
        unknown = sorted({name for other in classes[1:] for name in other} - set(classes[0]))
        console.print(
            f"The classes of {' and '.join(splits)} differ: {first_few([repr(printable(name)) for name in unknown])} not in"
            f" {splits[0]}."
            if unknown
            else f"The classes of {' and '.join(splits)} are in another order, or some are in {splits[0]} alone: matched by name.",
            markup=False,
            soft_wrap=True,
        )
        found += bool(unknown)
    both = _in_both(looked_at, images)
    if both:
        said = in_words(config, both, checked["val"]["images"])
        said += " (data.allow_overlap=true)" if config.allow_overlap else ""
        console.print(f"{printable(said)}.", markup=False, soft_wrap=True)
        found += not config.allow_overlap
    if labels == "boxes" and any(report.get("objects_with_mask") for report in checked.values()):
        console.print(
            "Objects have masks: model=mask_rcnn learns these too, and model=deeplab a class for every pixel.",
            soft_wrap=True,
        )
    console.print("No problems." if not found else "1 problem." if found == 1 else f"{found} problems.")
    return {"labels": labels, "problems": found, "images_in_both": len(both), "splits": checked}


class _Checked(NamedTuple):
    """What was found in a split."""

    report: dict[str, Any]
    dataset: LabelledDataset[Any, Any] | None
    """None if it can't be opened. What it shares with the other split is read once, as long as it is kept."""
    pictures: dict[str, bytes]
    """What the images that were read show, a digest, by their names."""
    problems: list[str]
    """All that is wrong, of which the report has the first."""
    settled: DataConfig | None
    """The settings, with what the images have settled where they are of one kind."""


def _in_both(splits: Mapping[Split, _Checked], images: bool) -> list[tuple[str, str]]:
    """Return the names of the images in both the training and the validation images.

    They are those that show the same, whatever their files are, or without `images` those whose files hold the same.
    """
    if len(splits) < 2:
        return []
    train, val = splits["train"], splits["val"]
    if images:
        shown = {digest: name for name, digest in train.pictures.items()}
        return [
            (name if train.pictures.get(name) == digest else shown[digest], name)
            for name, digest in val.pictures.items()
            if digest in shown
        ]
    return images_in_both(train.dataset, val.dataset) if train.dataset and val.dataset else []


def _check_split(
    config: DataConfig,
    settled: DataConfig | None,
    split: Split,
    labels: Labels,
    samples: int,
    out: Path | None,
    images: bool,
    known: Collection[str],
) -> _Checked:
    """Print and return what a split holds, without problems that are known; where other images have settled the settings, its own are to fit."""
    kind = _FINDINGS[labels]
    try:
        dataset = kind.open(settled or config, split)
    except DataError as error:  # not a single sample can be told from another
        report = {"classes": [], "images": 0, "notes": [], "problems": 1, "first_problems": [str(error)]}
        _show(split, report)
        return _Checked(report, None, {}, [str(error)], settled)
    if out is not None and samples:
        _make_folder(out)
    findings = kind(dataset.classes)
    notes, look, unsettled = list(dataset.notes), findings.summarise, None
    if images:
        try:
            if settled is None:
                settled, said = settle(config, dataset)
                notes += said
            look = partial(_seen_by, settled, findings.summarise)
        except DataError as error:  # images of several kinds, or one that is named below too
            unsettled = str(error)
    notes += _names_alike(dataset.classes) if split == "train" else []
    summaries = _summaries(dataset, look, config.workers) if images else _annotations(dataset)
    seen = _look_at(dataset, summaries, findings, split)
    wrong = [problem for problem in seen.problems if problem not in known] or ([unsettled] if unsettled else [])
    if seen.readable:
        notes += findings.notes()
        wrong = findings.problems() + wrong
        absent = findings.absent()
        if split == "val" and findings.can_be_scored():
            notes += [f"{said}: not in the score" for said in absent]
        else:
            wrong = absent + wrong
    report = {
        "classes": list(dataset.classes),
        "images": len(dataset),
        "notes": notes,
        "problems": len(wrong),
        "first_problems": wrong[:_MOST_LISTED],
        **(findings.report() if seen.readable else {}),
    }
    if out is not None and samples and seen.readable:
        readable = list(seen.readable)
        chosen = [readable[number] for number in even_indices(len(readable), samples)]
        draw_samples([dataset[index] for index in chosen], dataset.classes, out / f"{split}.png")
        report["picture"] = out / f"{split}.png"
    _show(split, report)
    pictures = {dataset.name(index): digest for index, digest in seen.readable.items()}
    return _Checked(report, dataset, pictures, wrong, settled)


def _names_alike(classes: Sequence[str]) -> list[str]:
    """Return a note of classes that may be one, spelt differently."""
    spelt: dict[str, list[str]] = {}
    for name in classes:
        spelt.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in spelt.values() if len(names) > 1]
    return [f"classes of nearly the same name, which may be one spelt differently: {first_few(alike)}"] if alike else []


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} can't be made: {error.strerror}.") from error


class _LookedAt(NamedTuple):
    """What became of the samples of a split, one by one."""

    readable: dict[int, bytes]
    """What the images show, a digest, by their indices."""
    problems: list[str]
    """What is wrong with the annotations, the names, and single samples."""


def _look_at(
    dataset: LabelledDataset[Any, Any],
    summaries: Iterable["_Summary | DataError"],
    findings: "_Findings",
    split: Split,
) -> _LookedAt:
    """Add every sample to the findings, with a bar that shows how far it is."""
    problems = [str(flaw) for flaw in dataset.flaws]
    problems += name_problems(dataset.name(index) for index in range(len(dataset)))
    readable: dict[int, bytes] = {}
    is_hidden = not console.is_terminal
    shown = track(summaries, split, len(dataset), console=console, transient=True, disable=is_hidden)
    for index, summary in enumerate(shown):
        if isinstance(summary, DataError):
            problems.append(str(summary))
        else:
            readable[index] = summary.picture
            findings.add(summary)
            problems += [f"{dataset.name(index)!r}: {problem}" for problem in summary.problems]
    return _LookedAt(readable, problems)


def _summaries(
    dataset: LabelledDataset[Any, Any], look: Callable[[Any], "_Summary"], workers: int
) -> Iterable["_Summary | DataError"]:
    """Read all samples, on all cores unless data.workers=0."""
    return look_at_each(dataset, look, workers and max(workers, torch.get_num_threads()))


def _seen_by(config: DataConfig, summarise: Callable[[Any], "_Summary"], sample: Any) -> "_Summary":
    """Summarise a sample; DataError where its image has numbers of another scale than the settings."""
    require_numbers(sample["image"], config, sample["name"])
    return summarise(sample)


def _annotations(dataset: LabelledDataset[Any, Any]) -> Iterator["_Summary | DataError"]:
    """Return what annotations say of each image, if its file is there."""
    assert isinstance(dataset, BoxFileDataset)
    for index in range(len(dataset)):
        record = dataset.record(index)
        if not record.image.is_file():
            yield DataError(f"{record.image}: no such file")
            continue
        has_mask = np.full(len(record.labels), np.nan) if record.masks is None else areas(record.masks) > 0
        columns = [record.labels, record.crowd, record.difficult, record.area, has_mask, np.zeros(len(has_mask))]
        yield _Summary(record.size, b"", [], np.stack(columns, 1, dtype=np.float64))


class _Summary(NamedTuple):
    """What is kept of a sample that was read."""

    size: tuple[int, int] | None
    """(height, width), if known"""
    picture: bytes
    """A digest of the image's pixels."""
    problems: list[str]
    content: NDArray[Any]
    """Masks: (256,), the pixels of each value. Boxes: (n, 6), for each its label, whether it is a crowd, or difficult, its area,
    whether it has a mask, not a number where the source has none, and whether that is elsewhere than its box."""


class _Findings(ABC):
    """What the readable samples of a split hold, for one kind of labels."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._sizes: list[tuple[int, int]] = []

    @staticmethod
    @abstractmethod
    def open(config: DataConfig, split: Split) -> LabelledDataset[Any, Any]:
        """Open the split with all of its images and labels."""

    @staticmethod
    @abstractmethod
    def summarise(sample: Any) -> _Summary:
        """Summarise a sample."""

    @abstractmethod
    def absent(self) -> list[str]:
        """Return what is said of classes that no sample has."""

    @abstractmethod
    def can_be_scored(self) -> bool:
        """Whether a score of the samples says something, though classes may be absent."""

    def problems(self) -> list[str]:
        """Return what else is wrong with all samples together."""
        return []

    def notes(self) -> list[str]:
        """Return what is to be said of all samples together that is no problem."""
        return []

    def add(self, summary: _Summary) -> None:
        """Count a sample."""
        self._sizes += [summary.size] if summary.size else []

    def report(self) -> dict[str, Any]:
        """Return all counts."""
        heights, widths = np.array(self._sizes).reshape(-1, 2).T
        if not self._sizes:
            return {}
        return {
            key: {"least": int(sides.min()), "median": float(np.median(sides)), "most": int(sides.max())}
            for key, sides in (("image_widths", widths), ("image_heights", heights))
        }


class _MaskFindings(_Findings):
    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._pixels = np.zeros(256, np.int64)
        self._images = np.zeros(256, np.int64)

    @staticmethod
    def open(config: DataConfig, split: Split) -> LabelledDataset[Any, Any]:
        return open_dataset(_with_every_image(config), split)

    @staticmethod
    def summarise(sample: Sample) -> _Summary:
        mask = sample["mask"]
        pixels = torch.bincount(
            mask.flatten(), minlength=256
        ).numpy()  # numpy's would take eight times the mask's memory
        nothing = [] if pixels[:IGNORE].any() else ["every pixel of its mask is ignored"]
        return _Summary((mask.shape[0], mask.shape[1]), _digest(sample), nothing, pixels)

    def add(self, summary: _Summary) -> None:
        super().add(summary)
        self._pixels += summary.content
        self._images += summary.content > 0

    def can_be_scored(self) -> bool:
        return bool(np.count_nonzero(self._pixels[:IGNORE]) > 1)

    def absent(self) -> list[str]:
        hint = ""
        if set(np.flatnonzero(self._pixels)) == {0, IGNORE}:
            ignored = self._pixels[IGNORE] / self._pixels.sum()
            hint = f"; {ignored:.0%} of all pixels are ignored (data.ignore_label, data.mask_values)"
        return [problem + hint for problem in _without("a pixel", self._classes, self._pixels)]

    def report(self) -> dict[str, Any]:
        total = int(self._pixels.sum())
        return {
            **super().report(),
            "ignored_pixels": float(self._pixels[IGNORE] / total),
            "pixels_of_class": {name: int(self._pixels[label]) / total for label, name in enumerate(self._classes)},
            "images_with_class": {name: int(self._images[label]) for label, name in enumerate(self._classes)},
        }


class _BoxFindings(_Findings):
    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self._objects: list[NDArray[np.float64]] = []

    @staticmethod
    def open(config: DataConfig, split: Split) -> LabelledDataset[Any, Any]:
        """With masks, but where one can't be used as training on boxes reads it: that never decodes masks."""
        config = _with_every_image(config)
        dataset = open_box_dataset(config, split, masks=True)
        if not dataset.flaws:
            return dataset
        boxes = open_box_dataset(config, split)
        of_boxes = set(boxes.flaws)
        if of_masks := [str(flaw) for flaw in dataset.flaws if flaw not in of_boxes]:
            what = "1 mask" if len(of_masks) == 1 else f"{len(of_masks)} masks"
            boxes.notes = [
                *boxes.notes,
                f"{what} can't be used, which matters to training on masks alone: {first_few(of_masks, 2)}",
            ]
        return boxes if of_masks else dataset

    @staticmethod
    def summarise(sample: BoxSample) -> _Summary:
        masks, labels = sample["masks"], sample["labels"].numpy()
        has_mask = np.full(len(labels), np.nan) if masks is None else masks.numpy().any((1, 2))
        apart = np.zeros(len(labels)) if masks is None else _apart(sample["boxes"].as_subclass(torch.Tensor), masks)
        columns = [labels, *(sample[key].numpy() for key in ("crowd", "difficult", "area")), has_mask, apart]
        height, width = sample["image"].shape[-2:]
        return _Summary((height, width), _digest(sample), [], np.stack(columns, 1, dtype=np.float64))

    def add(self, summary: _Summary) -> None:
        super().add(summary)
        self._objects.append(summary.content)

    def problems(self) -> list[str]:
        _, crowd, difficult, *_ = np.concatenate(self._objects).T
        nothing = "no object to learn from: all are crowds or difficult, which are neither trained on nor scored"
        return [nothing] if len(crowd) and np.logical_or(crowd, difficult).all() else []

    def notes(self) -> list[str]:
        *_, has_mask, apart = np.concatenate(self._objects).T
        notes = []
        if apart.any():
            notes.append(
                f"{int(apart.sum())} of {int((has_mask == 1).sum())} objects with a mask have a box that shares less than half with the one around"
                " the mask: look at the pictures (COCO's bbox is [x, y, width, height])"
            )
        if ignored := [repr(name) for name in self._classes if _TO_BE_IGNORED.fullmatch(name)]:
            notes.append(
                f"classes that are learnt like any other, though their names say that they are to be ignored: {first_few(ignored)}"
                " (COCO has iscrowd for regions to be ignored, Pascal VOC difficult, labelme the label __ignore__)"
            )
        return notes

    def can_be_scored(self) -> bool:
        return bool(self._of_class.any())

    def absent(self) -> list[str]:
        return _without("an object", self._classes, self._of_class)

    @property
    def _of_class(self) -> NDArray[np.int64]:
        labels = np.concatenate(self._objects)[:, 0].astype(np.int64)
        return np.bincount(labels, minlength=len(self._classes))

    def report(self) -> dict[str, Any]:
        labels, crowd, difficult, area, has_mask, _ = np.concatenate(self._objects).T
        with_mask = {"objects_with_mask": int((has_mask == 1).sum())} if (has_mask == 1).any() else {}
        bare = {} if has_mask.all() else {"objects_without_mask": int((has_mask == 0).sum())}
        return {
            **super().report(),
            "images_without_objects": sum(len(objects) == 0 for objects in self._objects),
            "objects": len(labels),
            "most_objects_in_an_image": max(map(len, self._objects)),
            "crowd_or_difficult": int(np.logical_or(crowd, difficult).sum()),
            "crowd": int(crowd.sum()),
            "difficult": int(difficult.sum()),
            **with_mask,
            **bare,
            "small": int((area < _MEDIUM).sum()),
            "medium": int(((area >= _MEDIUM) & (area < _LARGE)).sum()),
            "large": int((area >= _LARGE).sum()),
            "objects_of_class": dict(zip(self._classes, self._of_class.tolist(), strict=True)),
        }


class _InstanceFindings(_BoxFindings):
    @staticmethod
    def open(config: DataConfig, split: Split) -> LabelledDataset[Any, Any]:
        return open_instance_dataset(_with_every_image(config), split)


def _apart(boxes: torch.Tensor, masks: torch.Tensor) -> NDArray[np.bool_]:
    """Return which objects' boxes share less than half with the box around their mask, of those that have one."""
    apart = np.zeros(len(boxes), np.bool_)
    drawn = masks.bool().flatten(1).any(1)
    around = masks_to_boxes(masks[drawn])
    around[:, 2:] += 1  # its corners are pixels
    is_small = (boxes[drawn, 2:] - boxes[drawn, :2] < _SMALLEST_SIDE).any(1)  # rounding to pixels may take half of it
    apart[drawn.numpy()] = ((box_iou(boxes[drawn], around).diagonal() < 0.5) & ~is_small).numpy()
    return apart


def _with_every_image(config: DataConfig) -> DataConfig:
    return replace(config, train_empty=True) if isinstance(config, BoxFilesConfig) else config


_FINDINGS: dict[Labels, type[_Findings]] = {
    "masks": _MaskFindings,
    "boxes": _BoxFindings,
    "instances": _InstanceFindings,
}


def _digest(sample: ImageSample) -> bytes:
    pixels = sample["image"].numpy()
    digest = hashlib.blake2b(repr(pixels.shape).encode())
    digest.update(pixels)
    return digest.digest()


def _without(unit: str, classes: Sequence[str], amounts: NDArray[np.int64]) -> list[str]:
    """Return the problem, if there is one, that classes have nothing to learn from or to score."""
    absent = [repr(name) for name, amount in zip(classes, amounts, strict=False) if not amount]
    return [f"classes without {unit}: {first_few(absent)}"] if absent else []


def _show(split: str, report: dict[str, Any]) -> None:
    """Print a split's report; whatever comes from the data is shown as it is, not as markup."""
    table = Table(title=split, title_justify="left", show_header=False)
    for key, value in report.items():
        if key not in ("classes", "notes", "first_problems"):
            table.add_row(key.replace("_", " "), escape(_in_words(value)))
    console.print(table)
    for note in report["notes"]:
        console.print(f"  Note: {printable(note)}", markup=False, soft_wrap=True)
    for problem in report["first_problems"]:
        console.print(f"  {printable(problem)}", markup=False, soft_wrap=True)
    if report["problems"] > len(report["first_problems"]):
        console.print(f"  and {report['problems'] - len(report['first_problems'])} more")


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{printable(name)} {_in_words(number)}" for name, number in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
