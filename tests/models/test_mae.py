"""MAE: what the encoder sees, what is painted and judged, equality with a plain reference, and fine-tuning."""

from dataclasses import replace
from functools import partial

import pytest
import timm
import torch
from timm.models.vision_transformer import Block, PatchEmbed
from torch import Tensor, nn

from tests.random_weights import random_images, randomise
from vitedu.capture import capture_attention
from vitedu.cost import count_parameters
from vitedu.data import Split, load, normalise
from vitedu.inspection import rollout
from vitedu.models.mae import MAE, MAEConfig, pick, preset, sincos_columns_first
from vitedu.models.pixels import moments, to_images, to_patches
from vitedu.patch import patchify
from vitedu.position import sincos_2d
from vitedu.pretrained import load_mae
from vitedu.pretrained.carry import published_name
from vitedu.pretrained.tower_names import PLAIN
from vitedu.train import TrainConfig, evaluate, fit
from vitedu.train.pretext import masked_patches, measured

SMALL = {"dim": 24, "depth": 2, "num_heads": 3, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
CONFIG = MAEConfig(image_size=(8, 12), patch_size=2, **SMALL)  # N = 4 · 6, of which 6 stay
IMAGES = random_images(3, 3, 8, 12)
CPU = torch.device("cpu")


@pytest.fixture
def model() -> MAE:
    return randomise(MAE(CONFIG)).eval()


def run(model: MAE, images: Tensor = IMAGES, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return model(images)


# --- what is removed -------------------------------------------------------------------------------------------------


def test_three_quarters_go_others_for_each_image_and_the_seed_decides_which(model):
    predicted, removed = run(model)
    assert predicted.shape == (3, 24, 2 * 2 * 3)
    assert removed.sum(dim=1).tolist() == [18, 18, 18]
    assert not torch.equal(removed[0], removed[1])
    again, other = run(model), run(model, seed=1)
    assert torch.equal(again[0], predicted)
    assert torch.equal(again[1], removed)
    assert not torch.equal(other[1], removed)


def test_each_patch_is_removed_about_equally_often():
    model = MAE(replace(CONFIG, depth=1))
    removed = run(model, torch.zeros(2_000, 3, 8, 12))[1].float().mean(dim=0)
    assert (removed - 0.75).abs().max() < 5 * (0.75 * 0.25 / 2_000) ** 0.5


def test_removed_pixels_change_nothing_and_visible_ones_do(model):
    predicted, removed = run(model)
    patches = to_patches(IMAGES, 2)
    noise = torch.randn(patches.shape, generator=torch.Generator().manual_seed(7))
    hidden = to_images(torch.where(removed[:, :, None], noise, patches), 2, (8, 12))
    assert not torch.equal(hidden, IMAGES)
    assert torch.equal(run(model, hidden)[0], predicted)
    seen = to_images(torch.where(removed[:, :, None], patches, noise), 2, (8, 12))
    assert (run(model, seen)[0] - predicted).abs().max() > 1e-2


def test_the_encoder_computes_with_a_quarter_of_the_patches(model):
    with capture_attention(model) as maps:
        run(model)
    assert [layer.shape for layer in maps] == [(3, 3, 7, 7)] * 2 + [(3, 2, 25, 25)]


def test_shuffling_and_its_inverse_bring_every_token_back():
    tokens, order = torch.randn(3, 10, 4), torch.rand(3, 10).argsort(dim=1)
    assert torch.equal(pick(pick(tokens, order), order.argsort(dim=1)), tokens)


def test_what_is_seen_in_another_order_is_the_same_tokens(model):
    order = torch.rand(3, 24, generator=torch.Generator().manual_seed(3)).argsort(dim=1)
    swapped = torch.cat([order[:, :6].flip(1), order[:, 6:].flip(1)], dim=1)  # the same six stay
    a, b = (model.decode(model.encode(IMAGES, o), o) for o in (order, swapped))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# --- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normed", [False, True])
def test_the_loss_is_the_squared_error_over_removed_patches_written_out(normed):
    model = randomise(MAE(replace(CONFIG, norm_pix_loss=normed)))
    predicted, removed = run(model)
    total, patches = [], 0
    for b in range(3):
        for n in range(24):
            if removed[b, n]:
                row, column = divmod(n, 6)
                patch = IMAGES[b, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                wanted = [patch[c, y, x].item() for y in range(2) for x in range(2) for c in range(3)]
                if normed:
                    mean = sum(wanted) / 12
                    variance = sum((value - mean) ** 2 for value in wanted) / 11
                    wanted = [(value - mean) / (variance + 1e-6) ** 0.5 for value in wanted]
                total += [(p - w) ** 2 / 12 for p, w in zip(predicted[b, n].tolist(), wanted, strict=True)]
                patches += 1
    expected = sum(total) / patches
    assert model.loss(IMAGES, predicted, removed).item() == pytest.approx(expected, rel=1e-4)


def test_predictions_of_visible_patches_have_no_gradient(model):
    predicted, removed = run(model)
    predicted.retain_grad()
    model.loss(IMAGES, predicted, removed).backward()
    assert not predicted.grad[~removed].any()
    assert predicted.grad[removed].abs().amin(dim=1).gt(0).any()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_pixels_of_a_patch_are_in_another_order_than_patchifys_and_come_back():
    patches, plain = to_patches(IMAGES, (2, 3)), patchify(IMAGES, (2, 3))
    assert torch.equal(patches, plain.unflatten(2, (3, 6)).transpose(2, 3).flatten(2))
    assert not torch.equal(patches, plain)
    assert torch.equal(to_images(patches, (2, 3), (8, 12)), IMAGES)


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normed", [False, True])
def test_a_reconstruction_keeps_what_was_seen_and_paints_the_rest(normed):
    model = randomise(MAE(replace(CONFIG, norm_pix_loss=normed)))
    torch.manual_seed(0)
    masked, painted, removed = model.reconstruct(IMAGES)
    predicted, again = run(model)
    assert torch.equal(removed, again)
    gone, new, old = (to_patches(each, 2) for each in (masked, painted, IMAGES))
    assert not gone[removed].any()
    assert torch.equal(gone[~removed], old[~removed])
    assert torch.equal(new[~removed], old[~removed])
    assert not painted.requires_grad
    mean, std = moments(old) if normed else (0.0, 1.0)
    torch.testing.assert_close(new[removed], (predicted * std + mean)[removed])


def test_normalised_predictions_of_zero_are_drawn_as_each_hidden_patchs_own_mean():
    """The leak: the picture is a coarse copy, though nothing was predicted. Without `norm_pix_loss` it is grey."""
    removed = torch.ones(3, 24, dtype=torch.bool)
    for normed in (False, True):
        model = MAE(replace(CONFIG, norm_pix_loss=normed))
        drawn = to_patches(model.paint(IMAGES, torch.zeros(3, 24, 12), removed), 2)
        means = to_patches(IMAGES, 2).mean(dim=2, keepdim=True).expand(-1, -1, 12)
        torch.testing.assert_close(drawn, means if normed else torch.zeros_like(means))


# --- a plain reference -----------------------------------------------------------------------------------------------


class Reference(nn.Module):
    """MAE as its paper and code say, with timm's parts and the names of the published files."""

    def __init__(self, image: int = 8, patch: int = 2):
        super().__init__()
        block = partial(Block, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
        self.patch, n = patch, (image // patch) ** 2
        self.patch_embed = PatchEmbed(image, patch, 3, 24)
        self.cls_token, self.mask_token = (nn.Parameter(0.02 * torch.randn(1, 1, dim)) for dim in (24, 16))
        self.pos_embed, self.decoder_pos_embed = (
            nn.Parameter(torch.zeros(1, 1 + n, dim), requires_grad=False) for dim in (24, 16)
        )
        for table in (self.pos_embed, self.decoder_pos_embed):
            table.data[0, 1:] = self.sincos(image // patch, table.shape[2])
        self.blocks = nn.ModuleList([block(24, 3) for _ in range(2)])
        self.norm, self.decoder_norm = nn.LayerNorm(24, eps=1e-6), nn.LayerNorm(16, eps=1e-6)
        self.decoder_embed, self.decoder_pred = nn.Linear(24, 16), nn.Linear(16, patch * patch * 3)
        self.decoder_blocks = nn.ModuleList([block(16, 2)])

    @staticmethod
    def sincos(side: int, dim: int) -> Tensor:
        """Number by number: a quarter sines and a quarter cosines of the column, then of the row."""
        quarter = dim // 4
        table = torch.zeros(side * side, dim)
        for n in range(side * side):
            for axis, place in enumerate((n % side, n // side)):
                for k in range(quarter):
                    angle = torch.tensor(place / 10_000 ** (k / quarter))
                    table[n, axis * 2 * quarter + k] = angle.sin()
                    table[n, axis * 2 * quarter + quarter + k] = angle.cos()
        return table

    def forward(self, images: Tensor, noise: Tensor, normed: bool) -> tuple[Tensor, Tensor, Tensor]:
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        B, N, _ = x.shape
        ranks, kept, latent = noise.argsort(1).argsort(1), N // 4, []
        for b in range(B):  # image by image, with lists of numbers
            seen = sorted(range(N), key=lambda n: ranks[b, n].item())[:kept]
            latent.append(torch.cat([self.cls_token[0] + self.pos_embed[0, :1], x[b, seen]]))
        y = torch.stack(latent)
        for block in self.blocks:
            y = block(y)
        y = self.decoder_embed(self.norm(y))
        full = self.mask_token.expand(B, N, -1).clone()
        for b in range(B):
            for place, n in enumerate(sorted(range(N), key=lambda n: ranks[b, n].item())[:kept]):
                full[b, n] = y[b, 1 + place]
        y = torch.cat([y[:, :1], full], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            y = block(y)
        predicted, mask = self.decoder_pred(self.decoder_norm(y))[:, 1:], ranks >= kept
        P, side = self.patch, images.shape[-1] // self.patch
        target = torch.einsum("nchpwq->nhwpqc", images.reshape(B, 3, side, P, side, P)).reshape(B, N, -1)
        if normed:
            target = (target - target.mean(-1, True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        error = ((predicted - target) ** 2).mean(-1)
        return predicted, mask, (error * mask).sum() / mask.sum()


def reference(loud: bool) -> Reference:
    torch.manual_seed(0)
    model = Reference().eval()
    tables = model.pos_embed.clone(), model.decoder_pos_embed.clone()
    if loud:
        randomise(model)
        model.pos_embed.data, model.decoder_pos_embed.data = tables
    return model


SQUARE = random_images(2, 3, 8, 8)


def differences(ours: MAE, theirs: Reference, normed: bool, images: Tensor = SQUARE) -> tuple[float, float]:
    """Largest difference of the predictions, and that of the losses, at the same draw of patches."""
    noise = torch.rand(len(images), 16, generator=torch.Generator().manual_seed(2))
    order = noise.argsort(dim=1)
    predicted, removed = ours.decode(ours.encode(images, order), order), order.argsort(dim=1) >= 4
    expected, mask, loss = theirs(images, noise, normed)
    assert torch.equal(removed, mask)
    return (predicted - expected).abs().max().item(), (ours.loss(images, predicted, removed) - loss).abs().item()


@pytest.mark.parametrize("loud", [False, True])
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_predictions_and_loss_are_those_of_the_reference(loud, normed, count):
    theirs = reference(loud)
    ours = load_mae(theirs.state_dict(), normed, num_heads=3, decoder_heads=2)
    assert max(differences(ours, theirs, normed, SQUARE[:count])) < 1e-5


def test_positions_are_published_ones_whose_columns_come_first():
    table = sincos_columns_first((4, 4), 24)
    torch.testing.assert_close(table[1:], Reference.sincos(4, 24))
    assert not table[0].any()
    rows, columns = sincos_2d((2, 3), 8).chunk(2, dim=1)
    assert torch.equal(sincos_columns_first((2, 3), 8)[1:], torch.cat([columns, rows], dim=1))


def rows_first(model: MAE) -> None:
    model.positions[1:] = sincos_2d(model.grid, 24)


def no_positions_in_the_decoder(model: MAE) -> None:
    model.decoder_positions.zero_()


def pixels_in_patchifys_order(model: MAE) -> None:
    layer = model.decoder_head
    layer.weight.data = layer.weight.data.view(4, 3, -1).transpose(0, 1).flatten(0, 1)


def other_eps(model: MAE) -> None:
    for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
        norm.eps = 1e-5


def mask_token_after_positions(model: MAE) -> None:
    model.mask_token.data += model.decoder_positions[3]


def biased_variance(model: MAE) -> None:
    def targets(images: Tensor) -> Tensor:
        patches = to_patches(images, 2)
        return (patches - patches.mean(2, True)) / (patches.var(2, correction=0, keepdim=True) + 1e-6).sqrt()

    model.targets = targets


def all_patches_judged(model: MAE) -> None:
    model.loss = lambda images, predicted, removed: (predicted - model.targets(images)).square().mean()


@pytest.mark.parametrize(
    "mutate",
    [
        rows_first,
        no_positions_in_the_decoder,
        pixels_in_patchifys_order,
        other_eps,
        mask_token_after_positions,
        biased_variance,
        all_patches_judged,
    ],
)
def test_a_mistake_shows(mutate):
    found = []
    for loud in (False, True):
        theirs = reference(loud)
        ours = load_mae(theirs.state_dict(), True, num_heads=3, decoder_heads=2)
        mutate(ours)
        found += differences(ours, theirs, True)
    assert max(found) > 3e-5, found


# --- published files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "entries", "parameters"), [("B/16", 254, 111_655_680), ("L/16", 398, 329_239_296)])
def test_the_names_are_a_bijection_and_the_sizes_the_published_ones(name, entries, parameters):
    """A published file has `entries` weights; without the two fixed tables they hold so many numbers."""
    with torch.device("meta"):
        model = MAE(preset(name))
    names = {published_name(key, PLAIN) for key in model.state_dict()}
    each = ("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias")
    each += ("norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias")
    stacks = {"blocks": model.config.depth, "decoder_blocks": 8}
    published = {f"{stack}.{n}.{part}" for stack, depth in stacks.items() for n in range(depth) for part in each}
    layers = ("patch_embed.proj", "norm", "decoder_embed", "decoder_norm", "decoder_pred")
    published |= {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    published |= {"cls_token", "mask_token", "pos_embed", "decoder_pos_embed"}
    assert names == published
    assert len(published) == entries
    assert count_parameters(model) == parameters


def test_what_does_not_fit_is_refused_with_its_key():
    weights = dict(reference(True).state_dict())
    read = partial(load_mae, num_heads=3, decoder_heads=2)
    with pytest.raises(ValueError, match="extra has no place in this MAE"):
        read(weights | {"extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"decoder_pred.bias has shape \(11,\), expected \(12,\)"):
        read(weights | {"decoder_pred.bias": torch.zeros(11)})
    with pytest.raises(ValueError, match=r"decoder_blocks.0.attn.qkv.bias is missing"):
        read({key: w for key, w in weights.items() if key != "decoder_blocks.0.attn.qkv.bias"})
    with pytest.raises(ValueError, match=r"the weights hold none of decoder_embed.weight"):
        read(timm.models.VisionTransformer(embed_dim=24, depth=1, num_heads=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 0.0}, "keeps 24 of 24 patches"),
        ({"mask_ratio": 0.97}, "keeps 0 of 24 patches"),
        ({"mask_ratio": 1.0}, r"mask_ratio 1.0 is outside"),
        ({"decoder_dim": 0}, "decoder_dim is 0"),
        ({"patch_size": 5}, "not divisible by patch side 5"),
    ],
)
def test_a_config_without_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_images_of_another_size_are_refused(model):
    with pytest.raises(ValueError, match=r"images are \(8, 8\), the model was built for \(8, 12\)"):
        model(torch.zeros(1, 3, 8, 8))


# --- training and fine-tuning ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_classifier_is_the_encoder_that_sees_everything(model, pool):
    vit = model.classifier(5, pool=pool, drop_path=0.1).eval()
    assert not vit(IMAGES).any()
    assert vit.config.drop_path == 0.1
    whole = MAE(replace(CONFIG, mask_ratio=0.01)).eval()  # 23 of 24
    whole.load_state_dict(model.state_dict())
    if pool == "cls":
        type(whole.config).num_kept, kept = 24, type(whole.config).num_kept
        try:
            expected = whole.encode(IMAGES, torch.arange(24).expand(3, -1))
        finally:
            type(whole.config).num_kept = kept
        torch.testing.assert_close(vit.encode(IMAGES), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        vit.positions.table.add_(1)
    assert not torch.equal(model.positions[-1], vit.positions.table[-1])
    with capture_attention(vit) as maps:
        vit(IMAGES)
    assert rollout(maps).shape == (3, 24 + vit.config.num_prefix, 24 + vit.config.num_prefix)


def test_it_learns_in_the_shared_loop_and_its_encoder_is_fine_tuned_there():
    data = load("digits", quiet=True)
    config = MAEConfig(image_size=8, patch_size=2, in_channels=1, **SMALL | {"depth": 1, "dim": 32, "num_heads": 2})
    histories = []
    for epochs in (2, 2, 8):
        torch.manual_seed(0)
        mae, loss, recipe = MAE(config), masked_patches(), TrainConfig(epochs=epochs, batch_size=64, lr=4e-3)
        histories.append(fit(mae, data, recipe, device=CPU, shown=False, loss=loss, measure=measured(loss)))
    assert histories[0][-1]["loss"] == histories[1][-1]["loss"]  # the seed decides everything
    assert histories[2][-1]["loss"] < 0.95 * histories[2][0]["loss"]
    images = normalise(data.val.images, data.mean, data.std)
    torch.manual_seed(1)
    masked, painted, _ = mae.reconstruct(images)
    assert (painted - images).square().mean() < 0.8 * (masked - images).square().mean()  # than the mean of the set
    vit, train = mae.classifier(10, pool="mean"), Split(data.train.images[:100], data.train.labels[:100])
    fit(vit, data, TrainConfig(epochs=30, batch_size=20, lr=4e-3), train=train, device=CPU, shown=False)
    assert evaluate(vit, data.val, data).accuracy > 0.3


# --- transformers, where it is installed ------------------------------------------------------------------------------


@torch.no_grad()
def test_the_reference_is_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        **{"image_size": 8, "patch_size": 2, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3},
        **{"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2},
        **{"intermediate_size": 96, "decoder_intermediate_size": 64, "layer_norm_eps": 1e-6, "norm_pix_loss": True},
    )
    theirs, plain = transformers.ViTMAEForPreTraining(config).eval(), reference(True)
    weights, renamed = plain.state_dict(), {}
    table = {
        r"patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        r"pos_embed": "vit.embeddings.position_embeddings",
        r"cls_token": "vit.embeddings.cls_token",
    }
    for key, value in weights.items():
        if key in ("mask_token",) or key.startswith("decoder_"):
            key = f"decoder.{key}".replace("decoder_blocks", "decoder_layers")
        else:
            for old, new in table.items():
                key = key.replace(old, new) if key.startswith(old) else key
            key = key.replace("blocks.", "vit.layers.") if key.startswith("blocks") else key
            key = key.replace("norm.", "vit.layernorm.") if key.startswith("norm.") else key
        for old, new in {
            "attn.proj": "attention.o_proj", "norm1": "layernorm_before", "norm2": "layernorm_after",
        }.items():  # fmt: skip
            key = key.replace(old, new)
        if "attn.qkv" in key:
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                renamed[key.replace("attn.qkv", f"attention.{part}_proj")] = rows
        else:
            renamed[key] = value
    theirs.load_state_dict(renamed)
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(2))
    found, (predicted, mask, loss) = theirs(SQUARE, noise=noise), plain(SQUARE, noise, True)
    torch.testing.assert_close(found.logits, predicted, atol=1e-5, rtol=0)
    assert torch.equal(found.mask.bool(), mask)
    torch.testing.assert_close(found.loss, loss, atol=1e-5, rtol=0)
