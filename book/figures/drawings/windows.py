"""Drawings of chapter 13: windows, the shift and its pieces, the relative index, merging, pixels beside queries."""

from sheet import Sheet


def windows() -> Sheet:
    s = Sheet(
        720, 270, "Attention everywhere, in windows, and in shifted windows",
        "Three maps of 8 by 8 tokens, in each the same token marked q and, shaded, what it attends to. Everywhere: all "
        "64 tokens. In windows of 4 by 4: the 16 tokens of its own window. In windows shifted by two down and to the "
        "right: 16 tokens again, from four of the earlier windows.",
    )  # fmt: skip
    side, row, column = 22, 3, 3
    panels = (
        (36, "everywhere", lambda r, c: True, (), "each of 64 with 64: 4,096 pairs"),
        (272, "windows, M = 4", lambda r, c: r < 4 and c < 4, (4,), "4 · 16 · 16 = 1,024 pairs"),
        (508, "shifted by M // 2 = 2", lambda r, c: 2 <= r < 6 and 2 <= c < 6, (2, 6), "as many pairs"),
    )
    for x, name, sees, cuts, says in panels:
        s.text(x + 88, 30, name, 15, weight=600)
        s.grid(
            x, 46, 8, 8, side,
            lambda r, c, sees=sees: "sand" if (r, c) == (row, column) else "teal" if sees(r, c) else "plain",
            lambda r, c: "q" if (r, c) == (row, column) else "",
        )  # fmt: skip
        for cut in cuts:
            s.line(x + cut * side, 46, x + cut * side, 46 + 8 * side, "heavy")
            s.line(x, 46 + cut * side, x + 8 * side, 46 + cut * side, "heavy")
        s.text(x + 88, 250, says, 13, kind="soft")
    return s


PIECES = ((0, 0, 1, 2), (0, 0, 1, 2), (3, 3, 4, 5), (6, 6, 7, 8))
TINT = ("blue", "sand", "violet", "green", "teal", "plain", "violet", "plain", "sand")


def shift() -> Sheet:
    s = Sheet(
        720, 426, "Shifted windows, the roll and the mask",
        "A map of 4 by 4 tokens, numbered 0 to 15, with windows of 2 by 2. Shifted by one token, they cut it into "
        "nine pieces, numbered 0 to 8. Rolled by one row and one column, the pieces make up four whole windows: tokens "
        "5 6 9 10; 7 4 11 8; 13 14 1 2; and 15 12 3 0. Below, the mask of each window: a token sees those of its own "
        "piece, so all of the first window see each other, and in the last each sees itself alone.",
    )  # fmt: skip
    side = 40
    whole, rolled = ((56, 50), (300, 50))
    number = lambda r, c: 4 * r + c  # noqa: E731
    came = lambda r, c: ((r + 1) % 4, (c + 1) % 4)  # noqa: E731 - where a place of the rolled map came from
    piece_at = {came(r, c): PIECES[r][c] for r in range(4) for c in range(4)}
    s.text(whole[0] + 80, 32, "the map, cut 1 further on", 14, weight=600)
    s.grid(*whole, 4, 4, side, lambda r, c: TINT[piece_at[r, c]], lambda r, c: str(number(r, c)))
    for cut in (1, 3):
        s.line(whole[0] + cut * side, 44, whole[0] + cut * side, 216, "heavy")
        s.line(50, whole[1] + cut * side, 222, whole[1] + cut * side, "heavy")
    s.arrow(230, 130, 290, 130)
    s.text(260, 118, "roll", 14)
    s.text(rolled[0] + 80, 32, "rolled by −1, −1", 14, weight=600)
    s.grid(*rolled, 4, 4, side, lambda r, c: TINT[PIECES[r][c]], lambda r, c: str(number(*came(r, c))))
    s.line(rolled[0] + 80, 44, rolled[0] + 80, 216, "heavy")
    s.line(294, rolled[1] + 80, 466, rolled[1] + 80, "heavy")
    s.text(rolled[0] + 290, 32, "its pieces", 14, weight=600)
    s.grid(510, 50, 4, 4, side, lambda r, c: TINT[PIECES[r][c]], lambda r, c: str(PIECES[r][c]))
    s.line(590, 44, 590, 216, "heavy")
    s.line(504, 130, 676, 130, "heavy")
    for window, x in enumerate((36, 208, 380, 552)):
        places = [(2 * (window // 2) + r, 2 * (window % 2) + c) for r in (0, 1) for c in (0, 1)]
        names = [number(*came(*place)) for place in places]
        own = [PIECES[r][c] for r, c in places]
        s.text(x + 78, 248, f"window {window}", 13, weight=600)
        s.grid(x + 18, 274, 4, 4, 30, lambda r, c, own=own: "teal" if own[r] == own[c] else "plain")
        for n, name in enumerate(names):
            s.text(x + 33 + 30 * n, 268, str(name), 12, kind="soft")
            s.text(x + 12, 293 + 30 * n, str(name), 12, "end", "soft")
            for m in range(4):
                s.text(x + 33 + 30 * m, 293 + 30 * n, "0" if own[n] == own[m] else "−100", 11)
    s.text(360, 412, "what is added to the logits: queries down, keys across", 14, kind="soft")
    return s


def relative_index() -> Sheet:
    s = Sheet(
        720, 270, "The relative index of a window of 2 by 2",
        "Left the window with its places 0 to 3. In the middle a table of nine cells, one for each difference of rows "
        "and columns from minus 1 to 1, numbered 0 to 8: 3 (row difference + 1) + column difference + 1. Right the "
        "index, queries down and keys across: 4 3 1 0; 5 4 2 1; 7 6 4 3; 8 7 5 4. On the diagonal stands 4.",
    )  # fmt: skip
    tint = ("blue", "sand", "violet", "green", "teal", "green", "violet", "sand", "blue")
    s.text(84, 36, "the window", 15, weight=600)
    s.grid(44, 80, 2, 2, 40, "plain", lambda r, c: str(2 * r + c))
    s.text(84, 186, "places 0 to 3", 13, kind="soft")
    s.text(300, 36, "query minus key", 15, weight=600)
    for n, name in enumerate(("−1", "0", "1")):
        s.text(262 + 44 * n + 18, 66, name, 13, kind="soft")
        s.text(246, 100 + 44 * n, name, 13, "end", "soft")
    s.grid(256, 74, 3, 3, 44, lambda r, c: tint[3 * r + c], lambda r, c: str(3 * r + c))
    s.text(322, 230, "columns across, rows down:", 13, kind="soft")
    s.text(322, 248, "(2M − 1)² = 9 rows of the table", 13, kind="soft")
    s.arrow(408, 140, 462, 140)
    s.text(588, 36, "the index", 15, weight=600)
    place = [(r, c) for r in (0, 1) for c in (0, 1)]

    def index(q: int, k: int) -> int:
        return 3 * (place[q][0] - place[k][0] + 1) + place[q][1] - place[k][1] + 1

    for n in range(4):
        s.text(524 + 40 * n, 66, str(n), 13, kind="soft")
        s.text(494, 98 + 40 * n, str(n), 13, "end", "soft")
    s.grid(504, 74, 4, 4, 40, lambda r, c: tint[index(r, c)], lambda r, c: str(index(r, c)))
    s.text(584, 254, "queries down, keys across", 13, kind="soft")
    return s


def merging() -> Sheet:
    s = Sheet(
        720, 270, "Patch merging",
        "A map of 4 by 4 positions of width C. The four positions of each square of 2 by 2 are taken apart into four "
        "maps of 2 by 2, in the order upper left, lower left, upper right, lower right, and put one behind the other: "
        "width 4 C. A LayerNorm and a linear map without bias follow: 2 by 2 positions of width 2 C.",
    )  # fmt: skip
    tint = ("blue", "sand", "violet", "green")
    order = lambda r, c: (r % 2) + 2 * (c % 2)  # noqa: E731
    s.grid(30, 70, 4, 4, 36, lambda r, c: tint[order(r, c)], lambda r, c: str(order(r, c)))
    s.line(102, 64, 102, 220, "heavy")
    s.line(24, 142, 180, 142, "heavy")
    s.text(102, 250, "H × W, width C", 13, kind="soft")
    s.arrow(184, 142, 216, 142)
    for n in range(4):
        s.grid(226 + 12 * n, 64 + 30 * n, 2, 2, 26, tint[n], lambda r, c, n=n: str(n))
    s.text(270, 250, "H/2 × W/2, four maps", 13, kind="soft")
    s.arrow(326, 142, 352, 142)
    for n in range(4):
        s.box(358, 86 + 28 * n, 58, 28, "C", tint[n], 13, 1)
    s.text(387, 76, "each: 4C", 13, kind="soft")
    s.arrow(418, 142, 440, 142)
    s.box(444, 120, 92, 44, "LayerNorm", "plain", 14)
    s.arrow(536, 142, 556, 142)
    s.box(560, 114, 76, 56, "4C → 2C", "violet", 14)
    s.text(598, 192, "no bias", 13, kind="soft")
    s.arrow(636, 142, 656, 142)
    s.box(660, 114, 34, 56, "2C", "teal", 14)
    s.text(580, 250, "H/2 × W/2, width 2C", 13, kind="soft")
    return s


def pixels_and_queries() -> Sheet:
    s = Sheet(
        720, 330, "An answer for each pixel, and an answer for each query",
        "A map of tokens stands in the middle. Above, a linear head turns each token into P by P numbers and lays them "
        "out as its pixels lie: a mask as large as the picture. Below, six learned queries go through a decoder, in "
        "which they see each other and look at all tokens; each leaves as a class and a box, or as no object.",
    )  # fmt: skip
    s.grid(40, 126, 4, 4, 24, lambda r, c: "teal" if (r, c) in ((1, 1), (1, 2), (2, 1), (2, 2)) else "blue")
    s.text(88, 244, "tokens of width D", 13, kind="soft")
    s.path("M146 150H200V80H232")
    s.box(238, 56, 118, 48, "linear, D → P²", "violet")
    s.arrow(356, 80, 404, 80)
    inside = ((2, 2), (2, 3), (3, 1), (3, 2), (3, 3), (3, 4), (4, 2), (4, 3), (4, 4), (5, 2), (5, 3))
    s.grid(412, 24, 8, 8, 14, lambda r, c: "sand" if (r, c) in inside else "plain")
    s.text(536, 66, "a score for each pixel:", 13, "start")
    s.text(536, 86, "object or not", 13, "start")
    s.text(536, 112, "not: which object", 13, "start", "soft")
    s.path("M146 198H200V250H232")
    s.box(238, 214, 118, 72, "decoder:\nsee each other,\nlook at tokens", "green", 13)
    for n in range(6):
        s.box(186 + 38 * n, 304, 30, 18, f"q{n}", "plain", 11, 3)
    s.arrow(297, 302, 297, 288)
    s.arrow(356, 250, 404, 250)
    says = ("star, box", "no object", "ring, box", "no object", "no object", "no object")
    for n, words in enumerate(says):
        s.box(412, 172 + 24 * n, 112, 20, f"q{n}: {words}", "plain" if words == "no object" else "sand", 12, 3)
    s.text(536, 226, "an answer for a query:", 13, "start")
    s.text(536, 246, "what it is, and where", 13, "start")
    s.text(536, 272, "not: which pixels", 13, "start", "soft")
    return s


DRAWINGS = {
    "windows": windows,
    "shift": shift,
    "relative-index": relative_index,
    "merging": merging,
    "pixels-and-queries": pixels_and_queries,
}
