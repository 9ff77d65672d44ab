"""Drawings of chapter 14: what a photograph goes through before a model, and three ways to use a trained body."""

from sheet import Sheet


def preparation() -> Sheet:
    s = Sheet(
        720, 250, "What a photograph goes through before a model",
        "A photograph of 500 by 375 pixels is resized until its shorter side has 256 pixels, 341 by 256; the middle "
        "224 by 224 are kept; and each channel loses its mean and is divided by its standard deviation. Under each "
        "step stands what differs from model to model: how far it is resized and by which interpolation; how much is "
        "cut off; whose mean and deviation are used.",
    )  # fmt: skip
    s.box(24, 62, 130, 98, "500 × 375", "blue", 15, 2)
    s.arrow(158, 111, 204, 111)
    s.box(210, 72, 102, 77, "341 × 256", "blue", 15, 2)
    s.arrow(316, 111, 362, 111)
    s.parts.append('<rect class="edge dashed" x="368" y="72" width="102" height="77"/>')
    s.box(385, 77, 67, 67, "224 × 224", "teal", 12, 2)
    s.arrow(474, 111, 520, 111)
    s.box(526, 77, 67, 67, "(x − m)/s", "sand", 13, 2)
    s.arrow(597, 111, 630, 111)
    s.box(636, 82, 62, 58, "model", "plain", 14, 8)
    steps = (
        (261, "resize", ("to 256, 232, 248, 448 …", "bilinear or bicubic")),
        (419, "crop the middle", ("all of it, or", "seven eighths of a side")),
        (560, "normalise", ("by ImageNet's moments,", "or by 0.5 and 0.5")),
    )
    s.text(89, 40, "photograph", 15, weight=600)
    for x, name, lines in steps:
        s.text(x, 40, name, 15, weight=600)
        for number, line in enumerate(lines):
            s.text(x, 192 + 20 * number, line, 13, kind="soft")
    s.text(89, 192, "what differs", 13, kind="soft")
    s.text(89, 212, "from model to model:", 13, kind="soft")
    return s


def three_ways() -> Sheet:
    s = Sheet(
        720, 352, "Three ways to use what was trained elsewhere",
        "On the left a model that was trained on one task: patches, blocks and an old head. Its body, all but the "
        "head, is taken over by the first two of three models for a new task. Linear probe: the body is frozen, only "
        "the new head learns. Fine-tuning: body and new head learn, the head from zero. From scratch: the same "
        "architecture from random weights, all of it learns.",
    )  # fmt: skip

    def model(x: float, y: float, body: str, head: str, words: str) -> None:
        for n, name in enumerate(("patches", "block 1", "…", "block L")):
            s.box(x + 78 * n, y, 70, 44, name, body, 13)
        s.box(x + 78 * 4, y, 84, 44, words, head, 13)

    s.text(80, 36, "trained elsewhere", 15, weight=600)
    for n, name in enumerate(("old head", "block L", "…", "block 1", "patches")):
        s.box(28, 54 + 46 * n, 104, 38, name, "plain" if n == 0 else "blue", 13)
    s.text(80, 306, "old task", 13, kind="soft")
    s.path("M140 188H176V92H204", kind="heavy")
    s.path("M140 188H204", kind="heavy")
    rows = (
        (70, "linear probe: the body stays, the head learns", "blue", "teal", "new head"),
        (166, "fine-tuning: all learn, the body from where it was", "teal", "teal", "head at 0"),
        (262, "from scratch: all learn, from random weights", "sand", "sand", "head at 0"),
    )
    for y, says, body, head, words in rows:
        s.text(214, y - 12, says, 14, "start", weight=600)
        model(214, y, body, head, words)
        s.text(640, y + 27, "new task", 13, "start", kind="soft")
    s.box(214, 322, 18, 16, "", "blue", 12, 3)
    s.text(240, 335, "frozen", 13, "start", kind="soft")
    s.box(308, 322, 18, 16, "", "teal", 12, 3)
    s.text(334, 335, "learns", 13, "start", kind="soft")
    s.box(402, 322, 18, 16, "", "sand", 12, 3)
    s.text(428, 335, "learns, from nothing", 13, "start", kind="soft")
    return s


DRAWINGS = {"preparation": preparation, "three-ways": three_ways}
