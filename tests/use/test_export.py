"""`python -m vitedu.export`: every model of the table, for batches of any size, equal to the one that was trained."""

import importlib.util
import json

import pytest
import torch

from vitedu.data import normalise
from vitedu.models.table import CLASSIFIERS
from vitedu.use import classifier
from vitedu.use.export import main

NEEDED = ("onnx", "onnxscript", "onnxruntime")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


def prepared(clf, count: int) -> torch.Tensor:
    images = torch.randint(256, (count, *clf.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
    return normalise(images, clf.mean, clf.std)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_pt2_is_the_model_for_any_batch(trained, tmp_path, kind):
    run, out = trained("--model", kind), tmp_path / "model.pt2"
    assert main([str(run), "--format", "torch", "--out", str(out)]) == 0
    clf, program = classifier(run), torch.export.load(out).module()
    for count in (1, 2, 5):
        x = prepared(clf, count)
        with torch.no_grad():
            torch.testing.assert_close(program(x), clf.model(x), atol=1e-4, rtol=1e-4)
    about = json.loads(out.with_suffix(".json").read_text())
    assert (about["class_names"], about["mean"]) == (list(clf.class_names), clf.mean.tolist())


@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing: pip install onnx onnxscript onnxruntime")
@pytest.mark.parametrize("kind", [kind for kind in CLASSIFIERS if kind != "swin"])
def test_onnx_is_the_model_for_any_batch(trained, tmp_path, kind):
    import onnxruntime

    run, out = trained("--model", kind), tmp_path / "model.onnx"
    assert main([str(run), "--out", str(out)]) == 0
    clf, session = classifier(run), onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        x = prepared(clf, count)
        (scores,) = session.run(["scores"], {"images": x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(scores), clf.model(x), atol=1e-4, rtol=1e-4)


def test_a_swin_does_not_become_onnx(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    assert main([str(trained("--model", "swin")), "--out", str(tmp_path / "a.onnx")]) == 2
    assert "fails on a Swin's windows; pass --format torch" in capsys.readouterr().err


def test_what_is_missing_is_named_with_the_remedy(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([str(run), "--out", str(tmp_path / "a.onnx")]) == 2
    error = capsys.readouterr().err
    assert "onnx and onnxscript missing, which --format onnx needs; pip install 'vitedu[export]'" in error
    assert not list(tmp_path.iterdir())
