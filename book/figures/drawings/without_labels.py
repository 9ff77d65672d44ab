"""Drawings of chapter 16: MAE's two halves, DINO's student and teacher, CLIP's matrix, and a map of what came after."""

from sheet import Sheet


def mae() -> Sheet:
    s = Sheet(
        720, 330, "A masked autoencoder",
        "A picture of 4 by 4 patches, of which 12 are removed. The four that are left, with CLS, go through a large "
        "encoder. Then the 12 places are filled with one learned vector, all are put back into raster order, and a "
        "small decoder predicts the pixels of every patch. The loss compares the removed ones alone.",
    )  # fmt: skip
    kept = (1, 6, 11, 12)
    s.text(84, 30, "the picture", 14, weight=600)
    s.grid(36, 46, 4, 4, 24, lambda r, c: "blue" if 4 * r + c in kept else "plain",
           lambda r, c: str(4 * r + c) if 4 * r + c in kept else "")  # fmt: skip
    s.text(84, 164, "12 of 16 removed", 13, kind="soft")
    s.arrow(138, 94, 162, 94)
    for n, (name, colour) in enumerate((("CLS", "green"), *((str(number), "blue") for number in kept))):
        s.box(168, 34 + 25 * n, 40, 21, name, colour, 12, 3)
    s.text(188, 180, "n = 4", 13, kind="soft")
    s.arrow(212, 94, 236, 94)
    s.box(240, 30, 128, 128, "encoder:\nlarge,\nsees what is left", "teal", 14, 10)
    s.text(304, 180, "kept afterwards", 13, kind="soft")
    s.arrow(368, 94, 394, 94)
    for n in range(17):
        name, colour = ("C", "green") if not n else ("", "blue") if n - 1 in kept else ("m", "plain")
        s.box(400 + 30 * (n // 9), 20 + 17 * (n % 9), 26, 15, name, colour, 10, 2)
    s.text(428, 194, "in order again, m: one", 13, kind="soft")
    s.text(428, 210, "learned vector", 13, kind="soft")
    s.arrow(460, 94, 484, 94)
    s.box(488, 62, 96, 64, "decoder:\nsmall,\nsees all", "sand", 13, 10)
    s.text(536, 150, "thrown away", 13, kind="soft")
    s.arrow(584, 94, 608, 94)
    s.grid(612, 50, 4, 4, 22, lambda r, c: "plain" if 4 * r + c in kept else "violet")
    s.text(656, 30, "predicted", 14, weight=600)
    s.text(656, 160, "of all patches", 13, kind="soft")
    s.path("M84 176V268H250")
    s.path("M656 170V268H470")
    s.box(254, 246, 212, 44, "squared error,\nremoved patches alone", "plain", 13)
    s.text(360, 316, "the loss needs no label: the picture is its own answer", 14, kind="soft")
    return s


def dino() -> Sheet:
    s = Sheet(
        720, 380, "DINO: a student and its own average",
        "Above, the student: large and small views of a picture pass through a ViT and a head; a softmax at "
        "temperature 0.1 makes them probabilities. Below, the teacher, whose weights are a running average of the "
        "student's: it sees the large views alone; the centre is taken from its scores, and a softmax at the lower "
        "temperature 0.04 sharpens them. The cross-entropy between both reaches the student alone.",
    )  # fmt: skip
    s.text(24, 30, "views of one picture", 13, "start", weight=600)
    s.box(30, 46, 84, 40, "large, two", "blue", 13)
    s.box(46, 104, 52, 28, "small", "blue", 12)
    s.box(30, 256, 84, 40, "large, two", "blue", 13)
    for y in (66, 118):
        s.path(f"M{114 if y == 66 else 98} {y}H140V92H160")
    s.arrow(114, 276, 160, 276)
    s.box(164, 66, 128, 52, "student:\nViT and head", "teal", 14, 10)
    s.box(164, 250, 128, 52, "teacher:\nViT and head", "violet", 14, 10)
    s.path("M228 118V248", kind="edge dashed")
    s.text(238, 176, "after each step:", 13, "start", "soft")
    s.text(238, 194, "a small share of the student's weights", 13, "start", "soft")
    s.arrow(292, 92, 326, 92)
    s.arrow(292, 276, 326, 276)
    s.box(330, 70, 184, 44, "softmax of scores / 0.1", "plain", 13)
    s.box(330, 254, 92, 44, "− centre", "sand", 14)
    s.arrow(422, 276, 444, 276)
    s.box(448, 254, 152, 44, "softmax of … / 0.04", "green", 13)
    s.text(360, 322, "centring: no answer", 13, kind="soft")
    s.text(360, 339, "is everybody's", 13, kind="soft")
    s.text(530, 322, "sharpening: no answer", 13, kind="soft")
    s.text(530, 339, "is undecided", 13, kind="soft")
    s.box(596, 158, 108, 52, "cross-\nentropy", "plain", 14)
    s.path("M514 92H650V154")
    s.path("M600 276H650V214")
    s.path("M638 158V78H518", kind="heavy dashed")
    s.text(580, 66, "gradient: this way alone", 13, kind="soft")
    s.text(360, 368, "each view of the student is asked what the teacher said of another view", 14, kind="soft")
    return s


def clip() -> Sheet:
    s = Sheet(
        720, 320, "CLIP: which caption belongs to which picture?",
        "Four captions go through a text tower, four pictures through an image tower. Each becomes a vector of length "
        "one. A matrix of 4 by 4 holds the cosine of each picture with each caption, times a learned scale. The pairs "
        "that belong together lie on its diagonal: along a row a picture looks for its caption, down a column a "
        "caption looks for its picture.",
    )  # fmt: skip
    words = ("red star", "blue ring", "cyan cross", "red ring")
    s.text(98, 30, "pictures", 14, weight=600)
    for n in range(4):
        s.box(60, 122 + 44 * n, 76, 36, f"picture {n + 1}", "blue", 13)
        s.path(f"M136 {140 + 44 * n}H160")
    s.box(164, 122, 92, 168, "image\ntower", "teal", 15, 10)
    for n in range(4):
        s.arrow(256, 140 + 44 * n, 288, 140 + 44 * n)
        s.text(306, 145 + 44 * n, f"p{n + 1}", 15)
        s.text(364 + 84 * n, 32, words[n], 13)
        s.path(f"M{364 + 84 * n} 38V48")
        s.path(f"M{364 + 84 * n} 80V90")
        s.text(364 + 84 * n, 106, f"c{n + 1}", 15)
    s.box(326, 50, 330, 30, "text tower", "sand", 15, 10)
    for r in range(4):
        for c in range(4):
            colour = "green" if r == c else "plain"
            s.box(324 + 84 * c, 122 + 44 * r, 80, 36, f"p{r + 1} · c{c + 1}", colour, 14, 2)
    s.parts.append('<rect class="heavy" x="321" y="163" width="338" height="42" rx="3"/>')
    s.parts.append('<rect class="heavy dashed" x="489" y="119" width="86" height="174" rx="3"/>')
    s.text(672, 188, "which", 12, "start", "soft")
    s.text(672, 203, "text?", 12, "start", "soft")
    s.text(532, 310, "which picture?", 13, kind="soft")
    return s


def onwards() -> Sheet:
    s = Sheet(
        720, 420, "Where next: a map",
        "In the middle the Vision Transformer. To the left, learning without labels: MAE, which leads to SAM, and "
        "DINO, which leads to DINOv2, registers and DINOv3. To the right, learning with captions: CLIP, which leads to "
        "SigLIP. Above, any size and any patch: FlexiViT and NaViT. SAM gives a mask for each click, and DINOv3 has "
        "maps that stay sharp. Marked with a bar is what this chapter runs.",
    )  # fmt: skip
    boxes = {
        "ViT": (300, 176, 120, 56, "ViT\nchapters 5–9", "teal"),
        "MAE": (120, 104, 108, 48, "MAE\n2021", "blue"),
        "DINO": (120, 256, 108, 48, "DINO\n2021", "blue"),
        "DINOv2": (20, 330, 108, 48, "DINOv2\n2023", "blue"),
        "registers": (190, 330, 108, 48, "registers\n2023", "blue"),
        "DINOv3": (360, 330, 108, 48, "DINOv3\n2025", "violet"),
        "SAM": (20, 22, 108, 48, "SAM\n2023", "violet"),
        "FlexiViT": (250, 62, 102, 48, "FlexiViT\n2022", "sand"),
        "NaViT": (372, 62, 102, 48, "NaViT\n2023", "sand"),
        "CLIP": (500, 180, 96, 48, "CLIP\n2021", "green"),
        "SigLIP": (600, 284, 96, 48, "SigLIP\n2023", "green"),
    }
    for x, y, w, h, words, colour in boxes.values():
        s.box(x, y, w, h, words, colour, 14, 8)
    for x, y, w, h in (boxes[name][:4] for name in ("MAE", "DINO", "registers", "CLIP")):
        s.line(x + 12, y + h - 2, x + w - 12, y + h - 2, "heavy")
    s.arrow(300, 192, 232, 142)
    s.arrow(300, 216, 232, 266)
    s.arrow(340, 176, 316, 114)
    s.arrow(380, 176, 408, 114)
    s.arrow(420, 204, 496, 204)
    s.arrow(140, 104, 96, 74)
    s.arrow(140, 304, 96, 328)
    s.arrow(128, 354, 186, 354)
    s.arrow(298, 354, 356, 354)
    s.arrow(568, 228, 630, 280)
    s.text(20, 180, "without labels", 13, "start", "soft")
    s.text(362, 46, "any size, any patch", 13, kind="soft")
    s.text(548, 168, "with captions", 13, kind="soft")
    s.text(136, 50, "a mask for each click", 13, "start", "soft")
    s.text(480, 360, "maps that stay sharp", 13, "start", "soft")
    s.text(360, 404, "a bar: this chapter runs it", 13, kind="soft")
    return s


DRAWINGS = {"mae": mae, "dino": dino, "clip": clip, "onwards": onwards}
