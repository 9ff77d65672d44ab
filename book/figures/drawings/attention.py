"""Drawings of chapters 2 and 3: a look-up in words, heads as slices, the encoder and decoder of 2017."""

from sheet import Sheet


def query_key_value() -> Sheet:
    """The worked example of chapter 2 in words: the pronoun *it* asks for a noun, and fetches the value of *cat*."""
    rows = (
        ("the", "(0, 0)", 0),
        ("tired", "(0, 1)", 0),
        ("cat", "(1, 0)", 2.8),
        ("sat", "(0, 0)", 0),
        ("it", "(0, 0)", 0),
    )
    means = ("", "tired", "animal", "", "")
    s = Sheet(
        720, 440, "Attention as a look-up",
        "The token it has a query, which noun? Each of the tokens the, tired, cat, sat and it has a key and a value. "
        "The query is compared with each key. The score of cat is 2.8, the other four are 0; they become weights 0.81 "
        "and four times 0.05, and the sum of the values with these weights is what it fetches: animal 0.81 and tired "
        "0.05.",
    )  # fmt: skip
    s.text(24, 32, "“The tired cat sat. It …”: what does the word stand for?", 16, "start", weight=600)
    s.box(24, 196, 130, 60, "query of “it”\nwhich noun? (4, 0)", "sand", 13)
    for name, x in (("key", 262), ("score q·k/√d", 392), ("weight", 486), ("value", 640)):
        s.text(x, 66, name, 13, kind="soft")
    for n, (word, key, score) in enumerate(rows):
        y, weight = 78 + 62 * n, 0.81 if score else 0.05
        offers = {"tired": "adjective", "cat": "noun"}.get(word, "nothing")
        s.box(202, y, 124, 46, f"{word}\n{offers} {key}", "blue", 13)
        s.path(f"M154 226C178 226 178 {y + 23} 200 {y + 23}")
        s.text(392, y + 28, f"{score:.1f}", 15, kind="mono")
        s.box(448, y + 8, 90 * weight + 4, 30, "", "teal", round_=3)
        s.text(448 + 90 * weight + 12, y + 28, f"{weight:.2f}", 14, "start", "mono")
        s.box(584, y, 112, 46, f"value of {word}\n{means[n] or 'nothing'}", "green", 13)
    s.text(24, 410, "it fetches 0.81 · animal + 0.05 · tired", 15, "start", weight=600)
    s.text(
        24, 430, "The weights come from the scores by a softmax, and sum to one but for rounding.", 13, "start", "soft"
    )
    return s


def heads() -> Sheet:
    """Width 6, three heads of width 2: each head has its own columns of Q, K and V, and its own map."""
    colours = ("sand", "teal", "violet")
    s = Sheet(
        720, 330, "Heads are slices",
        "Queries, keys and values of four tokens, six numbers each. The first two columns belong to head 0, the next "
        "two to head 1, "
        "the last two to head 2. Each head makes a map of four by four weights of its own and mixes its own columns "
        "of V. The results "
        "stand side by side again and pass through the output matrix.",
    )  # fmt: skip
    for name, y in (("Q", 44), ("K", 136), ("V", 228)):
        s.text(26, y + 42, name, 17, weight=600)
        s.grid(48, y, 4, 6, 18, lambda row, column: colours[column // 2])
        s.line(158, y + 36, 184, y + 36)
    s.line(184, 80, 184, 270)
    s.text(102, 318, "4 tokens × D = 6", 13, kind="soft")
    for n, colour in enumerate(colours):
        y = 36 + 94 * n
        s.path(f"M184 {y + 46}H214")
        s.text(268, y + 8, f"head {n}, d = 2", 13, kind="soft")
        s.grid(218, y + 14, 4, 4, 16, colour)
        s.text(294, y + 52, "·", 18)
        s.grid(306, y + 14, 4, 2, 16, colour)
        s.arrow(344, y + 46, 396, 166)
    s.text(218, 318, "softmax(QKᵀ/√d) · V, each from its own slice", 13, "start", kind="soft")
    s.grid(402, 130, 4, 6, 18, lambda row, column: colours[column // 2])
    s.text(456, 120, "side by side again", 13, kind="soft")
    s.arrow(514, 166, 548, 166)
    s.box(552, 130, 54, 72, "W_O", "blue")
    s.arrow(606, 166, 630, 166)
    s.grid(634, 130, 4, 4, 18, "plain")
    s.text(670, 222, "out, width D", 13, kind="soft")
    return s


def block(s: Sheet, x: float, y: float, parts: list[tuple[str, str]], width: int = 150) -> None:
    """Boxes from the bottom up, each with *add & norm* above and a residual path beside it."""
    for n, (name, colour) in enumerate(parts):
        at = y - 92 * n
        s.box(x, at, width, 34, name, colour, 13)
        s.arrow(x + width / 2, at, x + width / 2, at - 12)
        s.box(x, at - 36, width, 24, "add, then LayerNorm", "plain", 12)
        s.path(f"M{x + width / 2} {at + 46}H{x - 14}V{at - 24}H{x - 2}")
        s.arrow(x + width / 2, at + 56, x + width / 2, at + 36)


def transformer() -> Sheet:
    """Encoder and decoder, post-norm, as published."""
    s = Sheet(
        720, 500, "The Transformer of 2017",
        "Left the encoder, six times self-attention and MLP; right the decoder, six times masked self-attention, "
        "attention to the "
        "encoder's output, and MLP. After each part its input is added and the sum is normalised. Source and target "
        "enter at the "
        "bottom, with positions added; the probabilities of the next word leave at the top of the decoder.",
    )  # fmt: skip
    s.box(96, 184, 200, 226, "", "plain", round_=10)
    s.box(410, 92, 200, 318, "", "plain", round_=10)
    block(s, 126, 352, [("self-attention", "sand"), ("MLP", "blue")])
    block(s, 440, 352, [("masked self-attention", "sand"), ("cross-attention", "violet"), ("MLP", "blue")])
    s.text(52, 300, "6 ×", 20, weight=600)
    s.text(648, 260, "6 ×", 20, weight=600)
    s.text(196, 174, "encoder", 15, weight=600)
    s.text(632, 110, "decoder", 15, "start", weight=600)
    s.path("M201 224V206H356V277H438", kind="heavy")
    s.text(352, 298, "keys and values", 12, "middle", "soft")
    for x, name, what in ((201, "source", "“I saw a cat”"), (515, "target, shifted right", "“ich sah …”")):
        s.box(x - 95, 424, 190, 28, "embedding + positions", "teal", 13)
        s.text(x, 476, f"{name}: {what}", 13, kind="soft")
    s.arrow(515, 132, 515, 74)
    s.box(440, 34, 150, 38, "linear, softmax", "green")
    s.text(606, 58, "next word", 13, "start", "soft")
    return s


DRAWINGS = {"look-up": query_key_value, "heads": heads, "transformer": transformer}
