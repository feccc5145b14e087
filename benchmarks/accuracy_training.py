"""A small network that tells two classes apart, trained from nothing in a way that a seed alone decides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

BATCH = 32
_RATE, _DECAY = 2e-3, 0.05
_TURN, _SHIFT, _SCALE, _CONTRAST, _BRIGHTNESS = math.radians(10), 0.1, 0.15, 0.2, 0.1


@dataclass(frozen=True)
class Pictures:
    """What one arm has, in the order of the lists."""

    images: torch.Tensor
    """(pictures, 1, size, size) from 0 to 255."""
    labels: torch.Tensor
    """(pictures,) 0 or 1."""


def network() -> nn.Module:
    """0.29 million parameters; everything but the first layers sees a sixteenth of the pixels or less."""
    layers: list[nn.Module] = [*_layer(1, 16, 7, 4)]
    for before, after in ((16, 32), (32, 64), (64, 128)):
        layers += [*_layer(before, after, 3, 2), *_layer(after, after, 3, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 1))


def _layer(before: int, after: int, side: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, after, side, stride, side // 2, bias=False)
    return convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)


def augmented(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Mirrored, turned, moved, scaled, and of other contrast. What is drawn does not depend on the size of
    the images, so that all arms draw the same."""
    draws = torch.rand((7, len(images)), generator=random)
    mirror = torch.where(draws[0] < 0.5, -1.0, 1.0)
    angle, right, down, scale, contrast, brightness = draws[1:] * 2 - 1
    scale = torch.exp(scale * _SCALE)
    cosine, sine = torch.cos(angle * _TURN) * scale, torch.sin(angle * _TURN) * scale
    rows = [cosine * mirror, -sine, right * 2 * _SHIFT, sine * mirror, cosine, down * 2 * _SHIFT]
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False
    )
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gain = 1 + contrast * _CONTRAST
    made: torch.Tensor = moved * gain[:, None, None, None] + (brightness * _BRIGHTNESS)[:, None, None, None]
    return made


def trained(train: Pictures, seed: int, epochs: int) -> nn.Module:
    """After the last epoch: no epoch is chosen by what it does to other images."""
    torch.manual_seed(seed)
    model = network()
    random = torch.Generator().manual_seed(seed)
    images, labels = _normal(train.images), train.labels.float()
    optimizer = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=_DECAY, fused=True)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.2)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=random).split(BATCH):  # type: ignore[no-untyped-call]
            batch = augmented(images[chosen], random)
            loss = functional.binary_cross_entropy_with_logits(model(batch).squeeze(1), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    model.eval()
    return model


@torch.inference_mode()
def scores(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(pictures,) the probability of class 1, of each image and its mirror image together."""
    images = _normal(images)
    found: torch.Tensor = torch.sigmoid((model(images) + model(images.flip(-1))) / 2).squeeze(1)
    return found


def _normal(images: torch.Tensor) -> torch.Tensor:
    return (images / 255 - 0.5) / 0.25
