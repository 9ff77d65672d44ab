"""What a CvT computes, by formula: multiply-adds for one image, by part. ViT's are in `vitedu.cost`.

Sections 3.2.2 and 3.3 of Wu et al. 2021, arXiv:2103.15808: what a stride of 2 in keys and values saves.
"""

from vitedu.models.cvt import CvTConfig


def cvt_macs(config: CvTConfig) -> dict[str, int]:
    """Multiply-adds of a `CvT` for one image of its `image_size`; norms, softmax, activations and biases not counted.

    With N tokens, of which S are left as keys, and a width of D, a block has 9·D·(N + 2S) in the depthwise
    convolutions, D²·(2N + 2S) in the linear maps of attention, 2·N·S·D in the pairs, and 2·r·D²·N in the MLP, r being
    its ratio. CLS is one more query and one more key.

    >>> macs = cvt_macs(CvTConfig())  # CvT-13, of which the paper says 4.53 G
    >>> f"{sum(macs.values()) / 1e9:.2f} G, of which {macs['depthwise'] / 1e9:.2f} G depthwise"
    '4.57 G, of which 0.02 G depthwise'
    """
    macs = dict.fromkeys(("embedding", "depthwise", "linear", "pairs", "mlp"), 0)
    channels = config.in_channels
    for stage, ((height, width), D, depth) in enumerate(zip(config.grids, config.dims, config.depths, strict=True)):
        cls = config.num_prefix if stage == len(config.dims) - 1 else 0
        stride = config.kv_strides[stage] if config.projections[stage] == "conv" else 1
        N, S = height * width, -(-height // stride) * -(-width // stride)
        macs["embedding"] += N * D * channels * config.kernels[stage] ** 2
        if config.projections[stage] == "conv":
            macs["depthwise"] += depth * 9 * D * (N + 2 * S)
        N, S = N + cls, S + cls
        macs["linear"] += depth * D * D * (2 * N + 2 * S)
        macs["pairs"] += depth * 2 * N * S * D
        macs["mlp"] += depth * 2 * D * round(config.mlp_ratio * D) * N
        channels = D
    return macs | {"head": channels * config.num_classes}
