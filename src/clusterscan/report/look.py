"""The style of all figures, and figures as files or pictures with reproducible bytes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clusterscan.core.atomic import atomic_path
from clusterscan.report.document import Picture

#: Okabe & Ito's colours, which people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "D", "^", "v", "P")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
INK, GREY, PALE = "#1d2733", "#7b8794", "#e4e8ed"
FILTER_COLOUR = "#4d4d4d"  # of the plain filters, beside the networks' colours
SHADES = "Blues"  # of confusion matrices: darker is more, in print too
MAP_COLOURS = "cividis"
DPI = 150

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "errorbar.capsize": 2.5,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "clusterscan",  # identifiers in the SVG are random otherwise
}
#: By default matplotlib writes its version and the date, which would change the bytes.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def style():
    """Return the matplotlib context for drawing and saving all figures."""
    return mpl.rc_context(STYLE)


def new_figure(width: float = 4.6, height: float = 3.4) -> Figure:
    """Return an empty figure [inches] that pyplot does not keep."""
    # Without pyplot: no global list of figures that would keep them in memory, and no window
    # system.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF by the path's suffix, atomically."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=METADATA.get(kind))
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def svg_picture(figure: Figure, alt: str, caption: str = "", *, wide: bool = False) -> Picture:
    """Return a figure of lines as SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    return Picture(_data_uri("svg+xml", buffer.getvalue()), alt, caption, wide)


def png_picture(
    figure: Figure, alt: str, caption: str = "", *, dpi: int = 110, wide: bool = False
) -> Picture:
    """Return a figure that holds images as PNG with 256 colours, a third of the size."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata=METADATA["png"])
    # Dithering would turn flat areas into noise, which PNG compresses badly.
    image = Image.open(buffer).convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE)
    return Picture(_png_uri(image), alt, caption, wide)


def array_picture(rgb: np.ndarray, alt: str, caption: str = "") -> Picture:
    """Return an image (ny, nx, 3) of bytes, first row on top, as PNG with 64 colours."""
    from PIL import Image

    image = Image.fromarray(rgb, "RGB").quantize(64, dither=Image.Dither.NONE)
    return Picture(_png_uri(image), alt, caption)


def file_picture(
    path: Path, alt: str, caption: str = "", *, colours: int = 128, wide: bool = False
) -> Picture:
    """Return an image file as PNG with few colours."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(colours, kmeans=1, dither=Image.Dither.NONE)
    return Picture(_png_uri(small), alt, caption, wide)


def _png_uri(image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _data_uri("png", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def log_x_axis(axes: Axes) -> None:
    """Make the x axis logarithmic with plain numbers at 1, 2, 5, 10 ..."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


# Width of a legend's mark with the space around it, and of a letter at its font size [inch].
_HANDLE_IN, _LETTER_IN = 0.6, 0.075


def legend_below(figure: Figure, *axes: Axes, columns: int = 2) -> None:
    """Put one legend of all axes below them, in at most ``columns`` columns, fewer if too wide."""
    found: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            # Panels share labels: the first handle of each is enough.
            found.setdefault(label, handle)
    if found:
        fitting = int(figure.get_figwidth() / (_HANDLE_IN + _LETTER_IN * max(map(len, found))))
        columns = max(1, min(columns, fitting))
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)


def nothing_to_show(axes: Axes, text: str) -> None:
    """Write the reason on an empty plot."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
