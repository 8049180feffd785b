"""Networks of PyTorch in the shapes of published ones, with random weights, for the benchmark."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            down = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(down, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Channels before rows and columns."""
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.shortcut(x))


def _resnet18() -> tuple[nn.Module, Tensor]:
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    blocks = [block for a, b, s in widths for block in (_Block(a, b, s), _Block(b, b, 1))]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    network = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *blocks, *head)
    return network, torch.randn(1, 3, 224, 224)


class _Layer(nn.Module):
    """A layer of an encoder (Vaswani et al., arXiv 1706.03762; Devlin et al., arXiv 1810.04805)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """A batch of tokens."""
        batch, tokens, width = x.shape
        shape = batch, tokens, self.heads, width // self.heads
        query, key, value = (
            layer(x).reshape(shape).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * shape[3] ** -0.5, -1)
        x = self.norm(x + self.out((weights @ value).transpose(1, 2).reshape(x.shape)))
        return self.last_norm(x + self.down(nn.functional.gelu(self.up(x))))


def _bert_mini() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(*(_Layer(256, 4) for _ in range(4))), torch.randn(1, 128, 256)


#: Name -> what makes the network and an input.
NETWORKS = {"resnet18": _resnet18, "bert-mini": _bert_mini}


def exported(name: str) -> tuple[Any, Tensor]:
    """The network of ``NETWORKS`` as a ``torch.export.ExportedProgram``, and an input for it."""
    torch.manual_seed(0)
    network, example = NETWORKS[name]()
    network.eval()
    for module in network.modules():
        # As trained ones have them: of zeros and ones a compiler would make nothing.
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            assert module.running_mean is not None
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
    return torch.export.export(network, (example,)), example
