"""Shapes of networks that see images and film, as workload names of the zoo, by network."""

from __future__ import annotations

from wmhub.measure.shapes import (
    conv3ds,
    convs,
    deconvs,
    dense,
    depthwise,
    depthwise3d,
    dilated,
    groups,
)

_RESNET_18 = [
    *[(224, 3, 64, 7, 2), (56, 64, 64, 3, 1), (56, 64, 128, 3, 2), (28, 128, 128, 3, 1)],
    *[(28, 128, 256, 3, 2), (14, 256, 256, 3, 1), (14, 256, 512, 3, 2), (7, 512, 512, 3, 1)],
]
_RESNET_18_SHORTCUTS = [(56, 64, 128, 1, 2), (28, 128, 256, 1, 2), (14, 256, 512, 1, 2)]
_RESNET_50_REDUCE = [
    *[(56, 64, 64, 1, 1), (56, 256, 64, 1, 1), (56, 256, 128, 1, 1), (28, 512, 128, 1, 1)],
    *[(28, 512, 256, 1, 1), (14, 1024, 256, 1, 1), (14, 1024, 512, 1, 1), (7, 2048, 512, 1, 1)],
    *[(56, 128, 128, 3, 2), (28, 256, 256, 3, 2), (14, 512, 512, 3, 2)],
]
_RESNET_50_EXPAND = [
    *[(56, 64, 256, 1, 1), (28, 128, 512, 1, 1), (14, 256, 1024, 1, 1), (7, 512, 2048, 1, 1)],
]
_MOBILENET_V2_EXPAND = [
    *[(112, 16, 96, 1, 1), (56, 24, 144, 1, 1), (28, 32, 192, 1, 1), (14, 64, 384, 1, 1)],
    *[(14, 96, 576, 1, 1), (7, 160, 960, 1, 1), (7, 320, 1280, 1, 1), (224, 3, 32, 3, 2)],
]
_MOBILENET_V2_PROJECT = [
    *[(112, 32, 16, 1, 1), (56, 96, 24, 1, 1), (56, 144, 24, 1, 1), (28, 144, 32, 1, 1)],
    *[(28, 192, 32, 1, 1), (14, 192, 64, 1, 1), (14, 384, 96, 1, 1), (14, 576, 96, 1, 1)],
    *[(7, 576, 160, 1, 1), (7, 960, 160, 1, 1), (7, 960, 320, 1, 1)],
]
_MOBILENET_V2_DEPTHWISE = [
    *[(112, 32, 3, 1), (112, 96, 3, 2), (56, 144, 3, 1), (56, 144, 3, 2), (28, 192, 3, 1)],
    *[(28, 192, 3, 2), (14, 384, 3, 1), (14, 576, 3, 1), (14, 576, 3, 2), (7, 960, 3, 1)],
]
_EFFICIENTNET_B0 = [
    *[(112, 96, 3, 2), (56, 144, 5, 2), (28, 240, 5, 1), (28, 240, 3, 2), (14, 480, 3, 1)],
    *[(14, 480, 5, 1), (14, 672, 5, 1), (14, 672, 5, 2), (7, 1152, 5, 1), (7, 1152, 3, 1)],
]
_DENSENET_121 = [
    *[(56, 64, 128, 1, 1), (56, 128, 32, 3, 1), (28, 256, 128, 1, 1), (28, 128, 32, 3, 1)],
    *[(14, 640, 128, 1, 1), (14, 128, 32, 3, 1), (7, 768, 128, 1, 1), (7, 128, 32, 3, 1)],
]
_SQUEEZENET = [
    *[(55, 96, 16, 1, 1), (55, 16, 64, 3, 1), (27, 256, 32, 1, 1), (27, 32, 128, 3, 1)],
    *[(13, 384, 48, 1, 1), (13, 48, 192, 3, 1), (13, 64, 256, 3, 1), (13, 512, 1000, 1, 1)],
]
_YOLO_V3_TINY = [
    *[(104, 32, 64, 3, 1), (52, 64, 128, 3, 1), (26, 128, 256, 3, 1), (13, 256, 512, 3, 1)],
    *[(13, 512, 255, 1, 1), (26, 256, 255, 1, 1), (13, 1024, 256, 1, 1), (208, 16, 32, 3, 1)],
]
_UNET = [
    *[(128, 32, 32, 3, 1), (64, 64, 64, 3, 1), (32, 128, 128, 3, 1), (16, 256, 256, 3, 1)],
    *[(64, 128, 64, 3, 1), (32, 256, 128, 3, 1)],
]
_C3D = [(16, 112, 3, 64, 3, 3, 1), (4, 14, 256, 512, 3, 3, 1), (2, 7, 512, 512, 3, 3, 1)]
_I3D = [
    *[(8, 28, 192, 64, 1, 1, 1), (8, 28, 16, 32, 3, 3, 1), (4, 14, 512, 160, 1, 1, 1)],
    *[(4, 14, 96, 208, 3, 3, 1), (2, 7, 832, 256, 1, 1, 1), (2, 7, 160, 320, 3, 3, 1)],
]
_R2PLUS1D_18 = [
    *[(16, 112, 3, 45, 1, 7, 2), (16, 56, 144, 64, 3, 1, 1), (16, 28, 230, 128, 3, 1, 2)],
    *[(4, 14, 256, 460, 1, 3, 2), (4, 14, 576, 256, 3, 1, 1), (2, 7, 921, 512, 3, 1, 1)],
]
_UNET_3D = [
    *[(32, 32, 8, 16, 3, 3, 1), (16, 16, 32, 64, 3, 3, 1), (8, 8, 128, 128, 3, 3, 1)],
    *[(4, 4, 256, 256, 3, 3, 1), (32, 32, 16, 3, 1, 1, 1)],
]
_X3D_POINTWISE = [
    *[(13, 40, 24, 54, 1, 1, 1), (13, 20, 48, 108, 1, 1, 1), (13, 10, 216, 96, 1, 1, 1)],
    *[(13, 5, 192, 432, 1, 1, 1)],
]
_X3D_DEPTHWISE = [(13, 40, 54), (13, 20, 108), (13, 10, 216), (13, 5, 432)]
_SWIN_TINY = [(3136, 96, 3), (784, 192, 6), (196, 384, 12), (49, 768, 24)]


def images() -> dict[str, list[str]]:
    """Network -> its workloads, of networks for images."""
    return {
        "resnet18": [
            *convs(_RESNET_18, "bn", "relu"),
            *convs(_RESNET_18_SHORTCUTS, "bn"),
            *convs(_RESNET_18[1:], "nchw"),
            *["maxpool2d-h112-w112-c64-k3-s2-p1", "globalpool2d-h7-w7-c512"],
            *dense([(1, 1000, 512)], "bias"),
        ],
        "resnet50": [
            *convs(_RESNET_50_REDUCE, "bn", "relu"),
            *convs(_RESNET_50_EXPAND, "bn", "add", "relu"),
            *convs(_RESNET_50_EXPAND, "nchw", "bias"),
            *["globalpool2d-h7-w7-c2048-nchw", "maxpool2d-h112-w112-c64-k3-s2-p1-nchw"],
            *dense([(1, 1000, 2048), (8, 1000, 2048)], "bias"),
        ],
        "resnext50": [
            *groups([(56, 128, 1, 32), (56, 256, 2, 32), (28, 256, 1, 32)], "bn", "relu"),
            *groups([(28, 512, 2, 32), (14, 512, 1, 32), (7, 1024, 1, 32)], "bn", "relu"),
            *groups([(14, 512, 1, 32), (28, 256, 1, 32)], "nchw"),
        ],
        "mobilenet-v2": [
            *convs(_MOBILENET_V2_EXPAND, "bn", "clip"),
            *convs(_MOBILENET_V2_PROJECT, "bn"),
            *depthwise(_MOBILENET_V2_DEPTHWISE, "bn", "clip"),
            *depthwise(_MOBILENET_V2_DEPTHWISE[2:8], "nchw"),
        ],
        "efficientnet-b0": [
            *depthwise(_EFFICIENTNET_B0, "bn", "silu"),
            *convs([(14, 80, 480, 1, 1), (7, 192, 1152, 1, 1)], "bn", "silu"),
            *["globalpool2d-h14-w14-c480", "globalpool2d-h7-w7-c1152"],
        ],
        "densenet121": [
            *convs(_DENSENET_121, "bn", "relu"),
            *["avgpool2d-h56-w56-c128-k2-s2", "avgpool2d-h28-w28-c256-k2-s2"],
            *["avgpool2d-h14-w14-c512-k2-s2-nchw", "globalpool2d-h7-w7-c1024"],
        ],
        "squeezenet": [*convs(_SQUEEZENET, "bias", "relu"), "maxpool2d-h27-w27-c256-k3-s2-p0"],
        "vgg16": [
            *convs(
                [(56, 256, 256, 3, 1), (28, 512, 512, 3, 1), (14, 512, 512, 3, 1)], "bias", "relu"
            ),
            *["maxpool2d-h56-w56-c256-k2-s2", "maxpool2d-h28-w28-c512-k2-s2-nchw"],
        ],
        "yolo-v3-tiny": [*convs(_YOLO_V3_TINY, "bn", "relu"), "maxpool2d-h52-w52-c128-k2-s2"],
        "unet": [
            *convs(_UNET, "bias", "relu"),
            *deconvs(
                [(32, 128, 64, 2, 2, 0), (16, 256, 128, 2, 2, 0), (8, 512, 256, 2, 2, 0)], "bias"
            ),
        ],
        "dcgan": [
            *deconvs([(4, 512, 256, 4, 2, 1), (8, 256, 128, 4, 2, 1)], "bn", "relu"),
            *deconvs([(16, 128, 64, 4, 2, 1), (32, 64, 3, 4, 2, 1)], "tanh"),
        ],
        "deeplab-v3": [
            *dilated([(28, 256, 256, 2), (28, 256, 256, 4), (14, 512, 512, 2)], "bn", "relu"),
            *dilated([(28, 512, 128, 12), (28, 512, 128, 6)], "bn", "relu"),
            *depthwise([(28, 256, 3, 1), (28, 512, 3, 1)], "bn", "relu"),
        ],
        "swin-tiny": [
            name
            for tokens, width, heads in _SWIN_TINY
            for name in (
                f"dense-m{tokens}-n{3 * width}-k{width}-bias",
                f"dense-m{tokens}-n{4 * width}-k{width}-bias-gelu",
                f"layernorm-m{tokens}-n{width}",
                f"scores-b{tokens // 49 * heads}-m49-n49-d32-softmax",
                f"chain-m{tokens}-n{4 * width}-bias-gelu",
            )
        ],
        "stable-diffusion-unet": [
            *["groupnorm-h32-w32-c320-g32-silu", "groupnorm-h16-w16-c640-g32-silu"],
            *convs(
                [(32, 320, 320, 3, 1), (16, 640, 640, 3, 1), (8, 1280, 1280, 3, 1)], "nchw", "bias"
            ),
            *["glu-m256-n2560-gelu", "softmax-m2048-n256", "scores-b8-m256-n77-d80"],
        ],
        "mlp-mixer": [
            *dense([(768, 384, 196), (768, 196, 384), (196, 2048, 512)], "bias", "gelu"),
            *["transpose-m196-n512", "transpose-m768-n196", "layernorm-m196-n512"],
        ],
    }


def film() -> dict[str, list[str]]:
    """Network -> its workloads, of networks for film and volumes."""
    return {
        "c3d": [*conv3ds(_C3D, "bias", "relu")],
        "i3d": [*conv3ds(_I3D, "bn", "relu")],
        "r2plus1d-18": [*conv3ds(_R2PLUS1D_18, "bn", "relu")],
        "3d-unet": [*conv3ds(_UNET_3D, "nchw"), *conv3ds(_UNET_3D[1:4], "bias", "relu")],
        "x3d-s": [
            *conv3ds(_X3D_POINTWISE, "bn"),
            *depthwise3d(_X3D_DEPTHWISE, "bn", "silu"),
        ],
    }
