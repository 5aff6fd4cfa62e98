"""What the networks' names mean to timm, and the dropout they were published with."""

from __future__ import annotations

TIMM_NAMES = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "efficientnet_b0": "efficientnet_b0",
    "densenet121": "densenet121",
    "mobilenet": "mobilenetv1_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "vgg16": "vgg16",
    "inception_v3": "inception_v3",
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_large_patch16_224": "vit_large_patch16_224",
    "spinalnet_resnet": "wide_resnet101_2",
    "spinalnet_vgg": "vgg19_bn",
    "spinalnet_efficientnet": "efficientnet_b0",
    "spinalnet_densenet": "densenet121",
}
"""timm's name of each network's body."""

PUBLISHED_DROPOUT = {
    "baseline": 0.5,
    "efficientnet_b0": 0.2,
    "mobilenetv3": 0.2,
    "vgg16": 0.5,
    "inception_v3": 0.2,
    "spinalnet_vgg": 0.5,
    "alexnet_vgg": 0.5,
    "cnn_mlp": 0.5,
    "custom_net": 0.65,
}
"""Dropout before the last layer, or in a head of several layers; 0 where not listed."""

SPINAL_WIDTH = 200
"""Numbers that each of a SpinalNet head's four layers writes, where not listed."""

SPINAL_WIDTHS = {"spinalnet_vgg": 512}
"""The same of networks published with another number."""
