"""Images of other than three 8-bit channels: every number of a file reaches the network, compared with what was written."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from dcnrun.data.files import image_layout, image_size, read_image
from dcnrun.errors import DataError

RANDOM = np.random.default_rng(0)


def values(dtype, *shape):
    if dtype == "float32":
        return RANDOM.normal(0, 300, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def wanted(pixels):
    """Unsigned integers of 16 bits as 0 to 1, computed in fp64."""
    return (pixels / 65535.0).astype(np.float32) if pixels.dtype == np.uint16 else pixels.astype(np.float32)


def write_png(path, pixels):
    """PNG of 16 bits by hand; `pixels` (H, W, bands)."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, bands = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


class TestTiff:
    @pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    @pytest.mark.parametrize("bands", [2, 4, 5, 8, 13])
    def test_every_band_and_type(self, tmp_path, bands, dtype, planar, compression):
        pixels = values(dtype, bands, 5, 7)
        stored = pixels if planar == "separate" else pixels.transpose(1, 2, 0)
        tifffile.imwrite(
            tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar, compression=compression
        )
        image = read_image(tmp_path / "a.tif").numpy()
        assert image.dtype == (np.uint8 if dtype == "uint8" else np.float32)
        np.testing.assert_allclose(image, wanted(pixels), rtol=1e-6)
        layout = image_layout(tmp_path / "a.tif")
        assert (layout.size, layout.bands, layout.colours) == ((5, 7), bands, bands)

    @pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
    def test_grey_stays_one_band(self, tmp_path, dtype):
        pixels = values(dtype, 5, 7)
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        np.testing.assert_allclose(read_image(tmp_path / "a.tif").numpy(), wanted(pixels)[None], rtol=1e-6)
        widened = read_image(tmp_path / "a.tif", [0, 1, 2]).numpy()
        np.testing.assert_allclose(widened, wanted(pixels)[None].repeat(3, 0), rtol=1e-6)

    @pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "packbits"])
    def test_colours_of_16_bits(self, tmp_path, compression):
        pixels = values("uint16", 5, 7, 3)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression=compression)
        np.testing.assert_allclose(read_image(tmp_path / "a.tif").numpy(), wanted(pixels).transpose(2, 0, 1), rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_alpha_is_left_out_and_a_fourth_band_is_not(self, tmp_path, dtype):
        pixels = values(dtype, 5, 7, 4)
        for name, extra in (("alpha", "unassalpha"), ("infrared", "unspecified")):
            tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", extrasamples=[extra])
        assert read_image(tmp_path / "alpha").shape == (3, 5, 7)
        for name in ("alpha", "infrared"):
            taken = read_image(tmp_path / name, [3, 0]).numpy()
            np.testing.assert_allclose(taken, wanted(pixels).transpose(2, 0, 1)[[3, 0]], rtol=1e-6)
        assert read_image(tmp_path / "infrared").shape == (4, 5, 7)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_turned_upright(self, tmp_path, orientation):
        pixels = values("uint8", 5, 7)
        upright = {
            1: pixels,
            2: pixels[:, ::-1],
            3: pixels[::-1, ::-1],
            4: pixels[::-1],
            5: pixels.T,
            6: np.rot90(pixels, -1),
            7: pixels[::-1, ::-1].T,
            8: np.rot90(pixels),
        }[orientation]
        for dtype, scale in ((np.uint8, 1), (np.uint16, 65535)):
            tifffile.imwrite(tmp_path / "a.tif", pixels.astype(dtype), extratags=[(274, 3, 1, orientation, True)])
            np.testing.assert_allclose(
                read_image(tmp_path / "a.tif").numpy()[0], upright / np.float32(scale), rtol=1e-6
            )
            assert image_size(tmp_path / "a.tif") == upright.shape

    @pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK"])
    def test_pillows_own_files_are_turned_upright(self, tmp_path, mode):
        picture = Image.fromarray(values("uint8", 5, 7)).convert(mode)
        picture.save(tmp_path / "a.tif", exif={274: 6})
        upright = np.array(picture.transpose(Image.Transpose.ROTATE_270).convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").numpy(), upright)
        assert image_size(tmp_path / "a.tif") == (7, 5)

    def test_where_white_is_0(self, tmp_path):
        pixels = values("uint16", 5, 7)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
        np.testing.assert_allclose(read_image(tmp_path / "a.tif").numpy()[0], wanted(65535 - pixels), rtol=1e-6)

    def test_pages_are_bands_where_bands_are_asked_for(self, tmp_path):
        pixels = values("uint16", 5, 6, 7)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
        with pytest.raises(
            DataError, match=r"a.tif: can't be read \(it holds more than one picture: 5 pages; data.bands=\[0, 1"
        ):
            read_image(tmp_path / "a.tif")
        np.testing.assert_allclose(read_image(tmp_path / "a.tif", [4, 2]).numpy(), wanted(pixels[[4, 2]]), rtol=1e-6)

    def test_numbers_that_are_not_finite(self, tmp_path):
        pixels = values("float32", 5, 7)
        pixels[2, 3] = np.nan
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        with pytest.raises(DataError, match=r"a.tif: can't be read \(1 of its numbers are not finite"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("kept", [0, 4, 60, 150, 240])
    def test_damaged(self, tmp_path, kept):
        tifffile.imwrite(tmp_path / "a.tif", values("uint16", 20, 20, 5), photometric="minisblack")
        (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:kept])
        with pytest.raises(DataError, match=r"a.tif: can't be read") as raised:
            read_image(tmp_path / "a.tif")
        assert "\n" not in str(raised.value)


class TestPng:
    @pytest.mark.parametrize(("bands", "colours"), [(1, 1), (2, 1), (3, 3), (4, 3)])
    def test_all_16_bits(self, tmp_path, bands, colours):
        pixels = values("uint16", 5, 7, bands)
        write_png(tmp_path / "a.png", pixels)
        channels = wanted(pixels).transpose(2, 0, 1)
        np.testing.assert_allclose(read_image(tmp_path / "a.png").numpy(), channels[:colours], rtol=1e-6)
        every = list(range(bands))
        np.testing.assert_allclose(read_image(tmp_path / "a.png", every).numpy(), channels, rtol=1e-6)
        assert image_layout(tmp_path / "a.png")[:3] == ((5, 7), bands, colours)

    def test_alpha_of_8_bits(self, tmp_path):
        pixels = values("uint8", 5, 7, 4)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png").numpy() == pixels.transpose(2, 0, 1)[:3]).all()
        assert (read_image(tmp_path / "a.png", [0, 1, 2, 3]).numpy() == pixels.transpose(2, 0, 1)).all()

    def test_grey_of_8_bits(self, tmp_path):
        pixels = values("uint8", 5, 7)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png").numpy() == pixels).all()
        assert read_image(tmp_path / "a.png").shape == (3, 5, 7)
        assert (read_image(tmp_path / "a.png", [0]).numpy() == pixels[None]).all()

    def test_palette_with_transparency(self, tmp_path):
        indices, palette = values("uint8", 5, 7) % 4, values("uint8", 4, 3)
        picture = Image.fromarray(indices)
        picture.putpalette(palette.tobytes())
        picture.save(tmp_path / "a.png", transparency=bytes([9, 8, 7, 255]))
        colours = palette[indices].transpose(2, 0, 1)
        assert (read_image(tmp_path / "a.png").numpy() == colours).all()
        with_alpha = read_image(tmp_path / "a.png", [0, 1, 2, 3]).numpy()
        assert (with_alpha[:3] == colours).all()
        assert (with_alpha[3] == np.array([9, 8, 7, 255])[indices]).all()

    def test_bands_that_it_lacks(self, tmp_path):
        Image.fromarray(values("uint8", 5, 7, 3)).save(tmp_path / "a.png")
        with pytest.raises(
            DataError, match=r"a.png: it has 3 bands, but data.bands=\[0, 4\] takes band 4, counted from 0"
        ):
            read_image(tmp_path / "a.png", [0, 4])
