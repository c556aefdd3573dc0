"""Photographs through files: what isn't pixels stays byte for byte, what can't be kept is refused in one sentence."""

import struct
import zlib

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin

from ddpm_utils.data.images import read_rgb
from ddpm_utils.errors import InputError
from ddpm_utils.restoration.file_formats import read_deep_png
from ddpm_utils.restoration.photos import ENDINGS, layer_of, read_allowed, read_mask, read_photograph, side_by_side, write_photograph

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><keep me/></x:xmpmeta>'


def exif(orientation=1):
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "A camera", orientation
    tags.get_ifd(0x8769).update({0x9003: "2026:11:21 10:00:00", 0x927C: b"the maker's own notes\x00\xff"})
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 0.5)})
    return tags


def scene(channels=3, dtype=np.uint8):
    """96 x 120 pixels of a photograph, alpha as the 2nd or 4th channel; 16 bits have lower bytes of their own."""
    image = skimage.data.coffee()[100:196, 200:320]
    rng = np.random.default_rng(0)
    array = np.concatenate([image, rng.integers(0, 256, (96, 120, 1), np.uint8)], 2)[
        ..., {1: [1], 2: [1, 3], 3: [0, 1, 2]}.get(channels, slice(4))
    ]
    if dtype == np.uint16:
        array = (array.astype(np.uint16) << 8) | rng.integers(0, 256, array.shape, np.uint16)
    return array


def darkened(pixels):
    """The pixels with a rectangle changed."""
    changed = pixels.copy()
    changed[20:50, 30:70] //= 2
    return changed


def rewritten(path):
    """Read a photo, change a rectangle, write it beside; returns the photo, the new pixels, the new path."""
    photo = read_photograph(path)
    pixels, out = darkened(photo.pixels), path.with_stem("out")
    write_photograph(photo, pixels, out)
    return photo, pixels, out


# --- PNG ---


def chunks(path):
    data, at, found = path.read_bytes(), 8, []
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(data[at + 4 : at + 8 + length])
        found.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def filtered_png(path, array, more=()):
    """Write 16-bit colour as the standard (chapter 9) says, by plain loops, each row with the next of its five filters."""
    height, width, channels = array.shape
    step = 2 * channels
    rows = [b"\0" * width * step, *(row.astype(">u2").tobytes() for row in array)]
    data = b""
    for y in range(1, height + 1):
        kind, row, above = y % 5, rows[y], rows[y - 1]
        data += bytes([kind])
        for i in range(len(row)):
            a, b, c = row[i - step] if i >= step else 0, above[i], above[i - step] if i >= step else 0
            paeth = min((a, b, c), key=lambda v, p=a + b - c: abs(p - v))
            data += bytes([(row[i] - (0, a, b, (a + b) // 2, paeth)[kind]) % 256])
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_every_chunk_and_every_other_pixel(tmp_path, channels):
    path, array = tmp_path / "photo.png", scene(channels)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    Image.fromarray(array[..., 0] if channels == 1 else array).save(path, exif=exif(), icc_profile=ICC, dpi=(300, 300), pnginfo=text)
    photo, pixels, out = rewritten(path)
    colours = 1 if channels < 3 else 3
    assert photo.pixels.shape == (96, 120, colours)
    assert np.array_equal(photo.pixels, array[..., :colours])
    again = np.asarray(Image.open(out)).reshape(array.shape)
    assert np.array_equal(again[..., :colours], pixels)
    assert np.array_equal(again[..., colours:], array[..., colours:]), "transparency, bit by bit"
    assert [c for c in chunks(out) if c[0] != b"IDAT"] == [c for c in chunks(path) if c[0] != b"IDAT"]


def test_a_png_of_many_pixel_chunks_is_whole(tmp_path):
    path, array = tmp_path / "large.png", np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(array).save(path)
    _, pixels, out = rewritten(path)
    assert [name for name, _ in chunks(path)].count(b"IDAT") > 1
    assert np.array_equal(np.asarray(Image.open(out)), pixels)


def test_what_lies_behind_a_png_is_no_part_of_it(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(scene()).save(path)
    path.write_bytes(path.read_bytes() + b"a longer file's end")
    _, pixels, out = rewritten(path)
    assert np.array_equal(np.asarray(Image.open(out)), pixels)
    assert chunks(out)[-1] == (b"IEND", b"")


@pytest.mark.parametrize("channels", [3, 4])
def test_png_of_16_bit_colour_keeps_all_16(tmp_path, channels):
    path, array = tmp_path / "deep.png", scene(channels, np.uint16)[:60, :80]
    filtered_png(path, array, more=[(b"iTXt", b"Comment\0\0\0\0\0kept"), (b"pHYs", struct.pack(">IIB", 3000, 3000, 1))])
    photo, pixels, out = rewritten(path)
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, array[..., :3])
    again = read_photograph(out)  # held against plain loops above
    assert np.array_equal(again.pixels, pixels)
    assert np.array_equal(again.alpha, array[..., 3:])
    assert np.abs(np.asarray(Image.open(out)).astype(int)[..., :3] - (pixels >> 8)).max() == 0, "Pillow sees the same high bytes"
    assert [c for c in chunks(out) if c[0] != b"IDAT"] == [c for c in chunks(path) if c[0] != b"IDAT"]


def test_png_of_16_bit_grey_keeps_all_16(tmp_path):
    path, array = tmp_path / "deep.png", scene(1, np.uint16)
    Image.fromarray(array[..., 0]).save(path, icc_profile=ICC)
    photo, pixels, out = rewritten(path)
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, array)
    assert np.array_equal(np.asarray(Image.open(out)), pixels[..., 0])
    assert chunks(out)[0] == chunks(path)[0]


# --- JPEG ---


@pytest.mark.parametrize(("mode", "sampling"), [("RGB", 0), ("RGB", 1), ("RGB", 2), ("L", -1)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_keeps_segments_tables_and_subsampling(tmp_path, mode, sampling, progressive):
    path = tmp_path / "photo.jpg"
    options = {"exif": exif(6), "icc_profile": ICC, "xmp": XMP, "comment": b"by me", "dpi": (300, 300), "progressive": progressive}
    Image.fromarray(scene()).convert(mode).save(path, quality=88, subsampling=sampling, **options)
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x00"  # a segment that Pillow wouldn't write
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc + data[2:])
    photo, pixels, out = rewritten(path)
    with Image.open(path) as before, Image.open(out) as after:
        assert after.applist == before.applist
        assert {name for name, _ in after.applist} == {"APP0", "APP1", "APP2", "APP13", "COM"}
        assert after.quantization == before.quantization
        assert after.mode == mode
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
        assert ("progressive" in after.info) == progressive
    again = read_photograph(out)
    assert again.pixels.shape == photo.pixels.shape == (120, 96, 3 if mode == "RGB" else 1), "upright"
    apart = np.abs(again.pixels.astype(int) - pixels)
    assert apart.mean() < 1.5, "the same tables lose little twice"
    assert (apart[66:] == 0).mean() > (0.75 if sampling == 1 else 0.94), "and beyond the rectangle's blocks next to nothing"


@pytest.mark.parametrize("quality", [75, 92])
@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize(("height", "width"), [(400, 600), (399, 599), (513, 401)])
def test_jpeg_pixels_that_were_not_touched_stay_where_plain_compression_moves_them(tmp_path, height, width, sampling, quality):
    path = tmp_path / "photo.jpg"
    Image.fromarray(skimage.data.astronaut()).resize((width, height)).save(path, quality=quality, subsampling=sampling)
    photo, pixels, out = rewritten(path)
    with Image.open(path) as source:
        Image.fromarray(pixels).save(tmp_path / "plain.jpg", qtables=source.quantization, subsampling=sampling)
    beyond = np.ones((height, width), bool)
    beyond[:66, :86] = False  # the rectangle and the blocks that it touches
    ours, plain = (read_photograph(p).pixels.astype(int) - photo.pixels for p in (out, tmp_path / "plain.jpg"))
    assert (ours[beyond] == 0).all(1).mean() > 0.975
    assert (ours[beyond] == 0).all(1).mean() > (plain[beyond] == 0).all(1).mean()
    changed = ours[22:48, 32:68] - (pixels.astype(int) - photo.pixels)[22:48, 32:68]
    assert np.abs(changed).mean() < 4, "and what was touched is there"


def test_a_new_colour_reaches_the_last_row_and_column_of_an_odd_jpeg(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (33, 49), (100, 100, 100)).save(path, quality=95, subsampling=2)
    photo = read_photograph(path)
    write_photograph(photo, np.broadcast_to(np.uint8([160, 100, 70]), photo.pixels.shape), tmp_path / "out.jpg")
    assert np.abs(read_photograph(tmp_path / "out.jpg").pixels - np.float64([160, 100, 70])).max() <= 3


def test_jpeg_coded_as_rgb_keeps_its_colours(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(scene()).save(path, quality=95, keep_rgb=True)
    _, pixels, out = rewritten(path)
    assert np.abs(np.asarray(Image.open(out)).astype(int) - pixels).mean() < 3


def test_the_first_image_of_a_phones_double_jpeg_is_kept_and_the_rest_told(tmp_path):
    path = tmp_path / "phone.jpg"
    gain = Image.fromarray(scene()).reduce(4)
    Image.fromarray(scene()).save(path, "MPO", save_all=True, append_images=[gain], exif=exif(), quality=95, subsampling=0)
    photo, pixels, out = rewritten(path)
    assert "isn't kept" in photo.note
    with Image.open(out) as after:
        assert after.format == "JPEG", "no index that points at images that aren't there"
        assert after.info["exif"] == Image.open(path).info["exif"]
        assert np.abs(np.asarray(after).astype(int) - pixels).mean() < 2


def test_a_film_behind_a_jpeg_is_told_and_zeros_are_not(tmp_path):
    path = tmp_path / "phone.jpg"
    Image.fromarray(scene()).save(path, exif=exif())
    assert not read_photograph(path).note
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100))
    assert not read_photograph(path).note
    path.write_bytes(whole + b"\0\0\0\x18ftypmp42")
    assert "isn't kept" in read_photograph(path).note


# --- TIFF, WebP, BMP ---


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_differs_from_its_source_in_the_changed_pixels_alone(tmp_path, channels, dtype, byteorder):
    path, array = tmp_path / "scan.tif", scene(channels, dtype)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tags = [(274, "H", 1, 3, True), (34675, "B", len(ICC), ICC, True), (700, "B", len(XMP), XMP, True)]
    shape = array[..., 0] if channels == 1 else array
    kind = "minisblack" if channels == 1 else "rgb"
    tifffile.imwrite(path, shape, photometric=kind, byteorder=byteorder, rowsperstrip=32, resolution=(300, 300), extratags=tags, **extra)
    photo, pixels, out = rewritten(path)
    assert photo.orientation == 3
    assert photo.pixels.dtype == dtype
    assert np.array_equal(photo.pixels, array[::-1, ::-1, : min(channels, 3)]), "upside down, as the tag says"
    again = tifffile.imread(out).reshape(array.shape)
    assert np.array_equal(again[::-1, ::-1, : min(channels, 3)], pixels)
    assert np.array_equal(again[..., 3:], array[..., 3:])
    old, new = (np.frombuffer(p.read_bytes(), np.uint8) for p in (path, out))
    assert len(old) == len(new)
    assert (old != new).sum() <= (pixels != photo.pixels).sum() * dtype().itemsize


@pytest.mark.parametrize("channels", [3, 4])
def test_webp_is_written_losslessly_with_its_metadata(tmp_path, channels):
    path = tmp_path / "photo.webp"
    Image.fromarray(scene(channels)).save(path, quality=80, exif=exif(), icc_profile=ICC, xmp=XMP)
    photo, pixels, out = rewritten(path)
    with Image.open(out) as after, Image.open(path) as before:
        assert np.array_equal(np.asarray(after)[..., :3], pixels)
        assert np.array_equal(np.asarray(after)[..., 3:], photo.alpha)
        assert all(after.info[name] == before.info[name] for name in ("exif", "icc_profile", "xmp"))


@pytest.mark.parametrize("channels", [1, 3])
def test_bmp_stays_bmp(tmp_path, channels):
    path, array = tmp_path / "photo.bmp", scene(channels)
    Image.fromarray(array[..., 0] if channels == 1 else array).save(path, dpi=(200, 200))
    _, pixels, out = rewritten(path)
    with Image.open(out) as after:
        assert after.format == "BMP"
        assert np.array_equal(np.asarray(after).reshape(pixels.shape), pixels)
        assert after.info["dpi"] == pytest.approx((200, 200), abs=0.01)


# --- every kind ---


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_a_photo_without_changes_is_copied_byte_for_byte(tmp_path, ending):
    path = tmp_path / f"photo{ending}"
    Image.fromarray(scene()).save(path)
    photo = read_photograph(path)
    write_photograph(photo, photo.pixels.copy(), tmp_path / "new" / "folder" / path.name)
    assert (tmp_path / "new" / "folder" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 77])
@pytest.mark.parametrize("ending", [".png", ".webp"])
def test_photos_stand_upright_and_are_turned_only_once(tmp_path, orientation, ending):
    path = tmp_path / f"photo{ending}"
    Image.fromarray(scene()).save(path, exif=exif(orientation), lossless=True)
    photo, pixels, out = rewritten(path)
    assert np.array_equal(photo.pixels, read_rgb(path)), "which Pillow turned"
    assert np.array_equal(read_rgb(out), pixels)
    with Image.open(out) as after:
        assert after.size == (120, 96), "as it lay in the file"
        assert after.getexif()[0x0112] == orientation


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.fromarray(scene()).save(path)
    photo = read_photograph(path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_photograph(photo, darkened(photo.pixels), tmp_path / "out.png")
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["photo.png"]


# --- bad input: one sentence each ---


def saved(path, mode="RGB", **options):
    Image.fromarray(scene()).convert(mode).save(path, **options)


def cut(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def truncated(path, **options):
    saved(path, **options)
    cut(path)


def several(path):
    frames = [Image.fromarray(scene()), Image.fromarray(scene()[::-1])]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def with_one_transparent_colour(path):
    saved(path, transparency=(0, 0, 0))


def enormous(path):
    """The header of an image of 20,000 x 20,000 pixels, and one row."""
    chunk = lambda n, d: struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d))  # noqa: E731
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(60001))) + chunk(b"IEND", b""))


def deep_grey_with_alpha(path):
    filtered_png(path, np.zeros((20, 20, 4), np.uint16))
    data = bytearray(path.read_bytes())
    data[25] = 4  # colour type; read before any pixel is
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


BAD = {
    "missing.jpg": (lambda path: None, "there is no photograph"),
    "empty.jpg": (lambda path: path.write_bytes(b""), "is empty, it has 0 bytes"),
    "words.jpg": (lambda path: path.write_text("no image"), "is damaged or no image"),
    "half.jpg": (truncated, "is damaged or no image .*truncated"),
    "half.png": (truncated, "is damaged or no image"),
    "half.webp": (truncated, "is damaged or no image"),
    "half.bmp": (truncated, "is damaged or no image"),
    "half.tif": (truncated, "is damaged or no image|unusual kind"),
    "print.jpg": (lambda path: saved(path, "CMYK"), "is CMYK, made for print; convert it to RGB"),
    "print.tif": (lambda path: saved(path, "CMYK"), "is CMYK"),
    "palette.png": (lambda path: saved(path, "P"), "palette of at most 256 colours"),
    "bits.png": (lambda path: saved(path, "1"), "pixels of mode '1'"),
    "grey4.png": (lambda path: saved(path, "L", bits=4), "is grey of 4 bits|pixels of mode"),
    "transparent.png": (with_one_transparent_colour, "marks one colour as transparent"),
    "deep-la.png": (deep_grey_with_alpha, "is grey of 16 bits with alpha"),
    "lzw.tif": (lambda path: saved(path, compression="tiff_lzw"), "TIFF with LZW compression; save it without"),
    "float.tif": (lambda path: saved(path, "F"), "TIFF of an unusual kind"),
    "pages.tif": (several, "holds 2 images"),
    "moving.webp": (several, "holds 2 images"),
    "moving.png": (several, "holds 2 images"),
    "gif.png": (lambda path: saved(path, "P", format="GIF"), "holds a GIF image"),
    "photo.gif": (lambda path: saved(path, "P"), "no photograph that can be retouched; they end in"),
    "phone.heic": (lambda path: path.write_bytes(b"x"), "convert it to JPEG first"),
    "enormous.png": (enormous, "larger than 178 megapixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_kept_is_refused_in_one_sentence(tmp_path, name):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read_photograph(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


# --- masks and sheets ---


def test_masks_are_white_where_retouching_is_allowed(tmp_path):
    grey = np.zeros((48, 60), np.uint8)
    grey[:, 30:] = 255
    Image.fromarray(grey).save(tmp_path / "grey.png")
    painted = np.dstack([np.full((48, 60, 3), 255, np.uint8), grey])  # white paint on a transparent layer
    Image.fromarray(painted).save(tmp_path / "layer.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("grey.png", "layer.png", "deep.png"):
        mask = read_mask(tmp_path / name, 96, 120)
        assert mask.shape == (96, 120)
        assert mask.dtype == np.float32
        assert (mask[:, :58] == 0).all()
        assert (mask[:, 62:] == 1).all()


def test_retouching_is_allowed_where_one_mask_is_white_and_the_other_is_not(tmp_path):
    left, top = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    left[:, :3], top[:2] = 255, 255
    for name, mask in (("left.png", left), ("top.png", top)):
        Image.fromarray(mask).save(tmp_path / name)
    both = read_allowed(tmp_path / "left.png", tmp_path / "top.png", 4, 6)
    assert np.array_equal(both > 0, (left > 0) & (top == 0))
    assert np.array_equal(read_allowed(None, tmp_path / "top.png", 4, 6) > 0, top == 0)
    assert read_allowed(None, None, 4, 6) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_layer_in_linear_light_over_the_photograph_is_the_result(tmp_path, channels, dtype):
    before = scene(channels, dtype)
    after = before.copy()
    after[:5] = after[:5] // 2
    (tmp_path / "layer.png").write_bytes(layer_of(before, after))
    layer = read_deep_png(tmp_path / "layer.png").astype(np.int64)
    brightest = np.iinfo(dtype).max
    mixed = before.astype(np.int64) * (65535 // brightest) + 2 * layer[..., :3] - 65536
    assert np.abs(mixed / (65535 // brightest) - after).max() <= (0.01 if dtype == np.uint8 else 1), "half of an odd number is rounded"
    assert np.array_equal(layer[..., 3] > 0, (before != after).any(2))


def test_masks_of_other_proportions_are_refused_and_a_rounded_pixel_is_not(tmp_path):
    Image.new("L", (60, 47)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", 1000, 1271).shape == (1000, 1271)
    with pytest.raises(InputError, match="is 60x47, its photograph 120x98"):
        read_mask(tmp_path / "mask.png", 98, 120)
    (tmp_path / "words.png").write_text("no image")
    with pytest.raises(InputError, match=r"the mask .* can't be read"):
        read_mask(tmp_path / "words.png", 96, 120)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(100, 130), (1000, 700), (200, 3000)])
def test_a_sheet_is_red_where_pixels_changed_and_of_bounded_size(dtype, height, width):
    before = np.full((height, width, 3), np.iinfo(dtype).max // 2, dtype)
    after = before.copy()
    after[: height // 2] -= np.iinfo(dtype).max // 8
    sheet = side_by_side(before, after)
    assert sheet.width <= 3 * 1280 + 16
    assert sheet.height <= 660
    w, h = (sheet.width - 16) // 3, sheet.height - 20
    pixels = np.asarray(sheet)
    assert pixels[20 + h // 4, 2 * w + 16 + w // 2].tolist() == [255, 0, 0]
    assert pixels[20 + 3 * h // 4, 2 * w + 16 + w // 2].tolist() == [127, 127, 127]
    assert pixels[20 + h // 4, w // 2].tolist() == [127, 127, 127]
    assert pixels[20 + h // 4, w + 8 + w // 2].tolist() == [96] * 3
