"""Writes the book's drawings as SVG files beside this folder's parent: python book/figures/drawings"""

from pathlib import Path

import attention
import carried
import convolutions
import learning
import pictures
import recurrence
import windows
import without_labels

FOLDER = Path(__file__).resolve().parents[1]
PARTS = (recurrence, attention, pictures, learning, convolutions, windows, carried, without_labels)
DRAWINGS = {name: draw for part in PARTS for name, draw in part.DRAWINGS.items()}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
        print(f"book/figures/{name}.svg")
