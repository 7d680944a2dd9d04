"""Which files are the images and masks of a user's own folder."""

from pathlib import Path

from dcnrun.config.schema import FolderConfig
from dcnrun.data.files import IMAGE_SUFFIXES, Pair, first_few, read_names, require_below, root_folder
from dcnrun.data.sample import Split
from dcnrun.errors import DataError, UsageError


def pairs_of(config: FolderConfig, split: Split) -> list[Pair]:
    """Return the images and masks that data.train or data.val names; UsageError if they are not there."""
    root = root_folder(config, f"{config.images} and {config.masks}")
    part = config.train if split == "train" else config.val
    if part.endswith(".txt"):
        images, masks = root / config.images, root / config.masks
        _require_layout(root, f"data.{split}={part}", [root / part, images, masks])
        names = read_names(root / part)
        for name in names:
            require_below(root, images, name, root / part, config.allow_outside)
        found = _images_by_name(images, {str(Path(name).parent) for name in names})
        if absent := [name for name in names if name not in found]:
            raise DataError(
                f"{len(absent)} of {len(names)} names in {root / part} have no image: {first_few(absent)};"
                f" expected {images}/NAME with one of the endings {' '.join(IMAGE_SUFFIXES)}, one NAME a line"
            )
    else:
        images, masks = root / config.images / part, root / config.masks / part
        _require_layout(root, f"data.{split}={part}", [images, masks])
        found = _images_by_name(images, {"."})
        names = sorted(found)
    if not names:
        raise UsageError(
            f"data.{split}={part} has no images in {images}; expected files ending in {' '.join(IMAGE_SUFFIXES)}"
        )
    return [Pair(name, found[name], masks / f"{name}.png") for name in names]


def _require_layout(root: Path, setting: str, paths: list[Path]) -> None:
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise UsageError(
            f"data.root={root} with {setting} lacks {', '.join(absent)}; expected either sub-folders"
            " (images/train/NAME.jpg and masks/train/NAME.png with data.train=train) or a split file"
            " (images/NAME.jpg, masks/NAME.png and NAMEs in train.txt with data.train=train.txt)"
        )


def _images_by_name(images: Path, folders: set[str]) -> dict[str, Path]:
    """Return the image files in `folders` below `images`, by their path without the ending."""
    found: dict[str, Path] = {}
    for folder in sorted(folders):
        for file in sorted((images / folder).glob("*")):
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("."):
                name = str(file.relative_to(images).with_suffix(""))
                if name in found:
                    raise DataError(f"{file}: another image has the same name, {found[name]}; expected one of them")
                found[name] = file
    return found
