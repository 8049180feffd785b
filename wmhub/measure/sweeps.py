"""Shapes around those of networks: odd sizes, batches, skinny and square products.

So a model sees more than powers of two. The second part is of operators that errors were largest
for: products of many small matrices, softmax, pooling, transposed convolutions, reductions, and
vectors of 24 or 48 elements behind a clip. The third has extents that no vector divides, as
networks with a class token and odd images have: there LLVM decides what becomes a vector. The
fourth has images whose channels come first, as PyTorch keeps them; the fifth transposed
convolutions whose channels come last, and reductions of whole matrices to a number. The sixth has
volumes and capsules, whose nests are the deepest; the seventh attention whose heads are taken apart
first, as networks compute it; the last products of few rows, as decoders have, that take as long as
reading the other operand does.
"""

from __future__ import annotations

from itertools import product

from wmhub.measure.shapes import (
    capsules,
    conv3ds,
    convs,
    deconvs,
    dense,
    depthwise,
    dilated,
    each,
    pools,
)

_SKINNY = [(1, 4096, 1024), (4, 2000, 1000), (1000, 8, 512), (64, 64, 4096), (2048, 2048, 16)]
_ODD = [(100, 100, 100), (127, 255, 511), (200, 300, 400), (96, 1000, 160), (333, 77, 512)]


def _broad() -> dict[str, list[str]]:
    square = [(n, n, n) for n in (64, 128, 192, 256, 320, 384, 512, 640, 768)]
    images, channels = (10, 20, 40), ((24, 40), (72, 56), (112, 160))
    odd_convs = [
        (h, ci, co, k, 1)
        for (h, (ci, co)), k in zip(product(images, channels), (1, 3, 5) * 3, strict=True)
    ]
    rows = [(32, 1024), (128, 4096), (1024, 256), (512, 1000), (2048, 50), (8, 32000)]
    return {
        "sweep-matmul": [*each("matmul", "m n k", [*square, *_SKINNY, *_ODD])],
        "sweep-dense": [
            *dense([(32, 512, 512), (50, 500, 784), (256, 1024, 256)], "bias", "relu"),
            *dense([(7, 900, 1500), (24, 2304, 576), (512, 96, 384)], "bias", "silu"),
        ],
        "sweep-bmm": [
            *each(
                "bmm",
                "b m n k",
                [(4, 128, 128, 64), (16, 64, 64, 32), (32, 20, 30, 40), (2, 300, 200, 100)],
            ),
            *each("bmm", "b m n k", [(8, 96, 96, 48), (12, 200, 200, 40)], "nt"),
        ],
        "sweep-conv": [
            *convs(odd_convs, "bias", "relu"),
            *[
                name.replace("conv2d-", "conv2d-n4-")
                for name in convs([(14, 128, 128, 3, 1), (28, 48, 96, 3, 2)])
            ],
            *dilated([(20, 40, 80, 2), (40, 64, 32, 3)], "bias"),
            *deconvs([(10, 80, 40, 4, 2, 1), (20, 48, 24, 3, 1, 1)]),
            *depthwise([(20, 100, 3, 1), (40, 60, 5, 2), (80, 36, 7, 1)], "bias", "relu"),
        ],
        "sweep-rows": [
            *each("softmax", "m n", rows),
            *each("layernorm", "m n", rows),
            *each("rmsnorm", "m n", rows[:4]),
            *each("sum", "m n", rows),
            *each("sum", "m n", rows[:4], "columns"),
            *each("max", "m n", rows[1:5]),
            *each("argmax", "m n", [(32, 1000), (8, 32000)]),
        ],
        "sweep-elementwise": [
            *each("chain", "m n", [(512, 512), (3136, 64), (100, 7000)], "bias", "relu"),
            *each("chain", "m n", [(784, 256), (49, 2048)], "bn", "add", "relu"),
            *each("chain", "m n", [(128, 3072), (333, 777)], "gelu"),
            *each("chain", "m n", [(256, 1000), (2000, 90)], "add", "silu"),
            *each("transpose", "m n", [(512, 512), (1000, 300), (64, 3136)]),
            *[
                "groupnorm-h28-w28-c128-g8-relu",
                "groupnorm-h20-w20-c96-g4",
                "groupnorm-h7-w7-c512-g32",
            ],
        ],
    }


_BATCHED = [(2, 64, 64, 96), (3, 100, 60, 80), (5, 49, 96, 49), (6, 128, 32, 128), (8, 77, 64, 77),
            (12, 64, 32, 64), (20, 24, 24, 48), (24, 50, 64, 50), (40, 16, 80, 16)]  # fmt: skip
_BATCHED_NT = [(2, 160, 160, 64), (4, 77, 77, 40), (6, 49, 49, 32), (8, 128, 128, 32),
               (12, 36, 36, 64), (16, 100, 20, 96), (32, 27, 27, 128),
               (48, 16, 16, 32)]  # fmt: skip
_HEADS = [(4, 64, 64, 64), (6, 100, 100, 32), (8, 77, 77, 64), (12, 32, 32, 64), (16, 49, 49, 24),
          (3, 144, 144, 48)]  # fmt: skip
_CLASSES = [(1, 1000), (16, 1000), (64, 49), (100, 100), (196, 196), (400, 77), (768, 128),
            (1200, 64), (24, 12000), (2000, 300), (4, 4096), (4096, 20)]  # fmt: skip
_REDUCED = [(1, 100_000), (12, 2000), (60, 500), (150, 150), (300, 6000), (900, 90), (2400, 240),
            (64, 12_544)]  # fmt: skip
_POOLED = [(112, 24, 3, 2), (80, 40, 2, 2), (56, 96, 3, 2), (40, 72, 3, 1), (28, 160, 2, 2),
           (20, 320, 3, 2), (14, 480, 3, 1), (7, 1024, 7, 7)]  # fmt: skip
_WIDENED = [(4, 256, 96, 4, 2, 1), (6, 192, 160, 4, 2, 1), (8, 128, 128, 2, 2, 0),
            (8, 320, 64, 4, 2, 1), (10, 96, 48, 3, 1, 1), (12, 160, 40, 3, 2, 1),
            (14, 64, 64, 5, 1, 2), (16, 64, 32, 4, 2, 1), (20, 80, 16, 2, 2, 0),
            (24, 48, 24, 3, 2, 1), (28, 32, 16, 4, 2, 1), (40, 24, 12, 4, 2, 1)]  # fmt: skip
_CLIPPED = [(56, 24, 48, 1, 1), (28, 48, 96, 1, 1), (28, 40, 72, 3, 1), (14, 96, 144, 1, 1),
            (14, 72, 48, 3, 1), (7, 192, 384, 1, 1), (20, 56, 24, 3, 2),
            (40, 16, 24, 5, 1)]  # fmt: skip
_CLIPPED_DEPTHWISE = [(112, 48, 3, 2), (56, 72, 3, 1), (40, 120, 5, 2), (28, 96, 3, 1),
                      (20, 144, 5, 1), (14, 288, 3, 1), (10, 432, 3, 1),
                      (7, 576, 5, 1)]  # fmt: skip
_SMALL = [(1, 64, 64), (3, 48, 200), (10, 10, 500), (16, 16, 16), (24, 72, 96), (60, 250, 40)]


def _hard() -> dict[str, list[str]]:
    return {
        "sweep-batches": [
            *each("bmm", "b m n k", _BATCHED),
            *each("bmm", "b m n k", _BATCHED_NT, "nt"),
            *each("scores", "b m n d", _HEADS),
            *each("scores", "b m n d", _HEADS[::2], "softmax"),
            *each("context", "b m n d", _HEADS),
        ],
        "sweep-reductions": [
            *each("softmax", "m n", _CLASSES),
            *each("softmax", "m n", _CLASSES[1::4], "log"),
            *each("sum", "m n", _REDUCED),
            *each("sum", "m n", _REDUCED[2:7], "columns"),
            *each("max", "m n", _REDUCED[1:7:2]),
            *each("max", "m n", _REDUCED[2:7:2], "columns"),
            *each("argmax", "m n", _REDUCED[1:6:2]),
            *each("layernorm", "m n", _CLASSES[1::3]),
            *each("rmsnorm", "m n", _CLASSES[2::3]),
        ],
        "sweep-windows": [
            *pools("maxpool2d", _POOLED),
            *pools("avgpool2d", _POOLED[1::2]),
            *pools("maxpool2d", _POOLED[2::3], "nchw"),
            *each("globalpool2d", "h w c", [(14, 14, 96), (10, 10, 400), (20, 20, 64)]),
            *deconvs(_WIDENED[::2]),
            *deconvs(_WIDENED[1::2], "bias", "relu"),
        ],
        "sweep-clips": [
            *convs(_CLIPPED, "bn", "clip"),
            *depthwise(_CLIPPED_DEPTHWISE, "bn", "clip"),
            *depthwise(_CLIPPED_DEPTHWISE[::2], "bias", "relu"),
            *dense(_SMALL, "bias", "clip"),
            *dense(_SMALL[::2], "bias", "gelu"),
        ],
    }


_TOKENS = (37, 50, 65, 101, 127, 145, 257, 577)
_PRIME = [(127, 127, 127), (257, 64, 257), (64, 257, 257), (101, 509, 64), (509, 101, 128),
          (251, 251, 251), (31, 1021, 256), (384, 131, 96)]  # fmt: skip
_ATTENTION = [(16, 37, 37, 64), (12, 50, 50, 64), (8, 65, 65, 32), (6, 101, 101, 64),
              (16, 127, 127, 48), (5, 145, 145, 40), (12, 257, 257, 64),
              (3, 577, 577, 64)]  # fmt: skip
_CROSSED = [(8, 64, 77, 64), (12, 1, 257, 64), (4, 257, 127, 80), (2, 131, 509, 32)]
_ODD_BATCHES = [(12, 73, 73, 73), (3, 257, 64, 257), (6, 101, 101, 24), (16, 31, 61, 127)]
_ODD_IMAGES = [(13, 96, 128, 3, 1), (17, 64, 96, 3, 1), (19, 48, 64, 3, 1), (23, 32, 80, 5, 1),
               (29, 40, 56, 1, 1), (37, 24, 48, 3, 2), (53, 16, 32, 3, 1), (11, 160, 192, 1, 1),
               (19, 67, 131, 1, 1), (31, 33, 35, 3, 1)]  # fmt: skip
_ODD_DEPTHWISE = [(13, 160, 5, 1), (17, 96, 3, 1), (29, 72, 3, 2), (53, 35, 3, 1)]


def _no_vector_divides() -> dict[str, list[str]]:
    widths = (384, 768, 192, 512, 1024, 256, 384, 192)
    layers = [(m, w * 4, w) for m, w in zip(_TOKENS, widths, strict=True)]
    rows = [(12 * m, m) for m in _TOKENS] + [(m, w) for m, w in zip(_TOKENS, widths, strict=True)]
    return {
        "sweep-tokens": [
            *each("scores", "b m n d", [*_ATTENTION, *_CROSSED]),
            *each("scores", "b m n d", [*_ATTENTION[::2], *_CROSSED[::2]], "softmax"),
            *each("context", "b m n d", [*_ATTENTION, *_CROSSED[::2]]),
            *each("bmm", "b m n k", _ODD_BATCHES),
            *each("bmm", "b m n k", _ODD_BATCHES, "nt"),
            *dense(layers, "bias", "gelu"),
            *dense([(m, w, 4 * w) for m, _, w in layers[1::2]], "bias"),
            *each("matmul", "m n k", _PRIME),
        ],
        "sweep-odd": [
            *convs(_ODD_IMAGES, "bias", "relu"),
            *convs(_ODD_IMAGES[1::3], "nchw"),
            *depthwise(_ODD_DEPTHWISE, "bias", "relu"),
            *each("softmax", "m n", rows[::2]),
            *each("layernorm", "m n", rows[9::2]),
            *each("sum", "m n", rows[1::4]),
            *each("max", "m n", rows[3::4], "columns"),
            *each("chain", "m n", rows[8::3], "bias", "gelu"),
            *each("transpose", "m n", rows[8::4]),
        ],
    }


_CHANNELS_FIRST = [(112, 16, 32, 3, 2), (80, 24, 48, 3, 1), (56, 48, 96, 1, 1), (56, 96, 48, 3, 1),
                   (40, 80, 160, 3, 2), (33, 64, 128, 3, 1), (28, 96, 192, 3, 1),
                   (28, 192, 96, 1, 1), (20, 160, 320, 1, 1), (20, 128, 128, 3, 1),
                   (14, 384, 192, 1, 1), (14, 192, 384, 3, 2), (10, 256, 256, 3, 1),
                   (7, 320, 640, 1, 1), (7, 640, 160, 1, 1), (7, 160, 320, 3, 1)]  # fmt: skip


def _channels_first() -> dict[str, list[str]]:
    return {
        "sweep-channels-first": [
            *convs(_CHANNELS_FIRST[::2], "nchw", "bias", "relu"),
            *convs(_CHANNELS_FIRST[1::2], "nchw"),
        ]
    }


_WIDENED_LAST = [(5, 384, 192, 4, 2, 1), (7, 512, 128, 4, 2, 1), (16, 96, 64, 4, 2, 1),
                 (32, 48, 16, 4, 2, 1), (9, 160, 80, 3, 2, 1), (14, 128, 48, 2, 2, 0)]  # fmt: skip
_WHOLE = [(37, 53), (100, 100), (64, 768), (300, 300), (2048, 128), (768, 768), (1000, 700),
          (512, 3072), (3000, 1000), (50_000, 10)]  # fmt: skip
_WHOLE_OF_EACH = [(2, 320, 320), (4, 56, 300), (8, 64, 64), (16, 100, 200), (32, 28, 28),
                  (64, 7, 49)]  # fmt: skip


def _transposed_and_whole() -> dict[str, list[str]]:
    return {
        "sweep-transposed": [
            *deconvs(_WIDENED[::2], "nhwc", "bias", "relu"),
            *deconvs([*_WIDENED[1::2], *_WIDENED_LAST], "nhwc"),
        ],
        "sweep-norms": [
            *each("norm", "m n", _WHOLE),
            *each("norm", "b m n", _WHOLE_OF_EACH),
        ],
    }


_VOLUMES = [(12, 24, 24, 48, 3, 3, 1), (10, 20, 40, 80, 3, 3, 2), (6, 40, 32, 32, 1, 3, 1),
            (20, 10, 96, 64, 3, 1, 1), (5, 9, 160, 128, 3, 3, 1), (24, 48, 4, 12, 3, 5, 2),
            (14, 14, 128, 64, 1, 1, 1), (7, 12, 72, 144, 3, 3, 1)]  # fmt: skip
_CAPSULES = [(6, 16, 24, 3, 1, 0), (7, 48, 32, 3, 1, 1), (9, 16, 16, 5, 1, 2),
             (10, 32, 16, 3, 1, 1), (12, 24, 24, 3, 1, 1), (14, 16, 32, 3, 2, 1),
             (20, 8, 8, 3, 2, 1), (5, 64, 64, 3, 1, 1), (11, 20, 40, 1, 1, 0),
             (24, 4, 8, 3, 1, 1)]  # fmt: skip


def _volumes_and_poses() -> dict[str, list[str]]:
    return {
        "sweep-volumes": [
            *conv3ds(_VOLUMES[::2]),
            *conv3ds(_VOLUMES[1::2], "bias", "relu"),
        ],
        "sweep-capsules": [*capsules(_CAPSULES)],
    }


_SPLIT = [*_HEADS, (16, 37, 37, 64), (5, 145, 145, 40), (2, 96, 192, 80), (24, 80, 80, 32),
          (12, 257, 257, 64), (8, 384, 384, 32)]  # fmt: skip


def _heads_side_by_side() -> dict[str, list[str]]:
    return {
        "sweep-heads": [
            *each("scores", "b m n d", _SPLIT, "split"),
            *each("context", "b m n d", _SPLIT, "split"),
        ]
    }


_FEW_ROWS = [(1, 1024, 1024), (1, 3072, 768), (1, 768, 3072), (1, 2048, 5632), (1, 512, 2048),
             (1, 32_000, 256), (2, 1024, 4096), (2, 2048, 512), (3, 900, 700), (4, 1024, 1024),
             (4, 4096, 256), (6, 640, 1280), (8, 768, 768), (8, 2048, 1024), (12, 1000, 512),
             (16, 512, 2048)]  # fmt: skip
_FEW_ROWS_OF_WEIGHTS = [(2, 1024, 1024), (4, 3072, 768), (6, 640, 1280), (8, 1024, 4096),
                        (12, 1000, 512), (16, 2304, 768)]  # fmt: skip
_ONE_QUERY = [(16, 1, 64, 512), (32, 1, 128, 200), (12, 1, 64, 1024), (8, 2, 96, 300),
              (24, 4, 64, 384)]  # fmt: skip
_ONE_QUERY_NT = [(16, 1, 512, 64), (32, 1, 300, 128), (8, 2, 300, 96), (24, 4, 384, 64)]


def _few_rows() -> dict[str, list[str]]:
    return {
        "sweep-few-rows": [
            *each("matmul", "m n k", _FEW_ROWS),
            *dense(_FEW_ROWS_OF_WEIGHTS[::2]),
            *dense(_FEW_ROWS_OF_WEIGHTS[1::2], "bias"),
            *each("bmm", "b m n k", _ONE_QUERY),
            *each("bmm", "b m n k", _ONE_QUERY_NT, "nt"),
        ]
    }


def sweeps() -> dict[str, list[str]]:
    """Name of a sweep -> names of its workloads."""
    return {
        **_broad(),
        **_hard(),
        **_no_vector_divides(),
        **_channels_first(),
        **_transposed_and_whole(),
        **_volumes_and_poses(),
        **_heads_side_by_side(),
        **_few_rows(),
    }
