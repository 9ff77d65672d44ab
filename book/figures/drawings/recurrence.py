"""Drawings of chapter 1: an RNN unrolled, an LSTM cell, a translator that attends."""

from sheet import Sheet


def unrolled() -> Sheet:
    s = Sheet(
        720, 230, "A recurrent network, unrolled",
        "On the left one cell with a loop. On the right the same cell four times in a row, with the same weights: "
        "each takes one input "
        "and the state of the one before. The last state has passed through every cell.",
    )  # fmt: skip
    s.circle(80, 110, 28, "f", "teal", 18)
    s.path("M108 104C150 90 150 40 80 40C20 40 22 92 50 102")
    s.text(146, 60, "h", 15)
    s.arrow(80, 186, 80, 140)
    s.text(80, 206, "xₜ", 16)
    s.text(196, 117, "=", 26)
    for t in range(4):
        x = 286 + 112 * t
        s.circle(x, 110, 28, "f", "teal", 18)
        s.arrow(x, 186, x, 140)
        s.text(x, 206, f"x{'₀₁₂₃'[t]}", 16)
        s.arrow(x + 28, 110, x + 82, 110, "heavy" if t < 3 else "edge")
        s.text(x + 56, 98, f"h{'₀₁₂₃'[t]}", 14)
    s.arrow(232, 110, 256, 110)
    s.text(470, 40, "the same weights at every step; step t waits for step t − 1", 14, kind="soft")
    return s


def lstm() -> Sheet:
    s = Sheet(
        720, 350, "An LSTM cell",
        "Above, the memory c runs from left to right: it is multiplied by the forget gate, then the input gate times "
        "the candidate is "
        "added. Below, the state h and the input x make the gates f, i and o and the candidate g. The new h is the "
        "output gate times "
        "the tanh of the new memory.",
    )  # fmt: skip
    s.box(110, 44, 500, 250, "", "plain", round_=12)
    s.path("M40 90H206", kind="heavy")
    s.path("M230 90H362", kind="heavy")
    s.path("M386 90H680", kind="heavy")
    s.circle(218, 90, 13, "×")
    s.circle(374, 90, 13, "+")
    s.text(56, 80, "cₜ₋₁", 16)
    s.text(652, 80, "cₜ", 16)
    gates = ((188, "f", "σ", "forget", "sand"), (288, "i", "σ", "write", "blue"), (388, "g", "tanh", "what", "green"),
             (488, "o", "σ", "show", "violet"))  # fmt: skip
    for x, name, bend, does, colour in gates:
        s.box(x, 206, 60, 36, f"{name} = {bend}", colour, 13)
        s.text(x + 30, 258, does, 12, kind="soft")
        s.path(f"M{x + 30} 280V{246 + 16}", arrow=False)
    s.path("M40 280H518", arrow=False)
    s.text(56, 272, "hₜ₋₁", 16)
    s.arrow(150, 330, 150, 284)
    s.text(168, 334, "xₜ", 16, "start")
    s.arrow(218, 206, 218, 106)
    s.circle(374, 150, 13, "×")
    s.path("M318 206V150H358")
    s.path("M418 206V150H390")
    s.arrow(374, 137, 374, 106)
    s.path("M540 90V124")
    s.box(514, 126, 52, 26, "tanh", "plain", 13)
    s.arrow(540, 152, 540, 166)
    s.circle(540, 181, 13, "×")
    s.path("M518 206V181H524")
    s.path("M553 181H680", kind="edge")
    s.text(652, 172, "hₜ", 16)
    s.text(290, 72, "the memory: a road with one multiplication", 12, kind="soft")
    return s


def attends() -> Sheet:
    s = Sheet(
        720, 330, "A translator with attention",
        "Below, an encoder reads four source words from left to right; each leaves a state. Above, a decoder writes. "
        "For each word it "
        "writes, it weighs all states of the encoder, drawn as lines of different thickness, and reads their mean.",
    )  # fmt: skip
    source, target, weights = ("I", "saw", "a", "cat"), ("ich", "sah", "eine", "Katze"), (1, 6, 1.2, 2)
    for t, (word, said) in enumerate(zip(source, target, strict=True)):
        x = 110 + 150 * t
        s.box(x, 226, 90, 40, f"h{'₀₁₂₃'[t]}", "teal")
        s.arrow(x + 45, 300, x + 45, 270)
        s.text(x + 45, 318, word, 15)
        s.box(x, 66, 90, 40, f"s{'₀₁₂₃'[t]}", "sand")
        s.arrow(x + 45, 66, x + 45, 44)
        s.text(x + 45, 34, said, 15, weight=600 if t == 1 else 400)
        if t < 3:
            s.arrow(x + 90, 246, x + 148, 246)
            s.arrow(x + 90, 86, x + 148, 86)
        s.parts.append(
            f'<path d="M{x + 45} 226L285 150" stroke="var(--strong)" stroke-width="{weights[t]}" fill="none"/>'
        )
    s.circle(285, 146, 16, "Σ", "violet")
    s.path("M291 131L300 110")
    s.text(312, 152, "a mean of all states, weighed anew for each word", 13, "start", "soft")
    s.text(58, 250, "encoder", 13, kind="soft")
    s.text(58, 90, "decoder", 13, kind="soft")
    return s


DRAWINGS = {"rnn": unrolled, "lstm": lstm, "translator": attends}
