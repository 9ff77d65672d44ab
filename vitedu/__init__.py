"""vitedu: the small, readable PyTorch module behind *Vision Transformers from the ground up*.

Shape legend, used in every file: `B` batch; `C, H, W` image channels, height, width; `P` patch side; `N` tokens
(docstrings say whether CLS is counted); `D` width; `h` heads; `d = D // h` head width; `K` classes.

What is where, roughly in the order in which one imports the other:

    initialise attention patch position block vit    the Vision Transformer itself
    device files recorded plot      where to compute, safe writing, recorded results, figures
    data/        the sets, drawn and published
    capture      attention maps and tokens of a model while it runs
    models/      the other models, one paper a file, and the table of those with a name
    inspection/  what a trained model has learned
    cost         parameters, multiply-adds, memory, the bill of a run
    train/       fit, evaluate, TrainConfig, recipe, losses with a teacher or without labels, `python -m vitedu.train`
    pretrained/  weights of the book's models, and of others
    use/         what to do with a trained model: classify pictures, write a page in which it runs, export it
    predict share export    the commands for it, `python -m vitedu.predict` and so on
    exercises/   check and progress, and what they know of each exercise
"""

__version__ = "0.1.0"
