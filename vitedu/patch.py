"""Cutting an image into patches, putting it back together, and embedding the patches.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", 2020, section 3.1, arXiv:2010.11929.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

Size = int | tuple[int, int]  # one side, or (height, width)


def pair(size: Size) -> tuple[int, int]:
    """`16` -> `(16, 16)`; a pair (height, width) stays. ValueError if a side is not a positive whole number."""
    sides = (size, size) if isinstance(size, int) else size
    # a tuple of types, because the compiler of torch 2.6 does not know `tuple | list`
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(type(s) is int and s > 0 for s in sides):
        raise ValueError(f"size {size!r} is not a positive whole number or a pair of them; pass 16 or (16, 8)")
    return sides[0], sides[1]


def patch_grid(image_size: Size, patch_size: Size) -> tuple[int, int]:
    """The number of patches down and across, (H / P, W / P). ValueError if they are not whole numbers."""
    sides = []
    for image_side, patch_side in zip(pair(image_size), pair(patch_size), strict=True):
        if image_side % patch_side:
            below = image_side // patch_side * patch_side
            near = f"{below} or {below + patch_side}" if below else f"{patch_side}"
            raise ValueError(
                f"image side {image_side} is not divisible by patch side {patch_side}; use {near}, or pad the image"
            )
        sides.append(image_side // patch_side)
    return sides[0], sides[1]


def fitting_patch_side(image_side: int) -> int:
    """The divisor of an image side that cuts it most nearly into 8. ValueError if none gives 4 to 16 patches.

    >>> [fitting_patch_side(side) for side in (28, 32, 96)]
    [4, 4, 12]
    """
    divisors = [side for side in range(1, image_side + 1) if image_side % side == 0 and 4 <= image_side // side <= 16]
    if not divisors:
        near = max(8, round(image_side / 8) * 8)
        raise ValueError(
            f"image side {image_side} cannot be cut into 4 to 16 patches; use {near}, or give a patch_size"
        )
    return min(divisors, key=lambda side: abs(image_side / side - 8))


def check_images(images: Tensor, channels: int | None = None, weight: object = None) -> None:
    """TypeError or ValueError, with the remedy, for what is no batch (B, C, H, W) of numbers such as the weight's."""
    if not isinstance(images, Tensor):
        remedy = "torch.as_tensor takes an array, torchvision's pil_to_tensor a picture"
        raise TypeError(f"images are a {type(images).__name__}, expected a tensor (B, C, H, W); {remedy}")
    if torch.jit.is_tracing():  # sizes are tensors then
        return
    shape = tuple(images.shape)
    if len(shape) != 4 or channels not in (None, shape[1]):
        remedies = {3: f"images[{':, ' * (channels == 1)}None]", 4: "what has that many, or set in_channels"}
        remedy = remedies.get(len(shape), "four axes")
        if len(shape) in (3, 4) and shape[-1] == channels != shape[-3]:
            remedy = "images.movedim(-1, -3)" + "[None]" * (4 - len(shape))
        raise ValueError(f"images have shape {shape}, expected (B, {channels or 'C'}, H, W); pass {remedy}")
    if isinstance(weight, Tensor) and images.dtype != weight.dtype:
        floats = images.is_floating_point()
        if not (floats and torch.is_autocast_enabled(images.device.type)):
            remedy = f"images.to({weight.dtype})" if floats else "vitedu.data.normalise(images, mean, std)"
            raise TypeError(f"images hold {images.dtype}, the model computes in {weight.dtype}; pass {remedy}")


def patchify(images: Tensor, patch_size: Size) -> Tensor:
    """Cut images (B, C, H, W) into patches in raster order (left to right, then down), and flatten each.

    Returns (B, N, C·P·P) with N = (H / P)(W / P). Inside a token the order is channel, row, column, as in
    `torch.nn.functional.unfold` and in a convolution's weights. TypeError or ValueError if `images` is no tensor of
    four axes, or a side is not divisible by the patch side, P or (height, width).

    >>> patchify(torch.zeros(2, 3, 32, 48), 8).shape  # 4 · 6 patches of 3 · 8 · 8 numbers
    torch.Size([2, 24, 192])
    """
    check_images(images)
    if not torch.jit.is_tracing():
        patch_grid(tuple(images.shape[-2:]), patch_size)
    ph, pw = pair(patch_size)
    return rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=ph, pw=pw)  # (B, N, C·P·P)


def unpatchify(tokens: Tensor, patch_size: Size, image_size: Size) -> Tensor:
    """The inverse of `patchify`: (B, N, C·P·P) -> (B, C, H, W).

    The number of tokens alone does not tell a 2×8 grid from a 4×4 one, so the image size has to be given. ValueError
    if N or the token width does not fit the two sizes.

    >>> images = torch.rand(2, 3, 32, 48)
    >>> torch.equal(unpatchify(patchify(images, 8), 8, (32, 48)), images)
    True
    """
    (gh, gw), (ph, pw) = patch_grid(image_size, patch_size), pair(patch_size)
    N, area = gh * gw, ph * pw
    if tokens.ndim != 3 or tokens.shape[1] != N:
        raise ValueError(f"tokens have shape {tuple(tokens.shape)}, expected (B, {N}, C·{area}); one per patch")
    if tokens.shape[2] % area:
        raise ValueError(f"token width {tokens.shape[2]} is not divisible by {ph}·{pw} = {area}; check the patch side")
    return rearrange(tokens, "b (gh gw) (c ph pw) -> b c (gh ph) (gw pw)", gh=gh, ph=ph, pw=pw)  # (B, C, H, W)


class PatchEmbed(nn.Module):
    """Flatten each patch and multiply by E: (B, C, H, W) -> (B, N, D), N without CLS.

    The same map as `nn.Conv2d(C, D, kernel_size=P, stride=P)` with weight `proj.weight.view(D, C, P, P)`.

    Args:
        patch_size: P, or (height, width).
        in_channels: C.
        dim: D.
        bias: the paper's Eq. 1 writes none; the released weights have one.
    """

    def __init__(self, patch_size: Size, in_channels: int, dim: int, bias: bool = True):
        super().__init__()
        self.patch_size = pair(patch_size)
        self.in_channels = in_channels
        self.proj = nn.Linear(in_channels * self.patch_size[0] * self.patch_size[1], dim, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, D). TypeError or ValueError for what is none, or for a side not divisible by P."""
        check_images(images, self.in_channels, self.proj.weight)
        tokens = patchify(images, self.patch_size)  # (B, N, C·P·P)
        return self.proj(tokens)  # (B, N, D)      ViT Eq. 1: x_p E
