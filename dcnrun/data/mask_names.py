"""Which file is the mask of an image: by its name, and by what names of masks have beside it."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path

from dcnrun.data.files import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES, first_few
from dcnrun.errors import DataError

_WORDS = ("mask", "masks", "label", "labels", "gt", "seg", "segmentation", "annotation", "labelIds", "gtFine_labelIds")
KNOWN_SUFFIXES = (*(f"{joint}{word}" for word in _WORDS for joint in "_-"), "_L", "_cp_masks")
"""What masks' names have after their images': of ISIC, Carvana, Potsdam, Cityscapes, CamVid and Cellpose among others."""
_IMAGE_ENDS = ("", "_leftImg8bit", "_image", "_img", "_sat", "_RGB", "_rgb", "_IRRG", "_RGBIR")
"""What images' names may have in place of that."""


def masks_of(images: Mapping[str, Path], folder: Path, forced: str | None) -> tuple[dict[str, Path], str]:
    """Return the mask of each image, and the suffix that they have; a missing mask has the name that it should have.

    The names of `images` have no endings, and lead to masks below `folder`; `forced` is the suffix where it is given.
    DataError where no image has a mask, or where two may be meant.
    """
    names, own = list(images), set(images.values())
    files: dict[str, list[Path]] = {}
    for place in sorted({str(Path(name).parent) for name in names}):
        for file in files_in(folder / place, (*MASK_SUFFIXES, *LOSSY_SUFFIXES)):
            if file not in own:
                files.setdefault(str(file.relative_to(folder).with_suffix("")), []).append(file)
    suffixes = ("", *KNOWN_SUFFIXES) if forced is None else (forced,)
    counts = _counts(names, files, suffixes)
    suffix, end = max(counts, key=lambda way: counts[way])  # the first of them
    if not counts[suffix, end]:
        raise DataError(_no_mask(names, folder, suffixes, files))
    fitting = dict.fromkeys(other for (other, _), count in counts.items() if count == len(names))
    if suffix and len(fitting) > 1:
        raise DataError(
            f"{folder}: all images have masks with {' and with '.join(fitting)} after their names;"
            " expected data.mask_suffix to say which"
        )
    stems = {name: _stem(name, suffix, end) for name in names}
    return {name: _chosen(files.get(stem, []), folder / f"{stem}.png") for name, stem in stems.items()}, suffix


def best_ending(names: Sequence[str], masks: Collection[str]) -> tuple[str, dict[str, str]]:
    """Return the suffix by which most of some images have one of these masks, and the mask of each that has one; all without endings of files."""
    counts = _counts(names, masks, ("", *KNOWN_SUFFIXES))
    suffix, end = max(counts, key=lambda way: counts[way])  # the first of them
    return suffix, {name: mask for name in names if (mask := _stem(name, suffix, end)) in masks}


def _counts(names: Sequence[str], masks: Collection[str], suffixes: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return how many images have a mask with each suffix in place of each end of the images' own names."""
    ends = [end for end in _IMAGE_ENDS if names[0].endswith(end)]
    return {way: sum(_stem(name, *way) in masks for name in names) for way in product(suffixes, ends)}


def masks_beside(folder: Path, forced: str | None = None) -> set[Path]:
    """Return the files of a folder that are masks of images in it: by their suffix, or as .png of a .jpg."""
    files = files_in(folder, (*IMAGE_SUFFIXES, *MASK_SUFFIXES))
    names = {file.stem for file in files}
    photographs = {file.stem for file in files if file.suffix.lower() in LOSSY_SUFFIXES}
    suffixes = KNOWN_SUFFIXES if forced is None else (forced,)
    return {
        file
        for file in files
        if (file.suffix.lower() in MASK_SUFFIXES and file.stem in photographs)
        or any(
            suffix and file.stem.endswith(suffix) and file.stem.removesuffix(suffix) + end in names
            for suffix in suffixes
            for end in _IMAGE_ENDS
        )
    }


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder with these endings, in order, but hidden ones."""
    return [file for file in sorted(folder.glob("*")) if file.suffix.lower() in suffixes and file.name[0] != "."]


def _stem(name: str, suffix: str, end: str) -> str:
    return f"{name.removesuffix(end)}{suffix}"


def _chosen(files: Sequence[Path], missing: Path) -> Path:
    exact = [file for file in files if file.suffix.lower() in MASK_SUFFIXES]
    if len(exact) > 1:
        raise DataError(f"{exact[0]}: another mask has the same name, {exact[1]}; expected one of them")
    return exact[0] if exact else files[0] if files else missing


def _no_mask(names: Sequence[str], folder: Path, suffixes: Sequence[str], files: dict[str, list[Path]]) -> str:
    there = [file.name for of_name in files.values() for file in of_name]
    alike = [stem.removeprefix(names[0]) for stem in files if stem.startswith(names[0])]
    return (
        f"{folder}: none of the {len(names)} images has a mask there; expected {names[0]}{suffixes[0]}.png and the like,"
        f" or one of the endings {' '.join(MASK_SUFFIXES)}; there are {first_few(there) if there else 'no such files'}"
        + (f" (data.mask_suffix={alike[0]}?)" if alike and alike[0] not in suffixes else "")
    )
