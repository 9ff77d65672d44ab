"""DeiT's distillation: the token's place and price, equality with timm's, and the two losses."""

import math

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from tests.random_weights import random_images, randomise
from vitedu.capture import capture_attention
from vitedu.cost import count_parameters
from vitedu.inspection.layout import layout_of
from vitedu.models.deit import DistilledViT, hard_distillation, soft_distillation
from vitedu.pretrained import load_timm
from vitedu.vit import ViT, ViTConfig, preset

SMALL = {"image_size": 16, "patch_size": 4, "dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
TIMM = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}


def random_pair(**options) -> tuple[DistilledViT, VisionTransformerDistilled]:
    theirs = randomise(VisionTransformerDistilled(**TIMM | options)).eval()
    return load_timm(theirs, num_heads=None), theirs


def as_they_start() -> tuple[DistilledViT, VisionTransformerDistilled]:
    torch.manual_seed(0)
    theirs = VisionTransformerDistilled(**TIMM).eval()
    for head in (theirs.head, theirs.head_dist):  # timm starts them at zero
        nn.init.normal_(head.weight, std=0.02)
    return load_timm(theirs), theirs


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plain", "distilled"),
    [
        ("Ti/16", 5_717_416, 5_910_800),
        ("S/16", 22_050_664, 22_436_432),
        ("B/16", 86_567_656, 87_338_192),
    ],
)
def test_the_token_its_position_and_its_head_are_all_that_is_added(name, plain, distilled):
    config = preset(name)
    with torch.device("meta"):
        found = count_parameters(ViT(config)), count_parameters(DistilledViT(config))
    assert found == (plain, distilled)
    assert distilled - plain == 2 * config.dim + (config.dim + 1) * 1000


def test_at_384_pixels_there_are_positions_for_more_patches():
    with torch.device("meta"):
        assert count_parameters(DistilledViT(preset("B/16", image_size=384))) == 87_630_032


# --- equality with timm's --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [random_pair, as_they_start])
@pytest.mark.parametrize("B", [1, 3])
def test_both_heads_and_their_mean_are_timms(build, B):
    ours, theirs = build()
    assert isinstance(ours, DistilledViT)
    images = random_images(B, 3, 16, 16)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)
    theirs.train().set_distilled_training()
    for mine, expected in zip(ours.both(images), theirs(images), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    cls, dist = ours.both(images)
    assert (cls - dist).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224"])
def test_published_sizes_at_full_depth_give_timms_scores(name):
    theirs = randomise(timm.create_model(name, num_classes=1000)).eval()
    ours, images = load_timm(theirs.state_dict(), name=name), random_images(1, 3, 224, 224)
    assert isinstance(ours, DistilledViT) == ("distilled" in name)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=0)


def test_positions_of_both_tokens_stay_when_the_size_changes():
    theirs = randomise(VisionTransformerDistilled(**TIMM | {"dynamic_img_size": True})).eval()
    images = random_images(2, 3, 24, 32)
    torch.testing.assert_close(load_timm(theirs, image_size=(24, 32))(images), theirs(images), atol=1e-5, rtol=0)


def test_a_new_classifier_is_two_of_zeros():
    _, theirs = random_pair()
    model = load_timm(theirs, num_classes=3)
    assert isinstance(model, DistilledViT)
    assert not any(scores.any() for scores in model.both(random_images(2, 3, 16, 16)))
    assert model.head_dist.weight.shape == (3, 24)


def dist_before_cls(model: DistilledViT) -> None:
    model.cls_token, model.dist_token = model.dist_token, model.cls_token


def heads_exchanged(model: DistilledViT) -> None:
    """The mean of a wrong pair: each head reads the other's token."""
    model.head, model.head_dist = model.head_dist, model.head


def the_token_at_the_end(model: DistilledViT) -> None:
    plain = model.encode

    def encode(images: Tensor) -> Tensor:
        tokens = plain(images)
        return torch.cat([tokens[:, :1], tokens[:, -1:], tokens[:, 2:]], dim=1)

    model.encode = encode


def one_head_alone(model: DistilledViT) -> None:
    model.forward = lambda images: model.both(images)[0]


def softmax_outputs_added(model: DistilledViT) -> None:
    model.forward = lambda images: sum(scores.softmax(dim=1) for scores in model.both(images)).log()


def no_position_for_the_token(model: DistilledViT) -> None:
    with torch.no_grad():
        model.positions.table[1].zero_()


MUTANTS = [
    dist_before_cls,
    heads_exchanged,
    the_token_at_the_end,
    one_head_alone,
    softmax_outputs_added,
    no_position_for_the_token,
]


@pytest.mark.parametrize("mutate", MUTANTS)
def test_a_mistake_changes_the_scores(mutate):
    ours, theirs = random_pair()
    images = random_images(2, 3, 16, 16)
    mutate(ours)
    assert (ours(images) - theirs(images)).abs().max() > 1e-2


def test_with_equal_tokens_positions_and_heads_the_two_scores_are_equal():
    """Nothing else sets the tokens apart: attention does not know their order."""
    model = randomise(DistilledViT(ViTConfig(**SMALL))).eval()
    with torch.no_grad():
        model.dist_token.copy_(model.cls_token)
        model.positions.table[1] = model.positions.table[0]
        model.head_dist.load_state_dict(model.head.state_dict())
    cls, dist = model.both(random_images(2, 3, 16, 16))
    torch.testing.assert_close(cls, dist)


def test_its_maps_have_two_tokens_before_the_patches():
    model, images = DistilledViT(ViTConfig(**SMALL)).eval(), random_images(1, 3, 16, 16)
    with capture_attention(model) as maps:
        model(images)
    assert maps[0].shape == (1, 3, 18, 18)
    assert layout_of(model, images, maps) == ((4, 4), 2, True, "cls")


@pytest.mark.parametrize("changes", [{"pool": "mean"}, {"representation_size": 8}])
def test_a_config_without_cls_or_with_a_hidden_layer_is_refused(changes):
    with pytest.raises(ValueError, match="the distillation token stands beside CLS"):
        DistilledViT(ViTConfig(**SMALL | changes))


def test_a_head_of_zeros_is_asked_of_both():
    model = DistilledViT(ViTConfig(**SMALL, zero_head=True))
    assert not any(scores.any() for scores in model.both(random_images(1, 3, 16, 16)))


# --- the losses ------------------------------------------------------------------------------------------------------

SCORES = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(5)) * 2  # of CLS, of the token, of the teacher
LABELS = torch.tensor([0, 5, 2, 2])


def test_hard_distillation_is_half_the_labels_and_half_the_teachers_classes_written_out():
    cls, dist, teacher = SCORES
    expected = 0.0
    for row, label in enumerate(LABELS.tolist()):
        chosen = max(range(6), key=lambda k: teacher[row, k].item())
        expected -= 0.5 * math.log(cls[row].softmax(0)[label]) / 4
        expected -= 0.5 * math.log(dist[row].softmax(0)[chosen]) / 4
    assert hard_distillation(cls, dist, LABELS, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_distillation_is_the_divergence_from_the_teacher_written_out(temperature):
    cls, dist, teacher = SCORES
    divergence = 0.0
    for row in range(4):
        p, q = (scores[row].div(temperature).softmax(0) for scores in (teacher, dist))
        divergence += sum((a * math.log(a / b)).item() for a, b in zip(p, q, strict=True)) / 4
    expected = 0.9 * F.cross_entropy(cls, LABELS).item() + 0.1 * temperature**2 * divergence
    found = soft_distillation(cls, dist, LABELS, teacher, temperature=temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_dividing_by_the_classes_too_makes_the_teachers_term_k_times_smaller():
    """Which is what the authors' code does."""
    cls, dist, teacher = SCORES
    terms = [soft_distillation(cls, dist, LABELS, teacher, 1.0, average=a) for a in ("images", "numbers")]
    assert (terms[0] / terms[1]).item() == pytest.approx(6)


def authors_loss(outputs, outputs_kd, labels, teacher, kind, alpha, tau):
    """What losses.py of github.com/facebookresearch/deit computes, in other words."""
    if kind == "hard":
        term = -outputs_kd.log_softmax(1)[range(len(labels)), teacher.argmax(1)].mean()
    else:
        p, q = (teacher / tau).log_softmax(1), (outputs_kd / tau).log_softmax(1)
        term = (p.exp() * (p - q)).sum() * tau * tau / outputs_kd.numel()
    return F.cross_entropy(outputs, labels) * (1 - alpha) + term * alpha


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_with_the_mean_over_all_numbers_the_losses_are_the_authors(alpha, tau):
    cls, dist, teacher = SCORES
    hard = hard_distillation(cls, dist, LABELS, teacher, alpha)
    torch.testing.assert_close(hard, authors_loss(cls, dist, LABELS, teacher, "hard", alpha, tau))
    soft = soft_distillation(cls, dist, LABELS, teacher, alpha, temperature=tau, average="numbers")
    torch.testing.assert_close(soft, authors_loss(cls, dist, LABELS, teacher, "soft", alpha, tau))


def test_mistakes_in_the_losses_change_them():
    cls, dist, teacher = SCORES
    hard, soft = hard_distillation(cls, dist, LABELS, teacher), soft_distillation(cls, dist, LABELS, teacher)
    ce, tau, shares = F.cross_entropy, 3.0, teacher.softmax(1)
    q, p = (dist / tau).log_softmax(1), (teacher / tau).log_softmax(1)
    wrong_hard = {
        "heads exchanged": hard_distillation(dist, cls, LABELS, teacher),
        "one head learns both": hard_distillation(cls, cls, LABELS, teacher),
        "no half": 2 * hard,
        "the teacher's probabilities": 0.5 * ce(cls, LABELS) + 0.5 * ce(dist, shares),
        "smoothed teacher": 0.5 * ce(cls, LABELS) + 0.5 * ce(dist, teacher.argmax(1), label_smoothing=0.1),
        "the labels again": 0.5 * ce(cls, LABELS) + 0.5 * ce(dist, LABELS),
    }
    label = 0.9 * ce(cls, LABELS)
    wrong_soft = {
        "no τ²": label + 0.1 * F.kl_div(q, p, reduction="batchmean", log_target=True),
        "student and teacher exchanged": label + 0.9 * F.kl_div(p, q, reduction="batchmean", log_target=True),
        "the student at 1": label + 0.9 * F.kl_div(dist.log_softmax(1), p, reduction="batchmean", log_target=True),
        "cross-entropy": label + 0.9 * ce(dist / tau, (teacher / tau).softmax(1)),
        "divided by B·K": label + 0.9 * F.kl_div(q, p, reduction="batchmean", log_target=True) / 6,
        "logits as probabilities": label + 0.9 * F.kl_div(q, p.exp(), reduction="batchmean", log_target=True),
    }
    assert [name for name, value in wrong_hard.items() if (value - hard).abs() < 1e-3] == []
    assert [name for name, value in wrong_soft.items() if (value - soft).abs() < 1e-3] == []
    right = label + 0.9 * F.kl_div(q, p, reduction="batchmean", log_target=True)
    torch.testing.assert_close(soft, right)


def test_smoothing_and_mixed_labels_are_the_first_terms_alone():
    cls, dist, teacher = SCORES
    for function in (hard_distillation, soft_distillation):
        plain = function(cls, dist, LABELS, teacher, 0.25)
        smoothed = function(cls, dist, LABELS, teacher, 0.25, 0.1)
        labels = F.cross_entropy(cls, LABELS, label_smoothing=0.1) - F.cross_entropy(cls, LABELS)
        torch.testing.assert_close(smoothed - plain, 0.75 * labels)
        torch.testing.assert_close(function(cls, dist, F.one_hot(LABELS, 6).float(), teacher, 0.25), plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.5}, r"weight 1.5 is outside \[0, 1\]"),
        ({"temperature": 0.0}, "temperature is 0.0; it has to be above 0"),
        ({"average": "sum"}, "average 'sum' is not one of images, numbers"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        soft_distillation(*SCORES[:2], LABELS, SCORES[2], **options)
