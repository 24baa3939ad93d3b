"""Images made smaller before they are sent; needs the extra `batchlab[images]` (Pillow)."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any, BinaryIO

from batchlab.errors import UsageError
from batchlab.inputs.templates import RowFault

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
JPEG_QUALITY = 90
_ORIENTATION = 0x0112  # EXIF 2.3, table 4; what makes an image of each value upright
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# What decoders raise for damaged or hostile files; a bomb is a warning, too, which is made an error here.
_UNDECODABLE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
)


class Downscaler:
    """Brings images down to `max_side` pixels; one that is not larger is left as it is, byte for byte.

    A JPEG stays one (quality 90); all else becomes PNG, an animation its first frame. EXIF
    orientation is applied and metadata dropped. The same image gives the same bytes with the
    same version of Pillow.

    Raises:
        UsageError: Pillow is not installed.
    """

    def __init__(self, max_side: int) -> None:
        try:
            from PIL import Image
        except ImportError:
            raise UsageError(
                "{request.image_max_side} needs one more package: pip install 'batchlab[images]'."
            ) from None
        self.max_side = max_side
        self._image: Any = Image

    def check(self, file: BinaryIO) -> None:
        """Reads an image's header. Raises RowFault when it is none or has too many pixels to decode."""
        self._guarded(lambda: self._image.open(file, formats=_FORMATS).close())

    def smaller(self, data: bytes, media_type: str) -> tuple[bytes, str]:
        """The image and its media type, no side longer than `max_side`. Raises RowFault."""
        result: tuple[bytes, str] = self._guarded(lambda: self._smaller(data, media_type))
        return result

    def _guarded(self, work: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", self._image.DecompressionBombWarning)
            try:
                return work()
            except (self._image.DecompressionBombError, self._image.DecompressionBombWarning):
                most = self._image.MAX_IMAGE_PIXELS
                raise RowFault(f"has more than {most:,} pixels, too many to be scaled down") from None
            except _UNDECODABLE as error:
                raise RowFault(f"cannot be decoded: {_reason(error)}") from None

    def _smaller(self, data: bytes, media_type: str) -> tuple[bytes, str]:
        with self._image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if max(image.size) <= self.max_side:
                return data, media_type
            turn = _TURNS.get(image.getexif().get(_ORIENTATION))
            small = image
            if image.mode not in {"L", "RGB", "RGBA", "CMYK"}:  # a palette cannot be interpolated
                has_alpha = "transparency" in image.info or image.mode in {"LA", "PA", "La"}
                small = image.convert("RGBA" if has_alpha else "RGB")
            small.thumbnail((self.max_side, self.max_side))  # a JPEG is decoded at a lower resolution at once
            if turn is not None:
                small = small.transpose(self._image.Transpose[turn])
            small.info.clear()
            out = io.BytesIO()
            if media_type == "image/jpeg":
                small.convert("RGB").save(out, "JPEG", quality=JPEG_QUALITY)
                return out.getvalue(), media_type
            (small.convert("RGB") if small.mode == "CMYK" else small).save(out, "PNG")
            return out.getvalue(), "image/png"


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    text = (str(error).splitlines() or [""])[0]
    return "it is no image" if not text or "cannot identify" in text else text[:200]
