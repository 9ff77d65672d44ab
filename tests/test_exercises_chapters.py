"""Every exercise of the registry: the reference passes, every known mistake is caught and named."""

import re

import pytest
import torch
import torch.nn.functional as F

from vitedu.exercises import check
from vitedu.exercises.registry import CHAPTERS, all_exercises, chapter_exercises

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
    first = exercise.labelled_cases()
    torch.manual_seed(2)
    second = exercise.labelled_cases()
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


def split_by_name(model):
    decay, no_decay = [], []
    for name, parameter in model.named_parameters():
        is_matrix = name.endswith("weight") and "norm" not in name
        (decay if is_matrix else no_decay).append(parameter)
    return decay, no_decay


OTHER_ROUTES = {
    "5.1": [count_in_one_line],
    "5.2": [unpatchify_with_loops, unpatchify_with_fold],
    "5.3": [box_with_modulo],
    "5.4": [pad_with_zeros],
    "5.5": [patches_with_loops],
    "9.2": [loss_by_hand],
    "9.3": [split_by_name],
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
        ("9.1", lambda step, total, warm, peak: torch.tensor(peak), "`math` instead of `torch`"),
    ],
)
def test_variants_of_known_mistakes(exercise_id, answer, hint, line):
    """The same slip in another type is still named; something else is not taken for a known one."""
    text = line(exercise_id, answer)
    assert (hint in text) if hint else ("likely slip" not in text)
