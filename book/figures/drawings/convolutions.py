"""Drawings of chapter 12: CvT's three stages, its overlapping windows, and its convolutional projection."""

from sheet import Sheet


def stages() -> Sheet:
    s = Sheet(
        720, 330, "CvT in three stages",
        "From left to right: a picture of 224 by 224 pixels, and three stages. Each begins with a convolution that "
        "makes fewer and wider tokens, 56 by 56 of width 64, then 28 by 28 of width 192, then 14 by 14 of width 384, "
        "and goes on with its blocks, 1, 2 and 10. The class token joins before the blocks of the last stage. After "
        "them it passes a LayerNorm and a linear head.",
    )  # fmt: skip
    s.grid(20, 150, 4, 4, 20, "blue")
    s.text(60, 136, "224 × 224 × 3", 12, kind="soft")
    s.text(60, 250, "picture", 13, kind="soft")
    s.arrow(104, 190, 124, 190)
    columns = (
        (130, "7 × 7", "stride 4", "56 × 56", "64", 1, 6, 17),
        (306, "3 × 3", "stride 2", "28 × 28", "192", 2, 3, 25),
        (482, "3 × 3", "stride 2", "14 × 14", "384", 10, 2, 28),
    )
    for number, (x, kernel, stride, grid, width, depth, cells, side) in enumerate(columns, 1):
        s.text(x + 64, 34, f"stage {number}", 15, weight=600)
        s.box(x, 150, 60, 80, "", "sand")
        s.text(x + 30, 178, "conv", 13)
        s.text(x + 30, 195, kernel, 12)
        s.text(x + 30, 211, stride, 12)
        s.arrow(x + 60, 190, x + 72, 190)
        s.box(x + 76, 150, 64, 80, "", "teal")
        s.text(x + 108, 186, f"{depth} block" + "s" * (depth > 1), 13)
        s.text(x + 108, 204, "no positions", 10, kind="soft")
        s.grid(x + 70 - cells * side / 2, 122 - cells * 11, cells, cells, 11, "green")
        s.text(x + 70, 262, f"{grid} tokens", 13)
        s.text(x + 70, 281, f"of width {width}", 13, kind="soft")
        s.arrow(x + 140, 190, x + 172, 190)
    s.box(566, 80, 48, 26, "CLS", "violet", 12)
    s.path("M590 106V146", kind="heavy")
    s.box(656, 160, 52, 60, "norm,\nhead", "green", 12)
    s.text(682, 240, "reads", 12, kind="soft")
    s.text(682, 255, "CLS", 12, kind="soft")
    s.text(360, 314, "fewer tokens from stage to stage, and wider ones, as in a CNN", 13, kind="soft")
    return s


def windows() -> Sheet:
    s = Sheet(
        720, 290, "Windows side by side, and windows that overlap",
        "Two rows of pixels, each with three windows above it. Left, windows of 4 pixels with a stride of 4 stand "
        "side by side, so each pixel belongs to one token. Right, windows of 7 pixels with a stride of 4 overlap by "
        "3, and the row begins with 2 zeros of padding: most pixels belong to two tokens.",
    )  # fmt: skip
    for x, kernel, padding, name in ((30, 4, 0, "ViT: kernel 4, stride 4"), (360, 7, 2, "CvT: kernel 7, stride 4")):
        count = 12 + padding + (1 if padding else 0)
        middle = x + 21 * (padding + 6)
        s.text(middle, 34, name, 15, weight=600)
        s.grid(x, 190, 1, count, 21, lambda r, c, p=padding: "blue" if p <= c < 12 + p else "plain",
               lambda r, c, p=padding: "" if p <= c < 12 + p else "0")  # fmt: skip
        tokens = [(x + 84 * n, 150 - 36 * n if padding else 150, n) for n in range(3)]
        for left, top, _ in tokens:
            s.line(left + 1, top + 26, left + 1, 190, kind="edge dashed")
            s.line(left + 21 * kernel - 1, top + 26, left + 21 * kernel - 1, 190, kind="edge dashed")
        for left, top, n in tokens:
            s.box(left, top, 21 * kernel, 26, f"token {n}", ("sand", "teal", "violet")[n], 12)
        s.text(middle, 236, "12 pixels of one row" + (", padding 2" if padding else ""), 13, kind="soft")
    s.text(156, 262, "each pixel in one token", 13)
    s.text(528, 262, "three of four pixels in two tokens", 13)
    return s


def projection() -> Sheet:
    s = Sheet(
        720, 350, "The convolutional projection",
        "Tokens of a 4 by 4 grid, and the class token beside them. For the queries a depthwise 3 by 3 convolution of "
        "stride 1 and BatchNorm leave 4 by 4 places, for keys and values those of stride 2 leave 2 by 2. The class "
        "token goes past both. Then each has its linear map, D to D, which gives 17 queries, 5 keys and 5 values.",
    )  # fmt: skip
    s.grid(30, 130, 4, 4, 24, "blue")
    s.box(58, 80, 44, 26, "CLS", "violet", 12)
    s.text(78, 248, "1 + 16 tokens", 13, kind="soft")
    for y, name, stride, side, count in ((56, "q", 1, 4, 17), (160, "k", 2, 2, 5), (258, "v", 2, 2, 5)):
        s.path(f"M134 178H152V{y + 22}H166")
        s.box(172, y, 128, 44, f"depthwise 3 × 3,\nstride {stride}", "sand", 12)
        s.arrow(300, y + 22, 318, y + 22)
        s.box(322, y, 82, 44, "BatchNorm", "plain", 12)
        s.arrow(404, y + 22, 424, y + 22)
        cell = 12 if side == 4 else 18
        s.grid(430, y + 22 - side * cell / 2, side, side, cell, "green")
        s.arrow(486, y + 22, 518, y + 22)
        s.box(522, y, 88, 44, "linear,\nD → D", "teal", 12)
        s.arrow(610, y + 22, 634, y + 22)
        s.text(674, y + 20, f"{name}", 16, weight=600)
        s.text(674, y + 38, f"{count} tokens", 12, kind="soft")
    s.path("M80 80V30H504V60", arrow=False, kind="heavy")
    s.path("M504 60V263", arrow=False, kind="heavy dashed")
    for y in (64, 168, 266):
        s.path(f"M504 {y}H520", kind="heavy")
    s.text(300, 22, "CLS goes past the convolution, and meets the linear map", 13, kind="soft")
    s.text(360, 334, "N queries, but N/4 keys and values: a quarter of the pairs", 13, kind="soft")
    return s


DRAWINGS = {"cvt-stages": stages, "cvt-windows": windows, "cvt-projection": projection}
