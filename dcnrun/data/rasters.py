"""The pixels of image files whatever their bands and type: what Pillow reads as it is, and what it refuses or cuts to 8 bits.

Pillow 13 drops the second band of a grey TIFF and the low byte of colours with 16 bits without a word, so TIFF files go to
tifffile and PNG files with 16 bits to imagecodecs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tifffile import TiffPage

_PNG, _PNG_HEADER = b"\x89PNG\r\n\x1a\n", 33
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_COLOURS = {0: (1, 1), 2: (3, 3), 3: (3, 3), 4: (2, 1), 6: (4, 3)}
"""Bands, and those of them that are no alpha, by the colour type in a PNG file's header."""
_WHITE_IS_0, _BLACK_IS_0, _RGB = 0, 1, 2  # TIFF's PhotometricInterpretation
_ALPHA = (1, 2)  # TIFF's ExtraSamples
_ORIENTATION = 274
REDUCED_OR_MASK = 0b101
"""Bits of TIFF's NewSubfileType that mark a page as a smaller copy or a mask of another."""
_MOST_BYTES = 2**32
"""Memory for the pixels of one image."""


class Layout(NamedTuple):
    """What an image file holds, by its header."""

    size: tuple[int, int]
    """(height, width) when upright"""
    bands: int
    colours: int
    """Bands without alpha, which comes last."""
    is_deep: bool
    """Whether it holds other than grey or RGB of 8 bits."""


def deep_layout(path: Path, most_pixels: int) -> Layout | None:
    """Return the layout of a file that `read_deep` is to read; None for all others. Raises whatever damaged files make."""
    with path.open("rb") as file:
        start = file.read(_PNG_HEADER)
    if start.startswith(_PNG) and len(start) == _PNG_HEADER and start[24] == 16:
        bands, colours = _PNG_COLOURS[start[25]]
        width, height = (int.from_bytes(start[at : at + 4]) for at in (16, 20))
        layout = Layout((height, width), bands, colours, is_deep=True)
    elif start.startswith(_TIFF):
        from tifffile import TiffFile

        with TiffFile(path) as tiff:
            pages = _pages(tiff)
            layout = _layout_of(pages[0], len(pages))
        if not layout.is_deep:
            return None
    else:
        return None
    _require_extent(*layout.size, most_pixels)
    return layout


def _require_extent(height: int, width: int, most_pixels: int) -> None:
    if min(height, width) == 0:
        raise ValueError(f"it is {width}x{height} (width x height)")
    if height * width > most_pixels:
        raise ValueError(f"it claims to have more than {most_pixels:,} pixels")


def read_numbers(path: Path, most_pixels: int) -> NDArray[Any] | None:
    """Return the numbers (H, W) of a TIFF file with one grey band as they are stored, upright; None for all others. Raises as `deep_layout`.

    Where 0 is white, ImageJ and tifffile hold what is stored for the number: 255 of ImageJ's binary masks and true of tifffile's stand for
    objects, though viewers show them black. Of other programs' files of 1 bit the shade is meant, as it is shown.
    """
    with path.open("rb") as file:
        if not file.read(4).startswith(_TIFF):
            return None
    from tifffile import COMPRESSION, TiffFile

    with TiffFile(path) as tiff:
        page, *others = _pages(tiff)
        is_grey = page.samplesperpixel == 1 and page.photometric in (_WHITE_IS_0, _BLACK_IS_0)
        is_exact = page.compression not in (COMPRESSION.OJPEG, COMPRESSION.JPEG) and np.dtype(page.dtype).kind != "c"
        if others or not is_grey or not is_exact:
            return None
        _require_extent(page.imagelength, page.imagewidth, most_pixels)
        numbers: NDArray[Any] = _upright(_bands_first(page), _orientation(page))[0]
        is_shade = page.photometric == _WHITE_IS_0 and page.bitspersample == 1 and "tifffile" not in page.software
        return np.equal(numbers, 0) if is_shade else numbers


def read_deep(path: Path, pages_are_bands: bool) -> NDArray[Any]:
    """Read the bands (C, H, W) of a file that has a `deep_layout`, upright: uint8, or float32 for all other types.

    Unsigned integers become 0 to 1 by the range of their bits; other numbers stay as they are. ValueError for several pages,
    unless each is taken for a band, and for numbers that are not finite.
    """
    with path.open("rb") as file:
        is_png = file.read(len(_PNG)) == _PNG
    if is_png:
        from imagecodecs import png_decode

        return _as_float(np.atleast_3d(png_decode(path.read_bytes())).transpose(2, 0, 1), 16)
    from tifffile import PHOTOMETRIC, TiffFile

    with TiffFile(path) as tiff:
        pages = _pages(tiff)
        first = pages[0]
        if len(pages) > 1 and not pages_are_bands:
            raise ValueError(
                f"it holds more than one picture: {len(pages)} pages; data.bands={list(range(len(pages)))} takes each for a band"
            )
        if (
            len({(page.shape, page.dtype, page.photometric) for page in pages}) > 1
            or len(pages) > 1 < first.samplesperpixel
        ):
            raise ValueError("it holds more than one picture: pages of several sizes, types or bands")
        claimed = 4 * len(pages) * first.samplesperpixel * first.imagelength * first.imagewidth
        if claimed > _MOST_BYTES:
            raise ValueError(
                f"its pixels would take {claimed / 2**30:.3g} GiB; {_MOST_BYTES / 2**30:g} GiB is the most"
            )
        pixels = np.concatenate([_bands_first(page) for page in pages])
        if first.photometric == _WHITE_IS_0:
            if pixels.dtype.kind != "u":
                raise ValueError("0 is white in it, and it has signed or floating-point numbers")
            pixels = np.array(2**first.bitspersample - 1, pixels.dtype) - pixels
        elif first.photometric not in (_BLACK_IS_0, _RGB):
            raise ValueError(f"its colours are {PHOTOMETRIC(first.photometric).name} of {first.bitspersample} bits")
        return _as_float(_upright(pixels, _orientation(first)), first.bitspersample)


def _pages(tiff: Any) -> "list[TiffPage]":
    """Return the pages of a TIFF file without smaller copies and masks of them."""
    pages = [tiff.pages[number].aspage() for number in range(len(tiff.pages))]
    own = [page for page in pages if not page.subfiletype & REDUCED_OR_MASK]
    if not own or own[0].dtype is None or own[0].imagedepth > 1:
        raise ValueError("it holds no picture")
    return own


def _layout_of(page: "TiffPage", pages: int) -> Layout:
    """Return the layout of a TIFF file by its first page."""
    alpha = sum(extra in _ALPHA for extra in page.extrasamples)
    alpha = 1 if alpha == 1 and page.extrasamples[-1] in _ALPHA else 0
    bands = page.samplesperpixel
    height, width = page.imagelength, page.imagewidth
    is_byte = np.dtype(page.dtype) in (np.uint8, np.bool_)
    has_other_colours = page.photometric not in (_BLACK_IS_0, _WHITE_IS_0, _RGB)  # a palette, YCbCr, CMYK
    is_plain = is_byte and pages == 1 and (has_other_colours or bands - alpha in (1, 3))
    bands = pages if pages > 1 else bands
    size = (width, height) if _orientation(page) > 4 else (height, width)
    return Layout(size, bands, bands - alpha, not is_plain)


def _orientation(page: "TiffPage") -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def _bands_first(page: "TiffPage") -> NDArray[Any]:
    pixels = page.asarray()
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"its axes are {page.axes}, not rows, columns and bands")
    return pixels[None] if page.axes == "YX" else pixels if page.axes == "SYX" else pixels.transpose(2, 0, 1)


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn bands (C, H, W) as TIFF's and EXIF's orientation says."""
    if orientation > 4:
        pixels = pixels.swapaxes(1, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[:, ::rows, ::columns]


def _as_float(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    if pixels.dtype == np.uint8 and bits == 8:
        return pixels
    if pixels.dtype.kind == "c":
        raise ValueError("its numbers are complex")
    result = pixels.astype(np.float32)
    if pixels.dtype.kind == "u":
        return result / np.float32(2**bits - 1)
    if not np.isfinite(result).all():
        raise ValueError(f"{(~np.isfinite(result)).sum()} of its numbers are not finite (no data?)")
    return result


def choose_bands(pixels: NDArray[Any], colours: int, bands: Sequence[int]) -> NDArray[Any] | None:
    """Return these bands of an image (C, H, W), or None where it lacks some; a grey image counts as one of three equal bands.

    Without bands alpha is left out, and grey of 8 bits becomes RGB.
    """
    if not bands:
        without_alpha = pixels[:colours]
        return without_alpha.repeat(3, 0) if colours == 1 and pixels.dtype == np.uint8 else without_alpha
    if max(bands) < len(pixels):
        return pixels[list(bands)]
    return pixels[[0] * len(bands)] if colours == 1 and max(bands) < 3 else None
