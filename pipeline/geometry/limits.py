"""What decoding an image would cost beyond its number of pixels, seen before it is decoded.

A JPEG of a few bytes can hold thousands of scans, each of which visits every pixel; a TIFF can hold such JPEGs, and
tiles far larger than the image.
"""

import re
from typing import Any

from PIL.TiffImagePlugin import STRIPBYTECOUNTS, STRIPOFFSETS, TILEBYTECOUNTS, TILELENGTH, TILEOFFSETS, TILEWIDTH

# Cameras and browsers write up to 10 scans, jpegtran and MozJPEG up to about 20.
MAX_SCANS = 100
SCANS_AT_LIMIT = 16  # of an image of the largest allowed size

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd8]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def jpeg_scans(data: bytes | memoryview) -> int:
    """Number of scans of the JPEG at the beginning of `data`."""
    scans, place = 0, 0
    while (found := _MARKER.search(data, place)) and (marker := data[found.start() + 1]) != _END_OF_IMAGE:
        scans += marker == _START_OF_SCAN
        place = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return scans


def over_limit(image: Any, data: bytes, max_pixels: int) -> str | None:
    """Why decoding the opened `image` of `data` would cost more than any image of `max_pixels` should; else None."""
    width, height = image.size
    if width * height > max_pixels:
        return f"{width} x {height} is over the limit of {max_pixels} pixels"
    scans = 0
    if image.format in ("JPEG", "MPO"):
        scans = jpeg_scans(data)
    elif image.format == "TIFF":
        tags = image.tag_v2
        tile_w, tile_h = (_whole(tags.get(tag)) for tag in (TILEWIDTH, TILELENGTH))
        if tile_w * tile_h > max_pixels:
            return f"tiles of {tile_w} x {tile_h} are over the limit of {max_pixels} pixels"
        if "jpeg" in str(image.info.get("compression")):
            parts = _parts(tags)
            if sum(size for _, size in parts) > 2 * len(data):
                return "its strips or tiles overlap"
            view = memoryview(data)
            scans = max((jpeg_scans(view[start : start + size]) for start, size in parts), default=0)
    if scans > MAX_SCANS or scans * width * height > SCANS_AT_LIMIT * max_pixels:
        most = min(MAX_SCANS, SCANS_AT_LIMIT * max_pixels // (width * height))
        return f"{scans} scans of {width} x {height} pixels are over the limit of {most} scans"
    return None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _parts(tags: Any) -> set[tuple[int, int]]:
    """Start and size in bytes of each strip or tile of a TIFF."""
    found = set()
    for offsets, counts in ((STRIPOFFSETS, STRIPBYTECOUNTS), (TILEOFFSETS, TILEBYTECOUNTS)):
        found |= set(zip(tags.get(offsets) or (), tags.get(counts) or (), strict=False))
    return found
