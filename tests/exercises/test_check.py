"""`vitedu.exercises.check` and `progress`: never an error, and nothing left behind."""

import signal
import subprocess
import sys
import threading

import pytest

import vitedu.exercises as package
from tests.exercises.conftest import pad
from tests.exercises.test_guard import endless, snapshot, spoil
from vitedu.exercises import check, progress
from vitedu.exercises.exercise import CHAPTERS


def test_unknown_id(line):
    assert line("5.77", pad) == "Exercise 5.77: there is no such exercise; there are 5.1, 5.2, 5.3, 5.4, 5.5, 5.6"
    assert ", 5.5, " in line("0.1", pad)  # of no chapter: all there are
    assert line(["?"], pad).startswith("Exercise ['?']: there is no such exercise")
    assert line(5.4, pad) == "Exercise 5.4: passed (6 checks)"  # a number will do


def test_a_fault_of_the_engine_is_one_line_too(line, monkeypatch):
    monkeypatch.setattr(package, "Trial", lambda exercise, answer: 1 / 0)
    assert line("5.4", pad) == "Exercise 5.4: could not be checked: ZeroDivisionError: division by zero"


def test_outside_the_main_thread(capsys):
    """`check` works where signals do not."""
    worker = threading.Thread(target=check, args=("5.4", pad))
    worker.start()
    worker.join()
    assert capsys.readouterr().out.startswith("Exercise 5.4: passed (")


def test_an_answer_that_prints(capsys):
    check("5.4", lambda images, patch: print(tuple(images.shape)) or pad(images, patch))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "(2, 3, 5, 6)"
    assert printed[-1].startswith("Exercise 5.4: passed (")


def test_an_answer_that_is_late_and_rude_leaves_nothing_behind(capsys):
    def answer(images, patch):
        spoil()
        endless()

    before = snapshot(), signal.getsignal(signal.SIGALRM)
    check("5.4", answer, seconds=0.1)
    assert (snapshot(), signal.getsignal(signal.SIGALRM)) == before


def test_the_package_and_the_check_of_one_chapter_import_no_other():
    code = (
        "import sys, vitedu.exercises as e\n"
        "names = lambda: sorted(n for n in sys.modules if n.startswith(('vitedu.exercises.c', 'vitedu.train')))\n"
        "print(names()); e.check('5.4', None); print(names())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [printed[0], printed[2]] == [
        "['vitedu.exercises.compare']",
        "['vitedu.exercises.chapter05', 'vitedu.exercises.compare']",
    ]


# Progress ------------------------------------------------------------------------------------------------------------


def test_progress_shows_what_has_passed(monkeypatch, line, capsys):
    """Only what has passed counts, with a remark too, and it stays solved."""
    monkeypatch.setattr(package, "_solved", set())
    line("5.4", lambda images, patch: pad(images, patch).detach(), modest=True)
    line("5.4", lambda images, patch: images)
    line("5.5", lambda images, patch, stride: images)
    assert progress() is None
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(CHAPTERS)
    assert "chapter  5: 1 of 6 solved  · 5.1  · 5.2  · 5.3  ✓ 5.4  · 5.5  · 5.6" in printed
    assert "chapter  9: 0 of 6 solved  · 9.1  · 9.2  · 9.3  · 9.4  · 9.5  · 9.6" in printed


def test_progress_of_one_chapter_prints_that_chapter_alone(monkeypatch, capsys):
    """What a chapter stores must not change when another chapter is written."""
    monkeypatch.setattr(package, "_solved", {"9.2"})
    progress(9)
    assert capsys.readouterr().out == "chapter  9: 1 of 6 solved  · 9.1  ✓ 9.2  · 9.3  · 9.4  · 9.5  · 9.6\n"
    with pytest.raises(ValueError, match=f"those that have: {CHAPTERS[0]}, "):
        progress(99)
