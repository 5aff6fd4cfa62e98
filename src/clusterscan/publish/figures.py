"""The report's look: colours, figure sizes, and figures as data URIs that are always the same."""

from __future__ import annotations

import base64
import io

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from clusterscan.publish.inputs import Picture
from clusterscan.report import look
from clusterscan.report.look import COLOURS, GREY, INK, LINES

__all__ = [
    "COLOURS", "FILTER_COLOUR", "GREY", "INK", "LINES", "MAP_COLOURS",
    "image_png", "model_colour", "new_figure", "png", "style", "svg",
]  # fmt: skip

FILTER_COLOUR = "#4d4d4d"
MAP_COLOURS = "cividis"


def style():
    """Return the context in which the report's figures are drawn."""
    return mpl.rc_context(look.COMMON_STYLE)


def new_figure(width: float = 4.6, height: float = 3.4) -> Figure:
    """Return an empty figure [inches] outside pyplot's global state."""
    return look.new_figure(width, height)


def svg(figure: Figure, alt: str, caption: str = "", *, wide: bool = False) -> Picture:
    """Return a figure of lines as SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=look.METADATA["svg"])
    return Picture(_uri("image/svg+xml", buffer.getvalue()), alt, caption, wide)


def png(
    figure: Figure, alt: str, caption: str = "", *, dpi: int = 110, wide: bool = False
) -> Picture:
    """Return a figure that holds images as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata=look.METADATA["png"])
    return Picture(_uri("image/png", _with_palette(buffer.getvalue())), alt, caption, wide)


def image_png(rgb: np.ndarray, alt: str, caption: str = "", colours: int = 64) -> Picture:
    """Return an image (ny, nx, 3) of bytes, first row on top, as a small PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(rgb, "RGB").quantize(colours, dither=Image.Dither.NONE)
    image.save(buffer, "PNG", optimize=True)
    return Picture(_uri("image/png", buffer.getvalue()), alt, caption)


def model_colour(position: int, is_filter: bool) -> tuple[str, str]:
    """Return the colour and line style of a model by its place among the survey's models."""
    if is_filter:
        return FILTER_COLOUR, LINES[1 + position % 3]
    return COLOURS[position % len(COLOURS)], "-"


def _with_palette(data: bytes) -> bytes:
    """Return a PNG with 256 colours, a third of the size."""
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
