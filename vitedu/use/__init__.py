"""A trained model put to use: classify pictures with it, show it on a page of its own, hand it to other programs.

python -m vitedu.predict runs/first photo.jpg folder/
python -m vitedu.share runs/first --out my_vit.html
python -m vitedu.export runs/first --format onnx

From Python, `classifier` gives what classifies a picture:

    clf = classifier("imagenette-small")
    clf(["photo.jpg"])  # [[("golf ball", 0.93), ("parachute", 0.04), ("tench", 0.01)]]
"""

from vitedu.use.classifier import Classifier, classifier

__all__ = ["Classifier", "classifier"]
