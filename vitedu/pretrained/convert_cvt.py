"""Published weights into `vitedu.models.cvt.CvT`: those of its authors, and the same as Hugging Face stores them.

Names are those of lib/models/cls_cvt.py in github.com/microsoft/CvT, and of transformers' CvtForImageClassification.
The numbers are carried over as they are.
"""

from dataclasses import replace

import torch

from vitedu.files import say
from vitedu.initialise import one_of
from vitedu.models.cvt import CvT, preset
from vitedu.patch import Size
from vitedu.pretrained.carry import carry, new_head, published_name
from vitedu.pretrained.source import Source, find_weights

# What to replace in a name of ours, in this order, to have the published one. The class token is the third stage's.
MICROSOFT = {
    r"^cls_token": "stages.2.cls_token",
    r"^stages\.\d+\.norm": "norm",
    r"^stages\.(\d+)": r"stage\1",
    r"^embeds\.(\d+)": r"stage\1.patch_embed",
    r"attention\.([qkv])_proj\.conv": r"attn.conv_proj_\1.conv",
    r"attention\.([qkv])_proj\.norm": r"attn.conv_proj_\1.bn",
    r"attention\.([qkv])_proj\.linear": r"attn.proj_\1",
    r"attention\.out_proj": "attn.proj",
}
HUGGING_FACE = {
    r"^cls_token": "stages.2.cls_token",
    r"^head": "classifier",
    r"^stages\.\d+\.norm": "layernorm",
    r"^embeds\.(\d+)\.proj": r"stages.\1.embedding.convolution_embeddings.projection",
    r"^embeds\.(\d+)\.norm": r"stages.\1.embedding.convolution_embeddings.normalization",
    r"^stages\.": "cvt.encoder.stages.",
    r"\.blocks\.": ".layers.",
    r"\.norm1": ".layernorm_before",
    r"\.norm2": ".layernorm_after",
    r"\.mlp\.fc1": ".intermediate.dense",
    r"\.mlp\.fc2": ".output.dense",
    r"\.attention\.out_proj": ".attention.output.dense",
    r"\.([qkv])_proj\.linear": r".attention.projection_\1",
    r"\.([qkv])_proj\.": r".attention.convolution_projection_\1.convolution_projection.",
    r"projection\.conv\.": "projection.convolution.",
    r"projection\.norm\.": "projection.normalization.",
    r"projection_q\.": "projection_query.",
    r"projection_k\.": "projection_key.",
    r"projection_v\.": "projection_value.",
}
# Whose names they are, and the activation that these code bases compute with.
PRACTICES = {"Hugging Face": (HUGGING_FACE, "gelu"), "Microsoft": (MICROSOFT, "quick_gelu")}
CVT_MODELS = {  # the preset of each, and the side of the images it was last trained on
    "cvt-13": ("CvT-13", 224),
    "cvt-13-384": ("CvT-13", 384),
    "cvt-13-384-22k": ("CvT-13", 384),
    "cvt-21": ("CvT-21", 224),
    "cvt-21-384": ("CvT-21", 384),
    "cvt-21-384-22k": ("CvT-21", 384),
    "cvt-w24-384-22k": ("CvT-W24", 384),
}
URL = "https://huggingface.co/microsoft/{name}/resolve/main/pytorch_model.bin"


def load_hf(
    name: str,
    path: Source | None = None,
    num_classes: int | None = None,
    image_size: Size | None = None,
    activation: str | None = None,
) -> CvT:
    """One of the CvT models that Microsoft published, as a `CvT` in evaluation mode with its own copy of the weights.

    Args:
        name: one of `CVT_MODELS`, as on Hugging Face.
        path: the file of the weights, or a state dict or a module, under Hugging Face's names or those of the authors'
            code; None fetches Hugging Face's file into torch's cache.
        num_classes: another K, or one where the weights have no classifier; it then starts at zero, for fine-tuning.
        image_size: what `grid` tells of; images of any size pass through, for there are no positions.
        activation: "gelu" or "quick_gelu"; None for the scores of the code whose names the weights have. The weights
            were trained with "quick_gelu", and Hugging Face's code computes with "gelu".

    Raises:
        ValueError: an unknown name, or weights that do not fit, with their key.
        CheckpointError: the file is missing or damaged, or wants to run code.
        OSError: the weights are not in torch's cache and cannot be fetched.
    """
    one_of("name", name, CVT_MODELS)
    first = "embeds.0.proj.weight"
    anchors = {published_name(first, names): whose for whose, (names, _) in PRACTICES.items()}
    found = find_weights(_fetch(name) if path is None else path, list(anchors))
    whose = next((whose for anchor, whose in anchors.items() if anchor in found.weights), None)
    if whose is None:
        raise ValueError(f"the weights hold neither {' nor '.join(anchors)}; pass those of a CvT")
    names, used = PRACTICES[whose]
    base, side = CVT_MODELS[name]
    head = found.weights.get(published_name("head.weight", names))
    kept, weights = None if head is None else len(head), found.weights
    config = preset(base, image_size=image_size or side, activation=activation or used)
    config = replace(config, num_classes=num_classes or kept or 1)
    if num_classes not in (None, kept):
        weights = new_head(weights, names, num_classes, config.dims[-1])
    if found.said:
        say(f"load_hf: {found.said}")
    return carry(weights, CvT, config, names)


def _fetch(name: str) -> dict:
    try:
        where = {"file_name": f"microsoft-{name}.bin", "map_location": "cpu", "weights_only": True}
        return torch.hub.load_state_dict_from_url(URL.format(name=name), **where)
    except OSError as error:
        reason = f"are not in torch's cache and cannot be fetched: {error}"
        raise OSError(f"the weights of {name} {reason}; pass the path of a file") from error
