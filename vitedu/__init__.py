"""vitedu: the small, readable PyTorch module behind *Vision Transformers from the ground up*.

Shape legend, used in every file: `B` batch; `C, H, W` image channels, height, width; `P` patch side; `N` tokens
(docstrings say whether CLS is counted); `D` width; `h` heads; `d = D // h` head width; `K` classes.
"""

__version__ = "0.1.0"
