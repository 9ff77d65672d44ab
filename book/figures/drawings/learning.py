"""Drawings of chapter 11: what a layer takes for granted, and DeiT's second token."""

from sheet import Sheet


def assumptions() -> Sheet:
    s = Sheet(
        720, 330, "What three layers take for granted",
        "Three maps of 6 by 6 places. A convolution reads 3 by 3 neighbours with nine weights, a to i, and the same "
        "nine stand in a second window elsewhere. Attention reads every place, most of all those that are like the "
        "place that asks. A fully connected layer reads every place, each with a weight of its own, numbered 1 to 36.",
    )  # fmt: skip
    letters, like = "abcdefghi", {(0, 4), (1, 1), (2, 5), (3, 3), (4, 0), (5, 4)}

    def letter(r: int, c: int) -> str:
        return letters[3 * (r % 3) + c % 3] if r // 3 == c // 3 else ""

    panels = (
        (42, "convolution", lambda r, c: "teal" if r // 3 == c // 3 else "plain", letter,
         ("reads its neighbours,", "with the same nine weights", "at every place")),
        (276, "attention", lambda r, c: "sand" if (r, c) in like else "plain",
         lambda r, c: "?" if (r, c) == (3, 3) else "",
         ("reads every place,", "with weights from the content,", "by one rule for all tokens")),
        (510, "fully connected", "violet", lambda r, c: str(6 * r + c + 1),
         ("reads every place,", "each with its own weight,", "and others for the next one")),
    )  # fmt: skip
    for x, name, colour, words, says in panels:
        s.text(x + 84, 34, name, 17, weight=600)
        s.grid(x, 50, 6, 6, 28, colour, words)
        for number, line in enumerate(says):
            s.text(x + 84, 252 + 22 * number, line, 14, kind="soft")
    s.parts.append('<rect class="heavy" x="42" y="50" width="84" height="84"/>')
    s.parts.append('<rect class="heavy dashed" x="126" y="134" width="84" height="84"/>')
    s.parts.append('<rect class="heavy" x="360" y="134" width="28" height="28"/>')
    return s


def distillation() -> Sheet:
    s = Sheet(
        720, 400, "The distillation token",
        "A picture goes two ways. Above, the student: CLS, the distillation token DIST and the patches pass through "
        "the same blocks; a head reads CLS and is compared with the label, a second head reads DIST and is compared "
        "with the teacher's answer. Below, the teacher: a trained convolutional network that sees the same picture "
        "and keeps its weights.",
    )  # fmt: skip
    s.grid(24, 170, 3, 3, 32, "blue")
    s.text(72, 290, "augmented picture", 13, kind="soft")
    s.path("M124 200H150V150H166")
    s.path("M124 240H150V338H196")
    for n, (name, colour) in enumerate((("CLS", "green"), ("DIST", "sand"), *[("patch", "blue")] * 3, ("…", "blue"))):
        s.box(170, 66 + 30 * n, 74, 24, name, colour, 13, 3)
    s.text(207, 52, "+ positions", 13, kind="soft")
    s.arrow(250, 152, 280, 152)
    s.box(284, 66, 96, 174, "L blocks,\nshared by\nall tokens", "plain", 14, 10)
    for y, colour, head in ((66, "green", "head"), (126, "sand", "second head")):
        s.arrow(380, y + 20, 408, y + 20)
        s.box(412, y, 106, 40, head, colour, 14)
        s.arrow(518, y + 20, 548, y + 20)
        s.box(552, y, 144, 40, "½ cross-entropy", "plain", 13)
    s.text(624, 44, "label", 14)
    s.path("M624 50V62")
    s.box(200, 314, 150, 48, "teacher: a CNN,\nweights fixed", "violet", 14)
    s.arrow(350, 338, 408, 338)
    s.box(412, 318, 106, 40, "K scores", "violet", 14)
    s.path("M518 338H624V170")
    s.text(616, 262, "its class: hard", 13, "end", "soft")
    s.text(616, 280, "its shares: soft", 13, "end", "soft")
    s.text(360, 388, "in use: the mean of both heads; the teacher is no longer needed", 14, kind="soft")
    return s


DRAWINGS = {"assumptions": assumptions, "distillation": distillation}
