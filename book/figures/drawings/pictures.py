"""Drawings of chapters 4 to 8: a sliding kernel, pooling, a residual block, tokens, the norms, the whole model."""

from sheet import Sheet


def kernel() -> Sheet:
    s = Sheet(
        720, 330, "A kernel slides over a padded picture",
        "Left a picture of 5 by 5 pixels with a rim of zeros around it. A window of 3 by 3 stands at the top left "
        "corner of the padded "
        "picture, and a dashed one two places to the right: stride 2. Each place of the window gives one number of "
        "the output, 3 by 3.",
    )  # fmt: skip
    s.grid(40, 50, 7, 7, 32, lambda r, c: "teal" if 0 < r < 6 and 0 < c < 6 else "plain",
           lambda r, c: "" if 0 < r < 6 and 0 < c < 6 else "0")  # fmt: skip
    s.parts.append('<rect class="heavy" x="40" y="50" width="96" height="96"/>')
    s.parts.append('<rect class="heavy dashed" x="104" y="50" width="96" height="96"/>')
    s.path("M88 40V28H152V40")
    s.text(120, 22, "stride 2", 13)
    s.text(152, 300, "5 × 5 pixels, padding 1", 14, kind="soft")
    s.grid(340, 106, 3, 3, 32, "sand", lambda r, c: "w")
    s.text(388, 96, "kernel, 3 × 3", 14, kind="soft")
    s.text(296, 162, "·", 26)
    s.arrow(446, 154, 500, 154)
    s.text(474, 142, "sum", 13, kind="soft")
    s.grid(520, 106, 3, 3, 32, lambda r, c: "violet" if (r, c) in ((0, 0), (0, 1)) else "plain")
    s.parts.append('<rect class="heavy" x="520" y="106" width="32" height="32"/>')
    s.parts.append('<rect class="heavy dashed" x="552" y="106" width="32" height="32"/>')
    s.text(568, 96, "output, 3 × 3", 14, kind="soft")
    s.text(500, 250, "side of the output = (5 + 2 · 1 − 3) / 2 + 1 = 3", 15)
    s.text(500, 274, "the same nine weights at every place", 14, kind="soft")
    return s


def pooling() -> Sheet:
    numbers = ((1, 5, 2, 0), (3, 2, 1, 4), (0, 1, 7, 2), (2, 6, 3, 1))
    s = Sheet(
        720, 220, "Pooling",
        "A map of 4 by 4 numbers is cut into four squares of 2 by 2. Max pooling keeps the largest number of each, "
        "5, 4, 6 and 7; mean "
        "pooling their mean; the mean over all places gives one number, 2.5.",
    )  # fmt: skip
    colours = (("sand", "teal"), ("violet", "green"))
    s.grid(40, 50, 4, 4, 34, lambda r, c: colours[r // 2][c // 2], lambda r, c: str(numbers[r][c]))
    s.text(108, 208, "one channel", 14, kind="soft")
    for x, name, values in (
        (290, "max pooling, 2 × 2", ("5", "4", "6", "7")),
        (470, "mean pooling, 2 × 2", ("2.75", "1.75", "2.25", "3.25")),
    ):
        s.grid(x, 84, 2, 2, 46, lambda r, c: colours[r][c], lambda r, c, values=values: values[2 * r + c])
        s.text(x + 46, 70, name, 13, kind="soft")
    s.arrow(190, 118, 270, 118)
    s.box(628, 96, 56, 46, "2.5", "plain")
    s.text(656, 70, "mean over", 13, kind="soft")
    s.text(656, 86, "all places", 13, kind="soft")
    return s


def residual() -> Sheet:
    s = Sheet(
        720, 190, "A residual block",
        "The input x goes two ways: through a convolution, a ReLU and a second convolution, and past them unchanged. "
        "Both are added.",
    )  # fmt: skip
    s.text(44, 118, "x", 18)
    s.path("M60 112H130")
    for x, name, colour in ((134, "convolution", "sand"), (284, "ReLU", "plain"), (386, "convolution", "sand")):
        s.box(x, 90, 110 if name != "ReLU" else 64, 44, name, colour)
    s.arrow(244, 112, 282, 112)
    s.arrow(348, 112, 384, 112)
    s.arrow(496, 112, 542, 112)
    s.circle(560, 112, 16, "+")
    s.path("M92 112V40H560V94", kind="heavy")
    s.text(320, 30, "the road past: the gradient comes back along it unchanged", 13, kind="soft")
    s.text(320, 160, "the branch learns f(x), what has to be changed", 13, kind="soft")
    s.arrow(576, 112, 630, 112)
    s.text(672, 118, "x + f(x)", 17)
    return s


def tokens() -> Sheet:
    s = Sheet(
        720, 300, "From a picture to tokens",
        "A picture is cut into a grid of 3 by 3 patches. In raster order each is laid out as a row of numbers. One "
        "matrix E maps each row "
        "to a token of width D. The class token is put in front, and a position vector is added to every token.",
    )  # fmt: skip
    colours = ("blue", "blue", "teal", "blue", "sand", "teal", "green", "sand", "green")
    s.grid(36, 90, 3, 3, 40, lambda r, c: colours[3 * r + c], lambda r, c: str(3 * r + c))
    s.text(96, 238, "H × W × C, cut into", 13, kind="soft")
    s.text(96, 256, "N = HW/P² patches", 13, kind="soft")
    s.arrow(166, 150, 206, 150)
    for n in range(9):
        s.box(214, 54 + 22 * n, 130, 18, f"patch {n}", colours[n], 12, 3)
    s.text(279, 274, "N rows of C · P² numbers", 13, kind="soft")
    s.arrow(352, 150, 384, 150)
    s.box(388, 116, 56, 68, "· E", "violet", 18)
    s.arrow(444, 150, 476, 150)
    for n in range(10):
        name, colour = ("CLS", "plain") if n == 0 else (f"token {n - 1}", colours[n - 1])
        s.box(482, 32 + 22 * n, 82, 18, name, colour, 12, 3)
        s.text(580, 46 + 22 * n, "+", 14)
        s.box(596, 32 + 22 * n, 88, 18, f"position {n}", "plain", 12, 3)
    s.text(584, 274, "1 + N tokens of width D", 13, kind="soft")
    s.text(523, 24, "a learned vector", 12, kind="soft")
    return s


def patches() -> Sheet:
    s = Sheet(
        720, 270, "A picture becomes a sequence",
        "A picture is cut into a grid of 3 by 3 patches, numbered from left to right and from top to bottom. In that "
        "order they are put in a row, and each is laid out as one row of a table: its numbers of red, then of green, "
        "then of blue. The table goes on to the Transformer, where each row becomes a token and a class token joins.",
    )  # fmt: skip
    colours = ("blue", "blue", "teal", "blue", "sand", "teal", "green", "sand", "green")
    s.grid(24, 70, 3, 3, 36, lambda r, c: colours[3 * r + c], lambda r, c: str(3 * r + c))
    s.text(78, 204, "H × W pixels,", 13, kind="soft")
    s.text(78, 222, "patches of side P", 13, kind="soft")
    s.arrow(140, 124, 166, 124)
    for n in range(9):
        s.box(172 + 22 * n, 113, 22, 22, str(n), colours[n], 12, 1)
    s.text(271, 160, "N = HW/P² patches", 13, kind="soft")
    s.text(271, 178, "in raster order", 13, kind="soft")
    s.arrow(376, 124, 402, 124)
    for n in range(9):
        s.box(408, 26 + 22 * n, 138, 18, "red, green, blue" if n == 0 else "", colours[n], 11, 3)
    s.text(477, 244, "N rows of C · P² numbers", 13, kind="soft")
    s.arrow(552, 124, 578, 124)
    s.box(584, 86, 116, 76, "Transformer", "plain", 14, 10)
    s.text(642, 184, "chapters 6 to 8;", 12, kind="soft")
    s.text(642, 200, "a class token joins,", 12, kind="soft")
    s.text(642, 216, "so 1 + N tokens", 12, kind="soft")
    return s


def norms() -> Sheet:
    s = Sheet(
        720, 290, "What LayerNorm and BatchNorm average over",
        "Two tables of tokens, one above the other for three images, with four tokens of six numbers each. LayerNorm "
        "takes mean and standard deviation of one row, a single token. BatchNorm takes those of one column, over all "
        "tokens of all images.",
    )  # fmt: skip
    for x, name, chosen, says in (
        (60, "LayerNorm", lambda image, r, c: image == 1 and r == 1, "one token: its D numbers, nothing else"),
        (410, "BatchNorm", lambda image, r, c: c == 2, "one number of D: all tokens, all images"),
    ):
        s.text(x + 120, 30, name, 17, weight=600)
        for image in range(3):
            for r in range(4):
                for c in range(6):
                    s.box(
                        x + 60 + 24 * c,
                        46 + 68 * image + 15 * r,
                        24,
                        15,
                        "",
                        "sand" if chosen(image, r, c) else "plain",
                        round_=1,
                    )
            s.text(x + 50, 80 + 68 * image, f"image {image}", 12, "end", "soft")
        s.text(x + 132, 272, says, 13, kind="soft")
    return s


def vision_transformer() -> Sheet:
    s = Sheet(
        720, 400, "The Vision Transformer",
        "From left to right: a picture of a boat on the sea is cut into nine patches, each is mapped to a token, a "
        "class token joins and positions are added. L blocks follow, each with LayerNorm, attention of several heads "
        "and a sum, then LayerNorm, MLP and a sum. After a last LayerNorm the class token alone is read by a linear "
        "head, which gives a score for each class. The shapes stand below: (B, C, H, W), then (B, 1 + N, D) twice, and "
        "(B, K).",
    )  # fmt: skip
    colours = ("blue", "blue", "sand", "green", "blue", "blue", "teal", "sand", "teal")
    s.box(24, 150, 108, 108, "", "blue", round_=0)
    s.circle(114, 168, 11, "", "sand")
    s.parts.append('<path class="part" d="M24 222V200Q42 190 56 222z" fill="var(--green)"/>')
    s.box(24, 222, 108, 36, "", "teal", round_=0)
    s.parts.append('<path class="part" d="M77 228V160L104 224z" fill="var(--plain)"/>')
    s.parts.append('<path class="part" d="M56 230H106L95 246H66z" fill="var(--sand)"/>')
    s.parts.append(
        '<path d="M60 148V260M96 148V260M22 186H134M22 222H134" fill="none" stroke="var(--ground)" stroke-width="5"/>'
    )
    s.text(78, 282, "picture, N patches", 13, kind="soft")
    for x, shape in ((78, "(B, C, H, W)"), (258, "(B, 1 + N, D)"), (435, "(B, 1 + N, D)"), (609, "(B, K)")):
        s.text(x, 376, shape, 12, kind="mono soft")
    s.arrow(138, 204, 158, 204)
    s.box(162, 176, 40, 56, "· E", "violet", 16)
    s.arrow(202, 204, 222, 204)
    for n in range(10):
        s.box(228, 94 + 22 * n, 60, 18, "CLS" if n == 0 else "", "plain" if n == 0 else colours[n - 1], 11, 3)
    s.text(258, 84, "+ positions", 13, kind="soft")
    s.text(258, 334, "1 + N tokens", 13, kind="soft")
    s.arrow(294, 204, 324, 204)
    s.box(330, 60, 210, 288, "", "plain", round_=10)
    s.text(435, 48, "L blocks", 15, weight=600)
    s.path("M348 204H376V330H384")
    parts = (
        (296, "LayerNorm", "plain"),
        (246, "attention, h heads", "sand"),
        (146, "LayerNorm", "plain"),
        (96, "MLP", "blue"),
    )
    for y, name, colour in parts:
        s.box(388, y, 132, 34, name, colour, 13)
    s.arrow(454, 296, 454, 284)
    s.arrow(454, 246, 454, 224)
    s.circle(454, 210, 11, "+", size=13)
    s.arrow(454, 199, 454, 184)
    s.arrow(454, 146, 454, 134)
    s.arrow(454, 96, 454, 86)
    s.circle(454, 76, 9, "+", size=11)
    s.path("M376 313H366V210H440")
    s.path("M454 190H366V76H442")
    s.path("M463 76H560V122H572")
    s.box(576, 104, 66, 36, "CLS", "plain")
    s.arrow(609, 140, 609, 166)
    s.box(566, 170, 86, 34, "LayerNorm", "plain", 13)
    s.arrow(609, 204, 609, 226)
    s.box(566, 230, 86, 34, "head", "green")
    s.arrow(609, 264, 609, 288)
    s.text(609, 306, "K scores", 14)
    s.text(664, 126, "read", 13, "start", "soft")
    s.text(664, 142, "alone", 13, "start", "soft")
    s.parts[s.parts.index('<path class="edge" d="M348 204H376V330H384" marker-end="url(#head)"/>')] = (
        '<path class="edge" d="M330 204H348V313H384" marker-end="url(#head)"/>'
    )
    s.parts[s.parts.index('<path class="edge" d="M376 313H366V210H440" marker-end="url(#head)"/>')] = (
        '<path class="edge" d="M348 210H440" marker-end="url(#head)"/>'
    )
    return s


DRAWINGS = {
    "kernel": kernel, "pooling": pooling, "residual": residual,
    "patches": patches, "tokens": tokens, "norms": norms, "vit": vision_transformer,
}  # fmt: skip
