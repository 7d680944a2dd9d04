"""Data sets that are pairs of files, an image and its mask; whatever is wrong with a file is a DataError naming it."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as Pillow
from torchvision.tv_tensors import Image, Mask

from dcnrun.config.schema import DataConfig
from dcnrun.data.colours import ColourTable, count_colours, keys_of
from dcnrun.data.mask_batches import SegmentationDataset
from dcnrun.data.rasters import REDUCED_OR_MASK, Layout, choose_bands, deep_layout, read_deep, read_numbers
from dcnrun.data.sample import IGNORE, Sample
from dcnrun.errors import DataError, UsageError
from dcnrun.runs import require_regular

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Endings of files that keep the values of a mask as they are."""
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""What Pillow may take a file for: for some of its other formats it starts other programs."""
_IMAGE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_IMAGE_EXPECTED = "an RGB, grey, index-colour or multi-band image"
_MASK_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
_MASK_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I", "F")
_DEEP_MODES = ("I;16", "I;16B", "I", "F")
_MASK_EXPECTED = "an index-colour or grey image of 8 bits, a class per pixel"
_OBJECTS_EXPECTED = "a grey, index-colour or RGB image with a whole number or a colour for each object, and 0 or black where there is none"
_BITS_PER_SAMPLE = 258
"""A TIFF page's tag."""
_OUT_OF_RANGE = -1
_MOST_COLOURED = 16
"""What the channels of grey that JPEG has changed differ in at most."""
_ON_THEIR_SIDE = (5, 6, 7, 8)
"""EXIF orientations that turn an image by 90 degrees, perhaps mirrored."""
_SUBFILE_TYPE = 254
"""A TIFF page's tag NewSubfileType and bits of it: the page is a smaller copy of another page, or marks its transparent pixels."""

MOST_PIXELS = 178_956_970
"""Pixels of an image beyond which Pillow refuses it, and we the masks for it."""


class Pair(NamedTuple):
    """One sample on disk."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class LabelTable:
    """What each value in mask files stands for: `meaning` (256,) is a class, IGNORE or out of range (-1)."""

    meaning: NDArray[np.int16]
    expected: str

    def stands_for(self, value: int) -> bool:
        """Whether a value is a class, or ignored."""
        return bool(self.meaning[value] != _OUT_OF_RANGE)

    def nearest(self) -> NDArray[np.uint8]:
        """Return for each value (256,) the nearest that stands for something, the smaller of two."""
        known = np.flatnonzero(self.meaning != _OUT_OF_RANGE)
        nearest: NDArray[np.uint8] = known[np.abs(np.arange(256)[:, None] - known).argmin(1)].astype(np.uint8)
        return nearest

    @classmethod
    def identity(cls, classes: int, ignore: int) -> "LabelTable":
        """Values 0 to classes - 1 are the classes themselves, `ignore` is IGNORE, any other is out of range."""
        return cls.of(range(classes), ignore)

    @classmethod
    def of(cls, values: Sequence[int], ignore: int | None) -> "LabelTable":
        """The values are the classes in this order, `ignore` is IGNORE, any other is out of range."""
        meaning = np.full(256, _OUT_OF_RANGE, np.int16)
        meaning[list(values)] = np.arange(len(values))
        is_row = list(values) == list(range(values[0], values[0] + len(values)))
        said = f"{values[0]} to {values[-1]}" if is_row else ", ".join(map(str, values))
        if ignore is None:
            return cls(meaning, f"{said} (the classes)")
        meaning[ignore] = IGNORE
        return cls(meaning, f"{said} (the classes) or {ignore} (ignored)")


class FileDataset(SegmentationDataset):
    """Samples read from pairs of files."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        classes: Sequence[str],
        labels: LabelTable,
        colours: ColourTable | None = None,
        nearest: NDArray[np.uint8] | None = None,
    ) -> None:
        """`colours`: the values of masks in colours, if there may be any; `nearest`: as of `read_mask`."""
        self.classes = tuple(classes)
        self._pairs = list(pairs)
        self._labels = labels
        self._colours = colours
        self._nearest = nearest
        self._palette: dict[tuple[int, ...], tuple[int, Path]] = {}  # of the masks read so far: their value, and where

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self._pairs[index]
        image = read_image(pair.image, self.bands)
        values = self._values_in(pair.mask)
        require_same_size(pair.mask, values.shape, pair.image, image.shape[1:])
        return {"image": image, "mask": self._classes_of(values, pair.mask), "name": pair.name}

    def mask(self, index: int) -> Mask:
        """Read the mask of the sample at `index`, and not its image."""
        file = self._pairs[index].mask
        return self._classes_of(self._values_in(file), file)

    def label_content(self, index: int) -> bytes:
        """Return the bytes of the mask's file; none where it can't be read, which is said where the mask is."""
        try:
            return self._pairs[index].mask.read_bytes()
        except OSError:
            return b""

    def _values_in(self, file: Path) -> NDArray[np.uint8]:
        values, palette = read_mask(file, self._colours, self._nearest)
        self._require_same_palette(file, values, palette)
        return values

    def _classes_of(self, values: NDArray[np.uint8], file: Path) -> Mask:
        """Return the class of each value; DataError where one stands for none."""
        mask = self._labels.meaning[values]
        if (wrong := mask == _OUT_OF_RANGE).any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f"{file}: label {values[row, column]} at row {row}, column {column} is out of range"
                f" (as are {wrong.sum()} pixels in all); expected {self._labels.expected}"
            )
        return Mask(torch.from_numpy(mask.astype(np.uint8)))

    def _require_same_palette(self, path: Path, values: NDArray[np.uint8], palette: Sequence[tuple[int, ...]]) -> None:
        """Raise DataError where a colour is another value than in a mask read before: classes would be mixed up."""
        used, counts = np.zeros(256, np.bool_), Counter(palette)
        used[values] = True
        for value, colour in enumerate(palette):
            if used[value] and counts[colour] == 1:
                other, file = self._palette.setdefault(colour, (value, path))
                if other != value:
                    raise DataError(
                        f"{path}: the colour {colour} has the value {value} in its palette, but {other} in {file};"
                        " expected one palette in all masks, or grey values"
                    )

    def name(self, index: int) -> str:
        """Name of the sample at `index`, without reading it."""
        return self._pairs[index].name

    def file(self, index: int) -> Path:
        """Return the image's file."""
        return self._pairs[index].image

    def verify(self) -> None:
        """DataError unless every sample has a name of its own and all files are there."""
        require_names(pair.name for pair in self._pairs)
        require_files([pair.image for pair in self._pairs], "image")
        require_files([pair.mask for pair in self._pairs], "mask")


def root_folder(config: DataConfig, content: str) -> Path:
    """Return the folder that data.root names; UsageError if it names none."""
    if config.root is None:
        raise UsageError(f"data.root is not set; expected the folder that holds {content}")
    return Path(config.root).expanduser()


def existing_root(config: DataConfig, content: str) -> Path:
    """Return the folder that data.root names; UsageError if it names none that is there."""
    root = root_folder(config, content)
    if not root.is_dir():
        state = "is a file" if root.is_file() else "is not there"
        raise UsageError(f"data.root={config.root} {state}; expected the folder that holds {content}")
    return root


def read_image(path: Path, bands: Sequence[int] = (), content: bytes | None = None) -> Image:
    """Read an image (C, H, W), upright: uint8, or float32 where its file has other numbers than 8 bits.

    `bands` are those that are taken, counted from 0, alpha last; without them 8-bit images are RGB, and others have all
    their bands but alpha. Unsigned integers of other than 8 bits become 0 to 1 by their range. `content` is an image file of
    8 bits that lies in the file at `path`.
    """
    if content is None and (layout := _deep_layout(path)) is not None:
        pixels, colours = _read_deep(path, pages_are_bands=bool(bands)), layout.colours
    else:
        picture = _read(path, _IMAGE_MODES, _IMAGE_EXPECTED, content=content)
        mode = _mode_without_alpha(picture) if bands else "RGB"
        colours = len(mode)
        mode += "A" * (bool(bands) and _has_alpha(picture))
        values = np.array(picture if picture.mode == mode else picture.convert(mode))
        pixels = np.atleast_3d(values).transpose(2, 0, 1)
    chosen = choose_bands(pixels, colours, bands)
    if chosen is None:
        raise DataError(
            f"{path}: it has {len(pixels)} band{'s' if len(pixels) > 1 else ''}, but data.bands={list(bands)} takes band"
            f" {max(bands)}, counted from 0; expected images that all have these bands"
        )
    return Image(torch.from_numpy(np.ascontiguousarray(chosen)))


def image_layout(path: Path) -> Layout | None:
    """Return what an image file holds, from its header; None if that can't be read."""
    try:
        require_regular(path)
        if (layout := deep_layout(path, MOST_PIXELS)) is not None:
            return layout
        with Pillow.open(path, formats=_FORMATS) as picture:
            is_to_turn = picture.format != "TIFF"  # whose size Pillow gives as it is when upright
            turned = is_to_turn and picture.getexif().get(ExifTags.Base.Orientation, 1) in _ON_THEIR_SIDE
            colours = len(_mode_without_alpha(picture))
            size = picture.size if turned else picture.size[::-1]
            return Layout(size, colours + _has_alpha(picture), colours, is_deep=False)
    except Exception:  # damaged files make decoders raise almost anything
        return None


def image_size(path: Path) -> tuple[int, int] | None:
    """Return (height, width) of an image when upright, from the file's header; None if that can't be read."""
    layout = image_layout(path)
    return None if layout is None else layout.size


def stated_size(height: Any, width: Any) -> tuple[int, int] | None:
    """Return (height, width) as an annotation file has them; None unless both are positive integers."""
    return (height, width) if type(height) is int and type(width) is int and height > 0 and width > 0 else None


def why_unreadable(error: BaseException) -> str:
    """Return that something can't be read and why, without the name of the file: what says it has named that."""
    if isinstance(error, UnidentifiedImageError):  # its words name a path, or an object in memory
        return "can't be read (not an image, or a damaged one)"
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"can't be read ({why})"


def _mode_without_alpha(picture: Any) -> str:
    return "L" if picture.mode in ("1", "L", "LA") else "RGB"


def _has_alpha(picture: Any) -> bool:
    return picture.mode in ("LA", "PA", "RGBA") or (picture.mode == "P" and "transparency" in picture.info)


def _deep_layout(path: Path) -> Layout | None:
    try:
        require_regular(path)
        return deep_layout(path, MOST_PIXELS)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {_IMAGE_EXPECTED}") from None
    except Exception as error:  # damaged files make decoders raise almost anything
        raise DataError(f"{path}: {why_unreadable(error)}; expected {_IMAGE_EXPECTED}") from error


def _read_deep(path: Path, pages_are_bands: bool) -> NDArray[Any]:
    try:
        return read_deep(path, pages_are_bands)
    except Exception as error:  # damaged files make decoders raise almost anything
        raise DataError(f"{path}: {why_unreadable(error)}; expected {_IMAGE_EXPECTED}") from error


def read_mask(
    path: Path, colours: ColourTable | None = None, nearest: NDArray[np.uint8] | None = None
) -> tuple[NDArray[np.uint8], list[tuple[int, ...]]]:
    """Read the values of a mask (H, W), upright, colour indices or grey values; and the colour of each index, if there are any.

    With `colours`, the colours of pixels say the values; grey values are left as they are, unless all those colours are grey. `nearest` (256,) has the
    value that each grey value is taken for, and allows formats that change values.
    """
    values, palette = _read_mask(path, colours, is_exact=nearest is None)
    return (values, palette) if nearest is None or palette else (nearest[values], palette)


def _read_mask(
    path: Path, colours: ColourTable | None, is_exact: bool
) -> tuple[NDArray[np.uint8], list[tuple[int, ...]]]:
    if (colours is None or not colours.is_grey) and (numbers := _numbers(path, _MASK_EXPECTED)) is not None:
        return _small_values(path, numbers), []
    picture = _exact_picture(path, _MASK_EXPECTED) if is_exact else _picture(path, _MASK_EXPECTED)
    if picture.mode in _DEEP_MODES:
        return _small_values(path, np.array(picture)), []
    if picture.mode == "L" and (bits := _bits(path, picture)) < 8:
        raise DataError(
            f"{path}: its grey values have {bits} bits, which would be stretched to 0 to 255; expected {_MASK_EXPECTED}"
        )
    _require_opaque(path, picture, _MASK_EXPECTED)
    if colours is not None and (picture.mode in ("P", "RGB", "RGBA") or colours.is_grey):
        try:
            return colours.values_of(np.array(picture.convert("RGB"))), []
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
    if picture.mode == "LA":
        return np.array(picture)[..., 0], []
    if picture.format == "GIF":  # has no grey, and what writes it numbers its colours anew
        picture = picture.convert("RGB")
    if picture.mode in ("RGB", "RGBA"):
        return _grey_values(path, np.array(picture)[..., :3], 0 if is_exact else _MOST_COLOURED), []
    flat = (picture.getpalette("RGB") or []) if picture.mode == "P" else []
    return np.array(picture, np.uint8), [tuple(flat[start : start + 3]) for start in range(0, len(flat), 3)]


def read_object_numbers(path: Path) -> NDArray[Any]:
    """Read a label image (H, W): a number for each object, 0 where there is none, by grey values of any depth, colour indices or colours."""
    numbers = _numbers(path, _OBJECTS_EXPECTED)
    if numbers is None:
        picture = _exact_picture(path, _OBJECTS_EXPECTED)
        _require_opaque(path, picture, _OBJECTS_EXPECTED)
        if picture.format == "GIF":  # what writes it numbers its colours anew
            picture = picture.convert("RGB")
        numbers = np.array(picture)
        if numbers.ndim == 3:  # what is transparent is no object
            is_seen = numbers[..., -1] > 0 if picture.mode in ("LA", "RGBA") else True
            colour = numbers[..., 0] if picture.mode == "LA" else keys_of(numbers[..., :3])
            numbers = np.where(is_seen, colour, 0)
    is_number = (numbers >= 0) & (numbers < np.inf) & np.equal(np.floor(numbers), numbers)
    if not is_number.all():
        raise DataError(f"{path}: it holds the value {numbers[~is_number][0]:g}; expected {_OBJECTS_EXPECTED}")
    return numbers if numbers.dtype.kind == "u" else numbers.astype(np.int64)


def read_colours(path: Path, expected: str) -> NDArray[np.uint8]:
    """Read the colours of a picture's pixels (H, W, 3), upright, black where it is transparent.

    DataError where its format has changed them, pixels are half transparent, or grey values have more than 8 bits.
    """
    picture = _exact_picture(path, expected)
    _require_opaque(path, picture, expected)
    if picture.mode in _DEEP_MODES:
        raise DataError(f"{path}: its pixel format is {picture.mode}; expected {expected}")
    if not _has_alpha(picture):
        return np.array(picture.convert("RGB"))
    colours = np.array(picture.convert("RGBA"))
    return np.where(colours[..., 3:] > 0, colours[..., :3], 0)


def _exact_picture(path: Path, expected: str) -> Any:
    """Decode a mask that Pillow reads; DataError where its format has changed the values of pixels."""
    picture = _picture(path, expected)
    if picture.format not in _MASK_FORMATS or picture.info.get("compression") == "jpeg":
        how = "WebP" if picture.format == "WEBP" else "JPEG"
        raise DataError(
            f"{path}: {how} changes the values of pixels, above all at the edges of objects, so that labels are lost;"
            f" expected {expected}, in a file ending in {' '.join(MASK_SUFFIXES)} (data=folder takes them with data.nearest_class=true)"
        )
    return picture


def _picture(path: Path, expected: str) -> Any:
    return _read(path, _MASK_MODES, expected, (*_MASK_FORMATS, *_FORMATS))


def _numbers(path: Path, expected: str) -> NDArray[Any] | None:
    """Return the numbers of a grey TIFF file; None for other files, and those that are not there."""
    try:
        require_regular(path)
        return read_numbers(path, MOST_PIXELS)
    except FileNotFoundError:
        return None
    except Exception as error:  # damaged files make decoders raise almost anything
        raise DataError(f"{path}: {why_unreadable(error)}; expected {expected}") from error


def _small_values(path: Path, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return numbers of more than 8 bits as the classes that they are."""
    small = (values >= 0) & (values <= 255) & (values == np.floor(values))
    if not small.all():
        raise DataError(
            f"{path}: it holds the value {values[~small][0]:g}, on {(~small).sum()} pixels beyond 0 to 255 in all;"
            f" expected {_MASK_EXPECTED} (data=instance_masks reads a number for each object)"
        )
    return values.astype(np.uint8)


def _grey_values(path: Path, pixels: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Return the one channel of grey that was saved as three, which may differ so much at most."""
    if (pixels.max(-1) - pixels.min(-1)).max() > most:
        raise DataError(
            f"{path}: its pixel format is RGB, with the colours {count_colours(pixels)}; expected {_MASK_EXPECTED}, or the"
            " colours of all classes in data.colours or in a labelmap.txt below data.root (NAME:R,G,B a line)"
        )
    return pixels[..., 1]


def _require_opaque(path: Path, picture: Any, expected: str) -> None:
    """Raise DataError where pixels are half transparent: soft edges, which are of no class."""
    if picture.mode in ("LA", "RGBA"):
        alpha = np.array(picture)[..., -1]
        if soft := int(((alpha > 0) & (alpha < 255)).sum()):
            raise DataError(f"{path}: {soft} pixels are half transparent; expected {expected}")


def _bits(path: Path, picture: Any) -> int:
    """Return the bits of a grey value in the file."""
    if picture.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]  # of a channel, from the header
    return int(picture.tag_v2.get(_BITS_PER_SAMPLE, (8,))[0]) if picture.format == "TIFF" else 8


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry of a folder is one; a link in a circle, or to where one may not look, leads nowhere."""
    return Path(entry).is_dir() if entry.is_symlink() else entry.is_dir()


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry of a folder is a file, on the same terms."""
    return Path(entry).is_file() if entry.is_symlink() else entry.is_file()


def walk(folder: Path, *, must_read: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it, each once, for links may lead in circles, with the names of their files; nothing hidden.

    UsageError for one that can't be read, whose files would be missing without a word; without `must_read` it is left out.
    """

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename} can't be searched for files: {error.strerror}.") from error

    known: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=refuse if must_read else None, followlinks=True):
        if (real := os.path.realpath(place)) in known:
            folders.clear()
            continue
        known.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in names if not name.startswith("."))


def read_bytes(path: Path) -> bytes:
    """Read a file; OSError where it is not there or no regular file."""
    require_regular(path)
    return path.read_bytes()


def require_below(root: Path, folder: Path, name: str, file: Path, may_leave: bool) -> Path:
    """Return `folder / name`; DataError where the name, which `file` has, leads out of both unless it may. Links always may."""
    path = Path(os.path.normpath(folder / name))
    if not may_leave and not any(path.is_relative_to(os.path.normpath(base)) for base in (root, folder)):
        raise DataError(
            f"{file}: the image {name!r} is outside data.root={root}; expected a name below {folder}, or data.allow_outside=true"
        )
    return folder / name


def require_same_size(
    mask: Path, size: Sequence[int], image: Path, size_of_image: Sequence[int], what: str = "mask"
) -> None:
    """Raise DataError unless a mask has its image's size, each (height, width)."""
    if tuple(size) != tuple(size_of_image):
        raise DataError(
            f"{mask}: the {what} is {width_x_height(size)} but its image {image} is {width_x_height(size_of_image)} (width x height);"
            " expected the same size"
        )


def require_files(paths: Sequence[Path], what: str) -> None:
    """Raise DataError naming the first few of `paths` that are not there."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"{len(missing)} of {len(paths)} {what} files are missing; expected {first_few(missing)}")


def require_names(names: Iterable[str]) -> None:
    """Raise DataError naming the first few of `names` that occur more than once, or that files can't hold."""
    counts = Counter(names)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise DataError(f"every image needs a name of its own, but these occur more than once: {first_few(repeated)}")
    if unwritable := [ascii(name) for name in counts if not is_text(name)]:
        raise DataError(f"names of images that are not UTF-8: {first_few(unwritable)}; rename these files")


def name_problems(names: Iterable[str]) -> list[str]:
    """Return what `require_names` refuses, a line for each name."""
    counts = Counter(names)
    repeated = [f"{name!r} is the name of {count} images" for name, count in counts.items() if count > 1]
    return repeated + [f"{name!a} is not UTF-8: rename this file" for name in counts if not is_text(name)]


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: one from a folder or JSON file may hold half a character."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def first_few(names: Sequence[str], limit: int = 5) -> str:
    """Join the first names, and say how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def read_names(file: Path) -> list[str]:
    """Return the lines of a text file that lists images."""
    try:
        lines = read_bytes(file).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {why_unreadable(error)}; expected a text file in UTF-8, a name a line") from error
    return [line.strip() for line in lines if line.strip()]


def _read(
    path: Path,
    modes: Sequence[str],
    expected: str,
    formats: tuple[str, ...] = _FORMATS,
    content: bytes | None = None,
) -> Any:
    """Decode a picture, upright; DataError unless its mode (Pillow's name for channels and bits) is one of `modes`."""
    try:
        require_regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # up to MOST_PIXELS, images may be large
            # not by the path: Pillow then maps some TIFF files into memory, and mixes up the pixels of those that lie on their side
            with (
                path.open("rb") if content is None else io.BytesIO(content) as file,
                Pillow.open(file, formats=formats) as picture,
            ):
                _require_one_picture(picture)
                picture.load()
                ImageOps.exif_transpose(picture, in_place=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected {expected}") from None
    except Pillow.DecompressionBombError:
        raise DataError(
            f"{path}: it claims to have more than {MOST_PIXELS:,} pixels; expected a smaller image"
        ) from None
    except Exception as error:  # damaged files make Pillow's decoders raise almost anything
        raise DataError(f"{path}: {why_unreadable(error)}; expected {expected}") from error
    if picture.mode not in modes:
        raise DataError(f"{path}: its pixel format is {picture.mode}; expected {expected}")
    return picture


def _require_one_picture(picture: Any) -> None:
    """Raise ValueError unless a file holds one picture of some extent; smaller copies of it beside it are fine."""
    if 0 in picture.size:
        raise ValueError(f"it is {picture.size[0]}x{picture.size[1]} (width x height)")
    has_more = getattr(picture, "is_animated", False) and picture.format != "MPO"  # those of phones' photographs
    if has_more and picture.format == "TIFF":
        picture.seek(1)
        has_more = not picture.tag_v2.get(_SUBFILE_TYPE, 0) & REDUCED_OR_MASK
        picture.seek(0)
    if has_more:
        raise ValueError("it holds more than one picture: frames of an animation, or pages")


def width_x_height(shape: Sequence[int]) -> str:
    """Write a (height, width) as messages do."""
    height, width = shape
    return f"{width}x{height}"
