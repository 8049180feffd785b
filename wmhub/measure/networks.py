"""Shapes of deployed networks, as workload names of the zoo, by network.

The architectures are those of the papers (inputs of 224 by 224 pixels unless the network has its
own size; text of 1 to 384 tokens). Shapes around them are in ``sweeps``.
"""

from __future__ import annotations

from wmhub.measure import vision
from wmhub.measure.shapes import (
    conv1ds,
    conv3ds,
    convs,
    decoder,
    deconvs,
    dense,
    depthwise,
    dilated,
    each,
    groups,
    transformer,
)
from wmhub.measure.sweeps import sweeps

#: Networks whose every shape is held out of training.
HELD_OUT_NETWORKS = frozenset(
    {
        "convnext-tiny",
        "fast-style-transfer",
        "gpt2-medium",
        "inception-v3",
        "mobilenet-v3-large",
        "r3d-18",
        "regnetx-400mf",
        "sweep-held-out",
        "vit-base",
        "whisper-tiny",
    }
)

_INCEPTION_V3 = [
    *[(35, 192, 64, 1, 1), (35, 48, 64, 5, 1), (35, 64, 96, 3, 1), (35, 96, 96, 3, 1)],
    *[(35, 288, 64, 1, 1), (17, 768, 192, 1, 1), (17, 768, 128, 1, 1), (17, 192, 320, 3, 2)],
    *[(8, 1280, 320, 1, 1), (8, 448, 384, 3, 1), (8, 2048, 192, 1, 1), (73, 80, 192, 3, 1)],
]
_MOBILENET_V3 = [
    *[(56, 64, 24, 1, 1), (28, 40, 120, 1, 1), (28, 120, 40, 1, 1), (14, 80, 200, 1, 1)],
    *[(14, 112, 672, 1, 1), (14, 480, 112, 1, 1), (7, 672, 160, 1, 1)],
]
_MOBILENET_V3_DEPTHWISE = [
    *[(56, 72, 5, 2), (28, 120, 5, 1), (14, 200, 3, 1), (14, 184, 3, 1), (7, 960, 5, 1)],
]
_R3D_18 = [
    *[(8, 28, 64, 128, 1, 1, 2), (8, 28, 128, 128, 3, 3, 1), (8, 28, 128, 256, 3, 3, 2)],
    *[(4, 14, 256, 256, 3, 3, 1)],
]


def _text_and_sound() -> dict[str, list[str]]:
    return {
        "bert-base": [
            *transformer(128, 768, 3072, 12, "gelu"),
            *transformer(16, 768, 3072, 12, "gelu"),
        ],
        "bert-mini": [
            *transformer(128, 256, 1024, 4, "gelu"),
            *transformer(384, 256, 1024, 4, "gelu"),
            "dense-m128-n256-k256-bias-tanh",
        ],
        "minilm": [
            *transformer(64, 384, 1536, 12, "gelu"),
            *transformer(256, 384, 1536, 12, "gelu"),
        ],
        "gpt2": [*transformer(1, 768, 3072, 12, "gelu"), *transformer(32, 768, 3072, 12, "gelu")],
        "t5-small": [
            *dense([(64, 512, 512), (64, 2048, 512), (64, 512, 2048)], "relu"),
            *["rmsnorm-m64-n512", "rmsnorm-m512-n512", "scores-b8-m64-n64-d64-softmax"],
        ],
        "tinyllama": [
            *decoder(2048, 5632, 256, 32),
            *decoder(1024, 2816, 128, 16),
            "rmsnorm-m64-n2048",
        ],
        "dlrm": [
            *dense(
                [(128, 512, 13), (128, 256, 512), (128, 64, 256), (128, 1024, 479)], "bias", "relu"
            ),
            *dense([(128, 512, 1024), (128, 1, 256), (16, 1024, 1024)], "bias", "sigmoid"),
            *["bmm-b128-m27-n27-k64-nt", "sum-m128-n64", "sum-m4096-n64-columns"],
        ],
        "lstm-lm": [
            *dense([(1, 2600, 1300), (20, 2600, 650), (20, 10000, 650)], "bias"),
            *["chain-m20-n2600-sigmoid", "chain-m20-n650-tanh", "softmax-m20-n10000-log"],
        ],
        "wav2vec2": [
            *conv1ds([(1599, 512, 512, 3, 2, 0, 1), (399, 512, 512, 3, 2, 0, 1)], "gelu"),
            *conv1ds([(199, 512, 512, 2, 2, 0, 1), (3199, 128, 256, 3, 2, 0, 1)], "gelu"),
            "conv1d-l49-ci768-co768-k31-p15-g16-bias",
        ],
        "wavenet": [
            *conv1ds([(1024, 64, 128, 2, 1, 0, d) for d in (1, 4, 16, 64, 256)], "bias"),
            "glu-m1024-n64-sigmoid",
        ],
        "textcnn": [
            *conv1ds([(64, 300, 100, k, 1, 0, 1) for k in (3, 4, 5)], "nchw", "bias", "relu")
        ],
        "conv-tasnet": [
            *conv1ds([(800, 128, 512, 1, 1, 0, 1), (800, 512, 128, 1, 1, 0, 1)], "bias", "relu"),
            "conv1d-l800-ci512-co512-k3-p4-d4-g512",
        ],
    }


def _held_out() -> dict[str, list[str]]:
    return {
        "inception-v3": [
            *convs(_INCEPTION_V3, "bn", "relu"),
            *["avgpool2d-h35-w35-c192-k3-s1-p1", "maxpool2d-h17-w17-c768-k3-s2"],
            "globalpool2d-h8-w8-c2048",
        ],
        "mobilenet-v3-large": [
            *convs(_MOBILENET_V3, "bn", "hswish"),
            *depthwise(_MOBILENET_V3_DEPTHWISE, "bn", "hswish"),
        ],
        "convnext-tiny": [
            *depthwise([(56, 96, 7, 1), (28, 192, 7, 1), (14, 384, 7, 1)], "bias"),
            "dense-m784-n768-k192-bias-gelu",
        ],
        "r3d-18": [*conv3ds(_R3D_18, "bn", "relu")],
        "regnetx-400mf": [
            *groups([(28, 64, 1, 4), (14, 160, 1, 10), (7, 400, 1, 25)], "bn", "relu")
        ],
        "fast-style-transfer": [
            *deconvs([(32, 96, 48, 3, 2, 1), (64, 48, 24, 3, 2, 1)], "relu"),
            *dilated([(32, 96, 96, 3)], "relu"),
        ],
        "vit-base": [*transformer(197, 768, 3072, 12, "gelu")],
        "gpt2-medium": [*transformer(1, 1024, 4096, 16, "gelu"), "scores-b16-m1-n384-d64-softmax"],
        "whisper-tiny": [
            *conv1ds([(1500, 80, 384, 3, 1, 1, 1), (1500, 384, 384, 3, 2, 1, 1)], "bias", "gelu"),
            "scores-b6-m150-n150-d64",
        ],
        "sweep-held-out": [
            *each("matmul", "m n k", [(480, 480, 480), (72, 720, 1200), (1100, 36, 300)]),
            *each("bmm", "b m n k", [(6, 150, 64, 150), (10, 48, 48, 96)]),
            *each("softmax", "m n", [(300, 900), (48, 7000)]),
            *each("sum", "m n", [(700, 1500), (24, 60000)]),
            *["rmsnorm-m100-n1800", "groupnorm-h24-w24-c192-g16", "glu-m90-n3300-silu"],
            *["chain-m600-n1400-bias-relu", "transpose-m900-n350", "max-m1300-n450-columns"],
        ],
    }


#: Network -> names of its workloads; a name may stand under several networks.
SHAPES: dict[str, list[str]] = {
    **vision.images(),
    **vision.film(),
    **_text_and_sound(),
    **_held_out(),
    **sweeps(),
}
