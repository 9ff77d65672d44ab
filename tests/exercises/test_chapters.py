"""Every exercise of the registry: the reference passes, every known mistake is caught and named."""

import copy
import itertools
import math
import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from sklearn.linear_model import Ridge
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vitedu.exercises import check
from vitedu.exercises.exercise import CHAPTERS, all_exercises, chapter_exercises
from vitedu.models.hybrid import HybridViT, small_stem
from vitedu.models.window_attention import partition, reverse, shift_mask
from vitedu.train import TrainConfig, recipe
from vitedu.vit import ViT

EXERCISES = list(all_exercises().values())
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.id for exercise in EXERCISES])
every_mistake = pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=[f"{exercise.id}-{mistake.hint[:30]}" for exercise, mistake in MISTAKES]
)


@pytest.fixture
def line(capsys):
    """What `check` prints."""

    def run(exercise_id, answer):
        check(exercise_id, answer)
        return capsys.readouterr().out

    return run


@every_exercise
def test_the_reference_passes(exercise, line):
    assert re.fullmatch(rf"Exercise {exercise.id}: passed \(\d+ checks\)\n", line(exercise.id, exercise.reference))


@every_exercise
def test_a_stub_is_not_attempted_yet(exercise, line):
    def stub(*args):
        raise NotImplementedError

    assert line(exercise.id, stub) == f"Exercise {exercise.id}: not attempted yet\n"


@every_mistake
def test_every_mistake_is_caught_and_named(exercise, mistake, line):
    """By its own hint, not by that of another mistake, in one line, the same one twice."""
    first, second = line(exercise.id, mistake.answer), line(exercise.id, mistake.answer)
    assert first.startswith(f"Exercise {exercise.id}: not yet: ")
    assert first.endswith(f"; likely slip: {mistake.hint}\n")
    assert first.count("\n") == 1
    assert first == second


@every_mistake
def test_every_mistake_returns_something(exercise, mistake):
    """One that always raises would be taken for any other answer that raises."""
    returned = []
    for case in exercise.cases():
        try:
            returned.append(mistake.answer(*case.args))
        except Exception:
            continue
    assert returned


@every_exercise
def test_at_least_three_mistakes_with_different_hints(exercise):
    hints = {mistake.hint for mistake in exercise.mistakes}
    assert len(hints) == len(exercise.mistakes) >= 3


@every_exercise
def test_hints_are_phrases_that_end_the_line(exercise):
    for mistake in exercise.mistakes:
        assert mistake.hint == mistake.hint.strip()
        assert not mistake.hint.endswith(".")
        assert "  " not in mistake.hint


@every_exercise
def test_the_inputs_are_the_same_at_every_call(exercise):
    """Messages quote them, so they may not depend on the random state."""
    torch.manual_seed(1)
    first = [*itertools.chain(*exercise.labelled_cases())]
    torch.manual_seed(2)
    second = [*itertools.chain(*exercise.labelled_cases())]
    for one, other in zip(first, second, strict=True):
        assert one.label == other.label
        for a, b in zip(one.args, other.args, strict=True):
            assert not isinstance(a, torch.Tensor) or torch.equal(a, b)


@every_exercise
def test_images_come_in_all_kinds(exercise):
    """Square and not, one and several, three channels and another number, float32 and float64."""
    cases = exercise.cases()
    if any("square" in case.traits for case in cases):
        for trait in ("square", "B = 1", "C = 3"):
            assert {trait in case.traits for case in cases} == {True, False}
        assert {case.args[0].dtype for case in cases} == {torch.float32, torch.float64}


def test_ids_are_chapter_and_number_in_order():
    for chapter in CHAPTERS:
        exercises = chapter_exercises(chapter)
        assert list(exercises) == [f"{chapter}.{number}" for number in range(1, len(exercises) + 1)]
        assert all(key == exercise.id for key, exercise in exercises.items())


# Answers as readers may write them, beside the references: other routes to the same result have to pass too. ----------


def unpatchify_with_loops(tokens, patch, height, width):
    batch, _, size = tokens.shape
    image = tokens.new_zeros(batch, size // patch**2, height, width)
    for index in range(tokens.shape[1]):
        row, column = divmod(index, width // patch)
        top, left = row * patch, column * patch
        image[:, :, top : top + patch, left : left + patch] = tokens[:, index].view(batch, -1, patch, patch)
    return image


def unpatchify_with_fold(tokens, patch, height, width):
    return F.fold(tokens.transpose(1, 2), (height, width), patch, stride=patch)


def pad_with_zeros(images, patch):
    batch, channels, height, width = images.shape
    rows, columns = -(-height // patch) * patch, -(-width // patch) * patch
    padded = torch.zeros(batch, channels, rows, columns, dtype=images.dtype)
    padded[..., :height, :width] = images
    return padded


def patches_with_loops(images, patch, stride):
    height, width = images.shape[-2:]
    tokens = []
    for top in range(0, height - patch + 1, stride):
        for left in range(0, width - patch + 1, stride):
            tokens.append(images[:, :, top : top + patch, left : left + patch].flatten(1))
    return torch.stack(tokens, 1)


def notices_by_the_equation(cut):
    B, C, H, W, P = 2, 3, 8, 12, 4
    images = torch.arange(B * C * H * W).view(B, C, H, W)
    tokens = cut(images, P)
    if tokens.shape != (B, H * W // P**2, C * P * P):
        return False
    for b, k, y, x in itertools.product(range(B), range(C), range(H), range(W)):
        n, place = y // P * (W // P) + x // P, (k * P + y % P) * P + x % P
        if tokens[b, n, place] != images[b, k, y, x]:
            return False
    return True


def notices_with_random_numbers(cut):
    for shape, P in (((2, 3, 6, 9), 3), ((3, 2, 4, 2), 2)):
        images = torch.rand(shape)
        tokens = cut(images, P)
        right = patches_with_loops(images, P, P)
        if tokens.shape != right.shape or (tokens - right).abs().max() > 1e-6:
            return False
    return True


def count_in_one_line(height, width, patch):
    if height % patch or width % patch:
        raise ValueError("does not divide")
    return height * width // patch**2


def box_with_modulo(index, width, patch):
    across = width // patch
    top, left = index // across * patch, index % across * patch
    return top, left, top + patch, left + patch


def loss_by_hand(logits, labels, smoothing):
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)
    true = log_p.gather(1, labels[:, None]).squeeze(1)
    return -((1 - smoothing) * true + smoothing * log_p.mean(dim=1)).mean()


def read_by_torch(x, W, U, b):
    state = x.new_zeros(len(x), len(U))
    for item in x.unbind(dim=1):
        state = torch.rnn_tanh_cell(item, state, W, U, b, torch.zeros_like(b))
    return state


def read_in_one_product(x, W, U, b):
    h = torch.zeros(len(x), len(U), dtype=x.dtype)
    for t in range(x.shape[1]):
        h = torch.tanh(torch.cat([x[:, t], h], dim=1) @ torch.cat([W, U], dim=1).T + b)
    return h


def layers_by_recursion(N, k, dilated, seen=1):
    return 0 if seen >= N else 1 + layers_by_recursion(N, k, dilated, seen * k if dilated else seen + k - 1)


def layers_by_formula(N, k, dilated):
    return next(n for n in range(N) if k**n >= N) if dilated else -(-(N - 1) // (k - 1))


def bias_by_logit(steps):
    return torch.logit(torch.tensor(0.5, dtype=torch.float64) ** (1 / steps)).item()


def bias_without_a_gate(steps):
    return -math.log(2 ** (1 / steps) - 1)


def gru_with_sliced_gates(x, h, W, U, b, c):
    D = h.shape[1]
    from_x, from_h = F.linear(x, W, b), F.linear(h, U, c)
    r, z = torch.sigmoid(from_x[:, : 2 * D] + from_h[:, : 2 * D]).chunk(2, dim=1)
    n = torch.tanh(from_x[:, 2 * D :] + r * from_h[:, 2 * D :])
    return n + z * (h - n)


def clip_as_torch_does(grad_U, grad_b, max_norm):
    parameters = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in (grad_U, grad_b)]
    for parameter, grad in zip(parameters, (grad_U, grad_b), strict=True):
        parameter.grad = grad.clone()
    torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    return [parameter.grad for parameter in parameters]


def additive_with_loops(q, k, v, W, U, w):
    outputs = torch.empty(*q.shape[:2], v.shape[2], dtype=v.dtype)
    for b, n in itertools.product(range(q.shape[0]), range(q.shape[1])):
        scores = torch.stack([w @ torch.tanh(W @ q[b, n] + U @ key) for key in k[b]])
        outputs[b, n] = scores.softmax(dim=0) @ v[b]
    return outputs


def attention_by_exponentials(x, W_q, W_k, W_v):
    outputs = []
    for tokens in x:
        q, k, v = tokens @ W_q, tokens @ W_k, tokens @ W_v
        scores = torch.einsum("nd,sd->ns", q, k) * q.shape[1] ** -0.5
        exps = (scores - scores.max()).exp()
        outputs.append(exps / exps.sum(dim=1, keepdim=True) @ v)
    return torch.stack(outputs)


def fused_attention(x, W_q, W_k, W_v):
    return F.scaled_dot_product_attention(x @ W_q, x @ W_k, x @ W_v)


def mask_token_by_token(texts):
    mask = torch.zeros(*texts.shape, texts.shape[1], dtype=torch.bool)
    for b, row in enumerate(texts.tolist()):
        for n, text in enumerate(row):
            mask[b, n, : n + 1] = torch.tensor([text >= 0 and other == text for other in row[: n + 1]])
    return mask


def softmax_with_a_low_number_then_mask(scores, mask):
    return scores.masked_fill(~mask, -1e30).softmax(dim=-1) * mask


def softmax_by_hand(scores, mask):
    hidden = torch.where(mask, scores, -math.inf)
    top = hidden.amax(dim=-1, keepdim=True)
    exps = (hidden - top.masked_fill(top.isinf(), 0.0)).exp()
    total = exps.sum(dim=-1, keepdim=True)
    return exps / total.masked_fill(total == 0, 1.0)


def scores_by_einsum(q, k, W, U, w):
    pairs = F.linear(q, W).unsqueeze(2) + F.linear(k, U).unsqueeze(1)
    return torch.einsum("bnsh,h->bns", pairs.tanh(), w)


def shares_by_regression(weights):
    variance = torch.einsum("...n,...n->...", weights, weights)
    return torch.ones_like(weights) - torch.einsum("...n,...n,...->...n", weights, weights, 1 / variance)


def factor_by_logarithms(scores, nats):
    found = []
    for row in scores.double():
        low, high = -30.0, 30.0  # logarithms
        for _ in range(100):
            middle = (low + high) / 2
            a = (math.exp(middle) * row).softmax(dim=0)
            entropy = -(a * (a + 1e-300).log()).sum().item()
            low, high = (middle, high) if entropy > nats else (low, middle)
        found.append(math.exp(low))
    return torch.tensor(found, dtype=scores.dtype)


def chunks_joined_by_logsumexp(q, k, v, size):
    outputs, logs = [], []
    for keys, values in zip(k.split(size), v.split(size), strict=True):
        scores = q @ keys.T / math.sqrt(q.shape[1])
        outputs.append(scores.softmax(dim=1) @ values)
        logs.append(scores.logsumexp(dim=1))
    return (torch.stack(logs).softmax(dim=0)[..., None] * torch.stack(outputs)).sum(dim=0)


def parameters_of_two_layers(dim, num_heads, kv_heads):
    width = dim // num_heads * kv_heads
    layers = [torch.nn.Linear(dim, out) for out in (dim, width, width, dim)]
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters())


def seen_one_change_at_a_time(score, tokens, symbols):
    before = score(tokens)
    table = []
    for n in range(tokens.shape[1]):
        row = []
        for m in range(tokens.shape[1]):
            other = tokens + torch.eye(tokens.shape[1], dtype=torch.int64)[m]
            row.append(not torch.allclose(score(other % symbols)[:, n], before[:, n]))
        table.append(row)
    return torch.tensor(table)


def heads_by_slices(q, k, v, num_heads):
    d, heads = q.shape[-1] // num_heads, []
    for i in range(num_heads):
        part = slice(i * d, (i + 1) * d)
        weights = (q[..., part] @ k[..., part].mT / math.sqrt(d)).softmax(dim=-1)
        heads.append(weights @ v[..., part])
    return torch.cat(heads, dim=-1)


def heads_of_torch(q, k, v, num_heads):
    D = q.shape[-1]
    layer = torch.nn.MultiheadAttention(D, num_heads, bias=False, batch_first=True, dtype=q.dtype)
    layer.in_proj_weight.data = torch.eye(D, dtype=q.dtype).repeat(3, 1)
    layer.out_proj.weight.data = torch.eye(D, dtype=q.dtype)
    return layer(q, k, v)[0]


def writing_by_products(count, dim, keep):
    total = 0
    for n in range(1, count + 1):
        rows = 1 if keep else n
        products = [(rows, dim, dim)] * 4 + [(rows, dim, n), (rows, n, dim), (rows, dim, 4 * dim), (rows, 4 * dim, dim)]
        total += sum(2 * a * b * c for a, b, c in products)
    return total


def beam_from_the_best(score, start, length, width):
    kept = {(start,): 0.0}
    for _ in range(length):
        longer = {}
        for text, total in kept.items():
            for symbol, gain in enumerate(score(torch.tensor([text]))[0, -1].softmax(0).log().tolist()):
                longer[(*text, symbol)] = total + gain
        kept = dict(sorted(longer.items(), key=lambda item: -item[1])[:width])
    return torch.tensor(next(iter(kept))[1:])


def mirror_on_a_parabola(count):
    n = torch.arange(count, dtype=torch.float64)
    keys = torch.stack([n, -n * n], dim=1)
    return 50 * torch.stack([2 * n.flip(0), torch.ones_like(n)], dim=1), keys


def mirror_on_half_a_circle(count):
    angles = math.pi * torch.arange(count) / count
    keys = torch.stack([angles.cos(), angles.sin()], dim=1)
    return 1e5 * keys.flip(0), keys


def interval_in_closed_form(kernels, strides, paddings, place):
    steps = [math.prod(strides[:n]) for n in range(len(kernels) + 1)]
    first = place * steps[-1] - sum(padding * step for padding, step in zip(paddings, steps, strict=False))
    return first, first + sum((kernel - 1) * step for kernel, step in zip(kernels, steps, strict=False))


def interval_of_a_set(kernels, strides, paddings, place):
    seen = {place}
    for kernel, stride, padding in list(zip(kernels, strides, paddings, strict=True))[::-1]:
        seen = {n * stride - padding + i for n in seen for i in range(kernel)}
    return min(seen), max(seen)


def dense_by_asking_the_convolution(weight, groups):
    rim = weight.shape[-1] - 1
    one_hot = F.pad(torch.eye(weight.shape[1] * groups, dtype=weight.dtype)[:, :, None, None], [rim] * 4)
    return F.conv2d(one_hot, weight, groups=groups).transpose(0, 1).flip(2, 3)


def dense_by_einsum(weight, groups):
    blocks = weight.unflatten(0, (groups, -1))
    dense = torch.einsum("gockl,gh->gohckl", blocks, torch.eye(groups, dtype=weight.dtype))
    return dense.flatten(0, 1).flatten(1, 2)


def blur_by_rolling(x):
    largest = torch.stack([x.roll((-i, -j), (2, 3)) for i in (0, 1) for j in (0, 1)]).amax(dim=0)
    for axis in (2, 3):
        largest = (largest.roll(1, axis) + 2 * largest + largest.roll(-1, axis)) / 4
    return largest[:, :, ::2, ::2]


def gates_by_convolutions(x, w1, w2):
    hidden = F.conv2d(F.adaptive_avg_pool2d(x, 1), w1[:, :, None, None]).clamp(min=0)
    return x * torch.sigmoid(F.conv2d(hidden, w2[:, :, None, None]))


def iou_of_torchvision(a, b):
    corners = [torchvision.ops.box_convert(boxes, "cxcywh", "xyxy") for boxes in (a, b)]
    return torchvision.ops.box_iou(*corners)


def iou_axis_by_axis(a, b):
    a = a[:, None]
    shared = []
    for i in (0, 1):
        high = torch.minimum(a[..., i] + a[..., i + 2] / 2, b[:, i] + b[:, i + 2] / 2)
        low = torch.maximum(a[..., i] - a[..., i + 2] / 2, b[:, i] - b[:, i + 2] / 2)
        shared.append((high - low).relu())
    both = shared[0] * shared[1]
    return both / (a[..., 2] * a[..., 3] + b[:, 2] * b[:, 3] - both)


def heads_by_rows_and_columns(images, weight, alpha):
    def look(count, offset):  # the scores add up, so the softmax over the plane is one over rows times one over columns
        place = torch.arange(count + 2, dtype=images.dtype)
        return (-alpha * (place - place[1:-1, None] - offset) ** 2).softmax(dim=1)

    padded, total = F.pad(images, (1, 1, 1, 1)), 0
    for i, j in itertools.product(range(3), range(3)):
        rows, columns = look(images.shape[2], i - 1), look(images.shape[3], j - 1)
        total = total + torch.einsum("bcrs,hr,ws,oc->bohw", padded, rows, columns, weight[:, :, i, j])
    return total


def split_by_name(model):
    decay, no_decay = [], []
    for name, parameter in model.named_parameters():
        is_matrix = name.endswith("weight") and "norm" not in name
        (decay if is_matrix else no_decay).append(parameter)
    return decay, no_decay


def training_macs_by_products(image_side, patch_side, dim, depth):
    N = len(range(0, image_side, patch_side)) ** 2
    products = [*4 * [(N, dim, dim)], (N, dim, N), (N, N, dim), (N, dim, 4 * dim), (N, 4 * dim, dim)]
    there = sum(n * m * k for n, m, k in products)
    back = sum(n * k * m + m * n * k for n, m, k in products)
    return depth * (there + back)


def training_macs_by_torch(image_side, patch_side, dim, depth):
    """One block without norms and softmax, whose products torch counts on the way there and back."""
    N = (image_side // patch_side) ** 2
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x = torch.zeros(1, N, dim, requires_grad=True)
        q, k, v = (nn.Linear(dim, dim)(x) for _ in range(3))
        mixed = nn.Linear(dim, dim)(q @ k.mT @ v)
        nn.Linear(4 * dim, dim)(nn.Linear(dim, 4 * dim)(mixed)).sum().backward()
    return depth * counter.get_total_flops() // 2


def trained_by_hand(build, images, labels, steps, batch, lr):
    model = build()
    for step in range(steps):
        model.zero_grad()
        rows = [(step * batch + i) % len(images) for i in range(batch)]
        F.cross_entropy(model(images[rows]), labels[rows]).backward()
        for parameter in model.parameters():
            parameter.data -= lr * parameter.grad
    return model(images)


def trained_with_an_optimiser_for_each_step(build, images, labels, steps, batch, lr):
    model = build()
    order = torch.arange(steps * batch) % len(images)
    for rows in order.split(batch):
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        optimizer.zero_grad()
        F.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    return model(images).detach()


def entry_smaller_and_faster(data):
    config, settings = recipe(data, model={"depth": 2}, train={"batch_size": 256, "lr": 3e-3})
    return ViT(config), settings


def entry_with_the_books_model_at_another_rate(data):
    config, settings = recipe(data, train={"lr": 1e-3})
    return [ViT(config).double().float(), settings]


def entry_with_the_hybrid(data):
    config, settings = recipe(data, model={"depth": 2}, augment={"flip": data.flip})
    return HybridViT(config, small_stem(config.image_size, config.in_channels)), settings


def entry_with_a_cnn(data):
    """Momentum, mixtures and dropout, a constant rate and averaged weights."""
    C, K = data.train.images.shape[1], len(data.class_names)
    net = nn.Sequential(nn.Conv2d(C, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
    config = TrainConfig(optimizer="sgd", lr=0.05, schedule="constant", mixup=0.2, cutmix=1.0, ema=0.99, batch_size=512)
    return net.extend([nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, K)]), config


def entry_with_a_class_of_its_own(data):
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.vit = ViT(recipe(data, model={"zero_head": True})[0])

        def forward(self, images):
            return self.vit(images).log_softmax(dim=1)  # harmless: the loss takes it once more, and it stays the same

    return Patches(), TrainConfig(lr=2e-3, accumulate=2, warmup=0.3, epochs=100)


def embedding_counted_by_torch(height, width, channels, patch, dim):
    projection = torch.nn.Conv2d(channels, dim, patch, stride=patch)
    tokens = 1 + F.unfold(torch.zeros(1, 1, height, width), patch, stride=patch).shape[-1]
    return sum(parameter.numel() for parameter in projection.parameters()) + dim + tokens * dim


def matrix_by_asking_the_convolution(weight):
    rows = weight[0].numel()
    one_hot = torch.eye(rows, dtype=weight.dtype).view(rows, *weight.shape[1:])
    return F.conv2d(one_hot, weight, stride=weight.shape[-1]).flatten(1)


def embedding_patch_by_patch(images, weight, bias, cls_token, positions):
    P, rows = weight.shape[-1], [cls_token.expand(len(images), -1, -1) + positions[0]]
    kernels = weight.flatten(1)
    for top in range(0, images.shape[2], P):
        for left in range(0, images.shape[3], P):
            patch = images[:, :, top : top + P, left : left + P].flatten(1)
            rows.append((patch @ kernels.T + bias + positions[len(rows)])[:, None])
    return torch.cat(rows, dim=1)


def positions_by_index(rows, columns):
    place = torch.arange(len(rows) * len(columns))
    return torch.cat([rows[place // len(columns)], columns[place % len(columns)]], dim=-1)


def table_by_projection(table, grid):
    h, w = grid
    of_row = torch.eye(h, dtype=table.dtype).repeat_interleave(w, 0)
    of_column = torch.eye(w, dtype=table.dtype).repeat(h, 1)
    basis = torch.cat([of_row, of_column], dim=1)
    return torch.cat([table[:1], basis @ torch.linalg.pinv(basis) @ table[1:]])


def table_in_two_steps(table, grid):
    rest = table[1:].unflatten(0, grid)
    rows = rest.mean(dim=1, keepdim=True)
    fitted = rows + (rest - rows).mean(dim=0, keepdim=True)
    return torch.cat([table[:1], fitted.flatten(0, 1)])


def rms_as_a_product(x, gain, eps):
    return torch.einsum("bnd,d,bn->bnd", x, gain, (torch.einsum("bnd,bnd->bn", x, x) / x.shape[-1] + eps).rsqrt())


def gelu_slope_by_normal(x):
    normal = torch.distributions.Normal(torch.zeros((), dtype=x.dtype), 1)
    return normal.cdf(x) + x * normal.log_prob(x).exp()


def lengths_by_right_angles(first, added):
    """The branches written as vectors along axes of their own."""
    steps = torch.diag(torch.cat([torch.tensor([first]).to(added), added]))
    return steps.cumsum(dim=0).norm(dim=1)


def branch_image_by_image(x, branch, keep, rate, training):
    out = x.clone()
    for image in range(len(x)):
        if not training:
            out[image] += branch[image]
        elif keep[image]:
            out[image] += branch[image] / (1 - rate)
    return out


def branch_by_where(x, branch, keep, rate, training):
    return x + torch.where(keep.view(-1, 1, 1), branch / (1 - rate), 0.0) if training else x + branch


def both_branches_summed(x, norm, attention, mlp):
    return torch.stack([x, *(branch(norm(x)) for branch in (attention, mlp))]).sum(0)


def weights_by_rows(layer):
    found, D = {}, layer.self_attn.embed_dim
    for kind in ("weight", "bias"):
        stacked = getattr(layer.self_attn, f"in_proj_{kind}").detach()
        for row, part in enumerate("qkv"):
            found[f"attention.{part}_proj.{kind}"] = stacked[row * D : (row + 1) * D].clone()
        pairs = {"attention.out_proj": layer.self_attn.out_proj, "mlp.fc1": layer.linear1, "mlp.fc2": layer.linear2}
        pairs |= {"norm1": layer.norm1, "norm2": layer.norm2}
        found |= {f"{name}.{kind}": getattr(module, kind) for name, module in pairs.items()}
    return found


def vit_counted_token_by_token(patches, patch_numbers, dim, depth, classes):
    positions = sum(dim for _ in range(patches + 1))
    linear = [(patch_numbers, dim), (dim, classes)] + depth * [*4 * [(dim, dim)], (dim, 4 * dim), (4 * dim, dim)]
    return positions + dim + sum((n + 1) * m for n, m in linear) + (2 * depth + 1) * 2 * dim


def model_found_by_counting(count, patches, patch_numbers, classes):
    sizes = itertools.product(range(64, 2049, 64), range(1, 49))
    found = (size for size in sizes if vit_counted_token_by_token(patches, patch_numbers, *size, classes) == count)
    return next(found)


def scores_of_all_tokens_then_cls(tokens, gain, shift, weight, bias):
    mean, variance = tokens.mean(2, keepdim=True), tokens.var(2, keepdim=True, correction=0)
    normed = (tokens - mean) * torch.rsqrt(variance + 1e-6) * gain + shift
    return torch.einsum("bnd,kd->bnk", normed, weight)[:, 0] + bias


def vit_priced_by_products(patches, patch_numbers, dim, depth, classes):
    N = patches + 1
    block = [*4 * [(N, dim, dim)], (N, dim, N), (N, N, dim), (N, dim, 4 * dim), (N, 4 * dim, dim)]
    products = [(patches, patch_numbers, dim), (1, dim, classes), *depth * block]
    return sum(n * m * k for n, m, k in products)


def side_by_products(budget, patch, dim, depth, classes):
    sides = itertools.count(patch, patch)
    prices = (vit_priced_by_products((S // patch) ** 2, 3 * patch**2, dim, depth, classes) for S in sides)
    return patch * sum(1 for _ in itertools.takewhile(lambda price: price <= budget, prices))


def batch_by_trying(memory, parameters, tokens, dim, depth):
    batch = 0
    while 4 * (4 * parameters + (batch + 1) * 16 * tokens * dim * depth) <= memory:
        batch += 1
    return batch


def maps_head_by_head_without_the_keys_bias(tokens, in_proj_weight, in_proj_bias, num_heads):
    """A key's bias adds the same to all scores of a query, so the softmax does not see it."""
    D = tokens.shape[-1]
    d, maps = D // num_heads, []
    for i in range(num_heads):
        rows, keys = slice(i * d, (i + 1) * d), slice(D + i * d, D + (i + 1) * d)
        q = F.linear(tokens, in_proj_weight[rows], in_proj_bias[rows])
        scores = torch.einsum("bnd,bmd->bnm", q, tokens @ in_proj_weight[keys].T) / math.sqrt(d)
        maps.append((scores - scores.logsumexp(-1, keepdim=True)).exp())
    return torch.stack(maps, dim=1)


def class_picture_by_what_cls_keeps(attention, rows, columns):
    return (attention[:, :, 0, 1:] / (1 - attention[:, :, 0, :1])).unflatten(-1, (rows, columns))


def fused_maps_in_one_go(x, weight, bias, heads):
    q, k, _ = F.linear(x, weight, bias).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return (q @ k.transpose(-1, -2)).div(q.shape[-1] ** 0.5).softmax(-1)


def own_share_by_multiplying(tokens, layers, residual):
    step = residual * torch.eye(tokens).double() + (1 - residual) / tokens
    return torch.linalg.matrix_power(step, layers)[0, 0].item()


def erased_one_by_one(images, pictures, share):
    images, P = images.clone(), images.shape[2] // pictures.shape[1]
    for image, picture in zip(images, pictures, strict=True):
        for n in picture.flatten().topk(int(share * picture.numel())).indices.tolist():
            row, column = divmod(n, picture.shape[1])
            image[:, row * P : row * P + P, column * P : column * P + P] = 0
    return images


def overlap_above_the_last_that_fits(pictures, masks):
    scores = []
    for picture, mask in zip(pictures, masks, strict=True):
        region = picture >= picture.flatten().topk(int(mask.sum())).values[-1]
        scores.append((region & mask).sum() / (region | mask).sum())
    return torch.stack(scores)


def windows_one_by_one(x, attend, M):
    B, H, W, C = x.shape
    down, across = -(-H // M), -(-W // M)
    padded = x.new_zeros(B, down * M, across * M, C)
    padded[:, :H, :W] = x
    places = [(slice(r * M, r * M + M), slice(c * M, c * M + M)) for r in range(down) for c in range(across)]
    windows = attend(torch.stack([padded[:, rows, columns].flatten(1, 2) for rows, columns in places], dim=1))
    result = torch.zeros_like(padded)
    for n, (rows, columns) in enumerate(places):
        result[:, rows, columns] = windows[:, n].view(B, M, M, C)
    return result[:, :H, :W]


def index_with_loops(rows, columns):
    places = [(r, c) for r in range(rows) for c in range(columns)]
    table = [[(q[0] - k[0] + rows - 1) * (2 * columns - 1) + q[1] - k[1] for k in places] for q in places]
    return torch.tensor(table) + columns - 1


def index_by_meshgrid(rows, columns):
    places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")).flatten(1)
    difference = places[:, :, None] - places[:, None]
    return (difference[0] + rows - 1) * (2 * columns - 1) + difference[1] + columns - 1


def shift_by_index(x, attend, M, s):
    H, W = x.shape[1:3]
    rows, columns = (torch.arange(H) + s) % H, (torch.arange(W) + s) % W
    windows = attend(partition(x[:, rows][:, :, columns], M), shift_mask((H, W), M, (s, s)))
    return reverse(windows, M, W)[:, (torch.arange(H) - s) % H][:, :, (torch.arange(W) - s) % W]


def iou_by_sets(scores, masks):
    said, true = (set(map(tuple, where.nonzero().tolist())) for where in (scores > 0, masks))
    return len(said & true) / len(said | true)


def mask_by_three_slices(H, W, M, s):
    """As the published code numbers the pieces."""
    numbers, number = torch.zeros(1, H, W, 1), 0
    cuts = (slice(0, -M), slice(-M, -s if s else None), slice(-s, None) if s else slice(0, 0))
    for rows in cuts:
        for columns in cuts:
            numbers[:, rows, columns] = number
            number += 1
    pieces = partition(numbers, M)[0, :, :, 0]
    return pieces[:, None] == pieces[:, :, None]


def mask_by_distance(H, W, M, s):
    """Tokens of a window belong together if they lay less than a window apart before the roll."""
    rows, columns = ((torch.arange(side) + s) % side for side in (H, W))
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)  # (H, W, 2): where each came from
    places = partition(places[None], M)[0]  # (windows, M·M, 2)
    near = (places[:, :, None] - places[:, None]).abs()
    alone = torch.tensor([H == M, W == M])  # of one window along an axis, order tells: what came around lies before
    before = places[:, :, None] < torch.tensor([s, s])
    same = before == before.transpose(1, 2)
    return ((near < M) & (same | ~alone)).all(dim=-1)


def restricted_by_masking(scores, labels, columns):
    masked = torch.full_like(scores, -torch.inf)
    masked[:, columns] = scores[:, columns]
    return sum((masked.argmax(1) == labels).tolist()) / len(labels)


def wrongest_by_sorting_a_list(scores, labels, n):
    shares = scores.softmax(dim=1)
    found = [(-row.max().item(), place) for place, row in enumerate(shares) if row.argmax() != labels[place]]
    return torch.tensor([place for _, place in sorted(found)[:n]])


def ridge_by_a_column_of_ones(x, labels, queries, classes, penalty):
    """With a penalty for all but that column."""
    targets = (2.0 * F.one_hot(labels, classes) - 1).to(x.dtype)
    held = penalty * torch.eye(x.shape[1] + 1, dtype=x.dtype)
    held[-1, -1] = 0
    X, Q = (F.pad(part, (0, 1), value=1.0) for part in (x, queries))
    return Q @ torch.linalg.solve(X.T @ X + held, X.T @ targets)


def ridge_of_scikit_learn(x, labels, queries, classes, penalty):
    model = Ridge(alpha=penalty).fit(x.double(), 2.0 * F.one_hot(labels, classes).double() - 1)
    return torch.from_numpy(model.predict(queries.double())).to(x.dtype)


def accuracy_with_a_copy(model, images, labels, mean, std):
    copied = copy.deepcopy(model).eval()
    x = (images.double() / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        return (copied(x.float()).max(dim=1).indices == labels).double().mean().item()


def standardise_with_a_loop(train, other):
    columns = [
        (other[:, d] - train[:, d].mean()) / max(train[:, d].var(unbiased=False).sqrt().item(), 1e-6)
        for d in range(train.shape[1])
    ]
    return torch.stack(columns, dim=1)


def rates_by_patterns(names, depth, lr, decay):
    def power(name):
        if found := re.search(r"blocks\.(\d+)\.", name):
            return depth - int(found[1])
        return 0 if "head" in name or name.startswith("encoder.norm") else depth + 1

    return tuple(lr * decay ** power(name) for name in names)


ONE_MODEL = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))  # built outside the function that returns it


OTHER_ROUTES = {
    "1.1": [read_by_torch, read_in_one_product],
    "1.2": [layers_by_recursion, layers_by_formula],
    "1.3": [bias_by_logit, bias_without_a_gate],
    "1.4": [torch.gru_cell, gru_with_sliced_gates],
    "1.5": [clip_as_torch_does],
    "1.6": [additive_with_loops],
    "2.1": [attention_by_exponentials, fused_attention],
    "2.2": [mask_token_by_token],
    "2.3": [softmax_with_a_low_number_then_mask, softmax_by_hand],
    "2.4": [shares_by_regression],
    "2.5": [factor_by_logarithms],
    "2.6": [chunks_joined_by_logsumexp],
    "3.1": [parameters_of_two_layers],
    "3.2": [seen_one_change_at_a_time],
    "3.3": [heads_by_slices, heads_of_torch],
    "3.4": [writing_by_products],
    "3.5": [beam_from_the_best],
    "3.6": [mirror_on_a_parabola, mirror_on_half_a_circle],
    "4.1": [interval_in_closed_form, interval_of_a_set],
    "4.2": [dense_by_asking_the_convolution, dense_by_einsum],
    "4.3": [blur_by_rolling],
    "4.4": [gates_by_convolutions],
    "4.5": [heads_by_rows_and_columns],
    "5.1": [count_in_one_line],
    "5.2": [unpatchify_with_loops, unpatchify_with_fold],
    "5.3": [box_with_modulo],
    "5.4": [pad_with_zeros],
    "5.5": [patches_with_loops],
    "5.6": [notices_by_the_equation, notices_with_random_numbers],
    "6.1": [embedding_counted_by_torch],
    "6.2": [matrix_by_asking_the_convolution],
    "6.3": [embedding_patch_by_patch],
    "6.4": [positions_by_index],
    "6.5": [table_by_projection, table_in_two_steps],
    "7.1": [rms_as_a_product],
    "7.2": [gelu_slope_by_normal],
    "7.3": [lengths_by_right_angles],
    "7.4": [branch_image_by_image, branch_by_where],
    "7.5": [both_branches_summed],
    "7.6": [weights_by_rows],
    "8.1": [model_found_by_counting],
    "8.2": [scores_of_all_tokens_then_cls],
    "8.3": [side_by_products],
    "8.4": [batch_by_trying],
    "8.5": [maps_head_by_head_without_the_keys_bias],
    "9.2": [loss_by_hand],
    "9.3": [split_by_name],
    "9.4": [training_macs_by_products, training_macs_by_torch],
    "9.5": [trained_by_hand, trained_with_an_optimiser_for_each_step],
    "9.6": [
        entry_smaller_and_faster,
        entry_with_the_books_model_at_another_rate,
        entry_with_the_hybrid,
        entry_with_a_cnn,
        entry_with_a_class_of_its_own,
    ],
    "10.1": [class_picture_by_what_cls_keeps],
    "10.2": [fused_maps_in_one_go],
    "10.3": [own_share_by_multiplying],
    "10.4": [erased_one_by_one],
    "10.6": [overlap_above_the_last_that_fits],
    "13.1": [windows_one_by_one],
    "13.2": [index_with_loops, index_by_meshgrid],
    "13.3": [shift_by_index],
    "13.4": [iou_of_torchvision, iou_axis_by_axis],
    "13.5": [iou_by_sets],
    "13.6": [mask_by_three_slices, mask_by_distance],
    "14.1": [restricted_by_masking],
    "14.2": [wrongest_by_sorting_a_list],
    "14.3": [ridge_by_a_column_of_ones, ridge_of_scikit_learn],
    "14.4": [accuracy_with_a_copy],
    "14.5": [standardise_with_a_loop],
    "14.6": [rates_by_patterns],
}


@pytest.mark.parametrize(("exercise_id", "answer"), [(key, one) for key, many in OTHER_ROUTES.items() for one in many])
def test_other_right_answers_pass(exercise_id, answer, line):
    assert line(exercise_id, answer).startswith(f"Exercise {exercise_id}: passed (")


# Wrong answers that are no single known mistake: the message has to say what is wrong all the same. -------------------


def every_parameter_twice(model):
    return list(model.parameters()) * 2, []


def parameters_in_both(model):
    decay, no_decay = split_by_name(model)
    return decay, no_decay + decay[:1]


def names_and_parameters(model):
    return list(model.named_parameters()), []


def a_filter(model):
    return filter(lambda p: p.ndim >= 2, model.parameters()), []


def head_forgotten(model):
    decay, no_decay = split_by_name(model)
    return [p for p in decay if p is not model.head.weight], no_decay


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (every_parameter_twice, "`cls_token` is in decay 2 times, expected once"),
        (parameters_in_both, "`patch_embed.proj.weight` is in no_decay, but should be in decay"),
        (names_and_parameters, "decay holds a value of type tuple that is not a parameter of the model"),
        (a_filter, "decay is a value of type filter, expected a list: it can be read only once, and then it is empty"),
        (head_forgotten, "`head.weight` is in neither list"),
        (
            lambda model: list(model.parameters()),
            "returned a value of type list, expected a pair of lists (decay, no_decay)",
        ),
        (lambda model: None, "returned None; did you forget `return`?"),
        (lambda model: model.head.requires_grad_(False) and split_by_name(model), "in place"),
    ],
)
def test_wrong_parameter_lists(answer, text, line):
    assert text in line("9.3", answer)


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("1.1", lambda x, W, U, b: read_by_torch(x, W, U, b).squeeze(), "wrong for a batch of one (B = 1) only"),
        ("1.1", lambda x, W, U, b: read_by_torch(x.flip(1), W, U, b), "the sequence is read from its end"),
        ("1.1", lambda x, W, U, b: read_by_torch(x[:, 1:], W, U, b), "the first item is never read"),
        ("1.2", lambda N, k, dilated: float(layers_by_formula(N, k, dilated)), "the float 4.0, expected the int 4"),
        ("1.3", lambda steps: torch.tensor(bias_by_logit(steps)), "`math` instead of `torch`"),
        ("1.3", lambda steps: math.log(0.5) / steps, "this is log f"),
        ("1.4", lambda x, h, W, U, b, c: torch.gru_cell(x, h, W, U, b + c), "c is added outside the bracket"),
        ("1.4", lambda x, h, W, U, b, c: gru_with_sliced_gates(x, h, W, U, b, c)[0], None),
        ("1.5", lambda a, b, max_norm: clip_as_torch_does(a, b, max_norm)[0], "expected a pair of tensors"),
        ("1.5", lambda a, b, max_norm: (a / 2, b / 2), None),
        ("1.6", lambda q, k, v, W, U, w: scores_by_einsum(q, k, W, U, w).softmax(dim=-1), "these are the weights"),
        ("2.1", lambda *args: fused_attention(*args).squeeze(0), "wrong for a batch of one (B = 1) only"),
        ("2.1", lambda *args: fused_attention(*args)[:1], "right for a batch of one (B = 1) only"),
        ("2.2", lambda texts: mask_token_by_token(texts).int(), "dtype torch.int32 instead of torch.bool"),
        ("2.2", lambda texts: mask_token_by_token(texts) & (texts > 0)[:, None], "text 0 is taken for padding"),
        ("2.2", lambda texts: mask_token_by_token(texts) & mask_token_by_token(texts).mT, None),
        ("2.3", lambda scores, mask: torch.where(mask, scores.softmax(dim=-1), 0.0), "set to 0 after the softmax"),
        ("2.3", lambda scores, mask: softmax_by_hand(scores.masked_fill_(~mask, 0.0), mask), "`scores` in place"),
        ("2.4", lambda weights: 1 - shares_by_regression(weights), "this is the share that is kept"),
        ("2.4", lambda weights: shares_by_regression(weights) / 2, None),
        ("2.4", lambda weights: shares_by_regression(weights).tolist(), "expected a tensor"),
        ("2.5", lambda scores, nats: factor_by_logarithms(scores, nats / math.log(2)), None),
        ("2.5", lambda scores, nats: -factor_by_logarithms(scores, nats), "the wrong sign"),
        (
            "2.5",
            lambda scores, nats: 1.05 * factor_by_logarithms(scores, nats),
            "with the factor of row 0 the entropy is",
        ),
        ("2.5", lambda scores, nats: factor_by_logarithms(scores, nats).tolist(), "expected a tensor"),
        ("2.6", lambda q, k, v, size: chunks_joined_by_logsumexp(q, k[:-1], v[:-1], size), None),
        ("2.6", lambda q, k, v, size: v[(q @ k.T).argmax(dim=1)], None),
        ("5.1", lambda height, width, patch: height * width / patch, "HW is divided by P once"),
        ("5.1", lambda height, width, patch: height * width / patch**2, "`/` always gives a float"),
        ("5.1", lambda height, width, patch: -(-height // patch) * -(-width // patch), "rounding up counts a part"),
        (
            "5.1",
            lambda height, width, patch: None if height % patch or width % patch else height * width // patch**2,
            "raise the error, do not return it",
        ),
        ("5.3", lambda index, width, patch: list(box_with_modulo(index, width, patch)[::-1]), None),
        (
            "5.4",
            lambda images, patch: F.pad(images, (0, -images.shape[2] % patch, 0, -images.shape[3] % patch)),
            "swapped",
        ),
        ("9.1", lambda step, total, warm, cool, peak: torch.tensor(peak), "`math` instead of `torch`"),
        (
            "9.4",
            lambda side, patch, dim, depth: 3.0 * depth * 12 * (side // patch) ** 2 * dim**2,
            "attention is missing",
        ),
        (
            "9.4",
            lambda side, patch, dim, depth: training_macs_by_products(side, patch, dim, depth) / 1,
            "`/` always gives",
        ),
        ("9.4", lambda side, patch, dim, depth: side * patch * dim * depth, None),
        ("9.5", lambda *args: trained_by_hand(*args).softmax(dim=1), "these are probabilities"),
        ("9.5", lambda build, *args: trained_by_hand(build, *args[:2], 1, *args[3:]), None),
        (
            "9.6",
            lambda data: (ViT(recipe(data, train={"lr": 50.0})[0]), recipe(data, train={"lr": 50.0})[1]),
            "a tenth",
        ),
        ("9.6", lambda data: (ViT(recipe(data)[0]), recipe(data, train={"epochs": 3, "seed": 7})[1]), "saves time"),
        ("9.6", lambda data: (ViT(recipe(data)[0]), recipe(data, augment={"flip": True})[1]), "`flip=data.flip`"),
        ("9.6", lambda data: ViT(recipe(data)[0]), "the recipe is missing"),
        ("9.6", lambda data: recipe(data)[::-1], "the wrong way round"),
        ("9.6", lambda data: (entry_with_a_cnn(data)[0].append(nn.Softmax(1)), TrainConfig()), "softmax inside"),
        ("9.6", lambda data: (entry_with_a_cnn(data)[0], {"lr": 1e-3}), None),
        ("9.6", lambda data: (ONE_MODEL, TrainConfig()), "built once"),
        ("9.6", lambda data: (ONE_MODEL[1:], TrainConfig()), None),
    ],
)
def test_variants_of_known_mistakes(exercise_id, answer, hint, line):
    """The same slip in another type is still named; something else is not taken for a known one."""
    text = line(exercise_id, answer)
    assert text.startswith(f"Exercise {exercise_id}: not yet: ")
    assert (hint in text) if hint else ("likely slip" not in text)
