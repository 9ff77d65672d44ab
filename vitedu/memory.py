"""What a forward pass leaves in memory for the way back, measured."""

import torch
from torch import Tensor, nn


def kept_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes that autograd keeps after `model(images)`, the model's own parameters and the images not counted.

    Autograd hands every tensor that it saves to a hook. Several may share one memory block, which counts once. It is
    what is kept when the forward pass ends; the highest point of a step lies somewhat above.
    """
    not_counted = {tensor.untyped_storage().data_ptr() for tensor in (images, *model.parameters())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in not_counted:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores = model(images)  # as long as the scores live, so does everything that was noted: no address twice
    del scores
    return sum(kept.values())
