"""Settings of a network: its architecture, its strides, and the crop that it sees."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from clusterscan.config.base import Settings

Form = Literal["dense", "whole"]

RESNETS = ("resnet18", "resnet34", "resnet50")
"""Residual networks whose dense form can have a finer stem and fewer stages."""

DENSE_NAMES = ("baseline", *RESNETS, "efficientnet_b0", "densenet121", "mobilenet", "mobilenetv3")
"""Networks whose default form is dense."""

HEAD_CELLS = {"cnn_mlp": 4, "vgg16": 7, "spinalnet_vgg": 7}
"""Networks whose dense form keeps the published head of several layers, and the number of window
means along a side that this head reads. Their default form is whole."""

SMALLEST_PX = {
    "baseline": 16,
    "resnet18": 32,
    "resnet34": 32,
    "resnet50": 32,
    "efficientnet_b0": 32,
    "densenet121": 32,
    "mobilenet": 32,
    "mobilenetv3": 32,
    "vgg16": 32,
    "inception_v3": 75,
    "spinalnet_resnet": 32,
    "spinalnet_vgg": 32,
    "spinalnet_efficientnet": 32,
    "spinalnet_densenet": 32,
    "alexnet_vgg": 63,
    "cnn_mlp": 16,
    "custom_net": 16,
    "vit_tiny": 16,
    "vit_base": 16,
    "vit_large_patch16_224": 16,
}
"""Every named network, with the smallest crop [px] that its whole form accepts."""

_PATCH_PX = 16
OWN_BODIES = ("baseline", "cnn_mlp", "custom_net")
"""Networks without published weights."""


class NetworkSettings(Settings):
    """One network, in one of two forms.

    Dense: a crop of ``size_px`` is a window of ``window_px`` with its surroundings; features are
    pooled over the window and one linear layer makes the logit, so that whole tiles are scanned at
    once. Whole: the published architecture as it stands; the window is the crop, and a scan takes
    one crop after the other.
    """

    name: str = Field(
        "baseline",
        description=f"Architecture: {', '.join(sorted(SMALLEST_PX))}, `timm/NAME` for any network "
        "of timm, or `spinalnet/NAME` for one with a SpinalNet head.",
    )
    form: Form | None = Field(
        None,
        description=f"`dense` or `whole`; null: dense for {', '.join(DENSE_NAMES)} and timm/NAME "
        "with one class, whole for all others.",
    )
    classes: int = Field(
        1,
        ge=1,
        le=1000,
        description="1: one logit, for the second of two classes; K: a softmax over K classes "
        "(whole form only).",
    )
    stem_stride: Literal[1, 2, 4] = Field(
        4,
        description="Stride of the stem of a dense residual network [px]: 4 as published, 2 "
        "without the stride of its convolution, 1 without its pooling as well. Other "
        "networks ignore it.",
    )
    output_stride: Literal[2, 4, 8, 16, 32] = Field(
        16,
        description="Distance between two cells of the feature map [px]. Whole networks ignore it.",
    )
    stages: Literal[2, 3, 4] = Field(
        4,
        description="Number of stages of a dense residual network: 4 as published. The last stage "
        "sees furthest and takes half of the time. Other networks ignore it.",
    )
    size_px: int = Field(
        80, ge=8, le=1024, description="Side of a crop: the window and its surroundings [px]."
    )
    window_px: int = Field(
        48,
        ge=2,
        le=1024,
        description="Side of the central part of the crop whose features are pooled [px]. For a "
        "whole network it is the crop and may be left out.",
    )
    dropout: float | None = Field(
        None,
        ge=0.0,
        lt=1.0,
        description="Dropout before the last layer, or in all layers of a head of several layers; "
        "null: as published, and 0.2 for dense networks.",
    )
    pretrained: bool | str = Field(
        False,
        description="Start from published weights (true: timm downloads them; those of "
        "tf_efficientnet_lite0 are installed as a package) or from a local "
        ".safetensors file (its path, which may begin with ${CLUSTERSCAN_DATA}) "
        "instead of random numbers. The last layers are always new.",
    )

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        if name not in SMALLEST_PX and not re.fullmatch(r"(timm|spinalnet)/[A-Za-z0-9_.]+", name):
            raise ValueError(
                f"network {name!r} is unknown; give one of {', '.join(sorted(SMALLEST_PX))}, "
                "timm/<name> such as timm/convnext_tiny, or spinalnet/<name> of timm"
            )
        return name

    # The default window depends on the form: a whole network pools its whole crop.
    @model_validator(mode="before")
    @classmethod
    def _whole_networks_pool_all(cls, data: Any) -> Any:
        if isinstance(data, dict) and "window_px" not in data:
            name, classes = data.get("name", "baseline"), data.get("classes", 1)
            if _form(data.get("form"), name, classes) == "whole":
                return {
                    **data,
                    "window_px": data.get("size_px", cls.model_fields["size_px"].default),
                }
        return data

    @model_validator(mode="after")
    def _form_fits(self) -> NetworkSettings:
        if self.pretrained is True and self.name in (*OWN_BODIES, "alexnet_vgg"):
            raise ValueError(
                f"there are no pretrained weights of {self.name} to fetch; set pretrained: false "
                "or give the path of a .safetensors file"
            )
        if self.is_dense:
            self._check_dense()
        else:
            self._check_whole()
        return self

    # The dense scan shares the features of neighbouring crops. It needs one logit per position, a
    # stride that the architecture can have, and a window of whole cells in the middle of the crop.
    def _check_dense(self) -> None:
        if self.name not in (*DENSE_NAMES, *HEAD_CELLS) and not self.name.startswith("timm/"):
            raise ValueError(
                f"{self.name} has no dense form; set form: whole, or take one of "
                f"{', '.join((*DENSE_NAMES, *HEAD_CELLS))}"
            )
        if self.classes != 1:
            raise ValueError(
                f"a dense network has one logit (classes: 1), not classes = {self.classes}; "
                "set form: whole for several classes"
            )
        _check_window(self.output_stride, self.size_px, self.window_px)
        if self.name in RESNETS and self.output_stride not in (
            allowed := resnet_strides(self.stem_stride, self.stages)
        ):
            raise ValueError(
                f"{self.name} with stem_stride = {self.stem_stride} and stages = {self.stages} can "
                f"have output_stride {', '.join(map(str, allowed))}, not {self.output_stride}"
            )
        if self.name in ("baseline", "cnn_mlp") and self.output_stride > 16:
            raise ValueError(f"{self.name} has output_stride 2, 4, 8 or 16")
        if self.name in ("vgg16", "spinalnet_vgg") and self.output_stride not in (16, 32):
            raise ValueError(f"{self.name} has output_stride 16 or 32")
        if (rest := self.window_cells % (h := HEAD_CELLS.get(self.name, 1))) != 0:
            S, lower = self.output_stride, max(self.window_cells - rest, h)
            raise ValueError(
                f"the head of {self.name} reads {h} x {h} means of the window, which has "
                f"window_px / output_stride = {self.window_cells} cells a side; give window_px = "
                f"{lower * S} or {(lower + h) * S}"
            )

    def _check_whole(self) -> None:
        if self.window_px != self.size_px:
            raise ValueError(
                f"window_px = {self.window_px} is not size_px = {self.size_px}, but {self.name} in "
                "whole form pools its whole crop; leave window_px out"
            )
        smallest = SMALLEST_PX.get(self.name, 8)
        if self.size_px < smallest:
            raise ValueError(
                f"{self.name} cannot take crops below {smallest} px, size_px is {self.size_px}; "
                "give larger crops or another network"
            )
        if self.name.startswith("vit_") and self.size_px % _PATCH_PX:
            lower = self.size_px // _PATCH_PX * _PATCH_PX
            raise ValueError(
                f"{self.name} cuts crops into patches of {_PATCH_PX} px, which do not fill "
                f"size_px = {self.size_px}; give {lower} or {lower + _PATCH_PX}"
            )

    @property
    def is_dense(self) -> bool:
        """True if the features of a whole tile are computed at once and pooled over windows."""
        return _form(self.form, self.name, self.classes) == "dense"

    @property
    def cells(self) -> int:
        """Number of feature-map cells along one side of a crop (dense networks)."""
        return self.size_px // self.output_stride

    @property
    def window_cells(self) -> int:
        """Number of feature-map cells along one side of the pooled window (dense networks)."""
        return self.window_px // self.output_stride


class FusionSettings(Settings):
    """One network for several surveys, each seen at its own pixel scale and size."""

    branches: dict[str, NetworkSettings] = Field(
        min_length=2,
        description="A network for each survey, by the name of the survey; their last layers are "
        "not used.",
    )
    hidden: int = Field(
        128,
        ge=1,
        le=4096,
        description="Number of features that each survey contributes to the common layers.",
    )
    dropout: float = Field(0.2, ge=0.0, lt=1.0, description="Dropout before the last layer.")
    drop_survey: float = Field(
        0.25,
        ge=0.0,
        lt=1.0,
        description="Probability that the training hides a survey of an example (never the last "
        "one), so that the network works without it.",
    )
    classes: int = Field(1, ge=1, le=1000, description="1: one logit; K: a softmax over K classes.")

    # A branch only delivers features; the common layers behind all branches make the logits.
    @model_validator(mode="after")
    def _branches_have_no_classes(self) -> FusionSettings:
        for survey, branch in self.branches.items():
            if branch.classes != 1:
                raise ValueError(
                    f"branches.{survey}.classes = {branch.classes}: the classes belong to the "
                    "fusion, whose branches have no last layer; set classes beside branches"
                )
        return self


def _form(form: Any, name: Any, classes: Any) -> str:
    if form is not None:
        return str(form)
    dense = name in DENSE_NAMES or str(name).startswith("timm/")
    return "dense" if dense and classes == 1 else "whole"


def _check_window(S: int, N: int, p: int) -> None:
    for key, value in (("size_px", N), ("window_px", p)):
        if value % S:
            lower = max(value // S, 1) * S
            raise ValueError(
                f"{key} = {value} is not a multiple of output_stride = {S}; "
                f"give {lower} or {lower + S}"
            )
    if p > N:
        raise ValueError(f"window_px = {p} is larger than the crop, size_px = {N}")
    if (N - p) // S % 2:
        # An odd rest would put the pooled cells half a cell off the crop's centre.
        raise ValueError(
            f"(size_px - window_px) / output_stride = {(N - p) // S} is odd, so the window "
            f"has no place at the crop's centre; give size_px = {N + S} or "
            f"window_px = {p + S if p + S <= N else p - S}"
        )


def resnet_strides(stem_stride: int, stages: int) -> tuple[int, ...]:
    """Return the possible output strides of a residual network."""
    return tuple(stem_stride * factor for factor in (2, 4, 8)[: stages - 1])
