#!/bin/sh
# Sets up a virtual environment with pinned packages: setup_venv.sh [FOLDER [REQUIREMENTS]]   (behind every make target)
# With requirements.txt, which is meant where nothing is said, vitedu itself is installed too; the site does without both.
# PYTHON names the interpreter (default python3). What is missing is said in one line.
set -eu

venv=${1:-.venv}
requirements=${2:-requirements.txt}
python=${PYTHON:-python3}

stop() {
    echo "$*" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 || stop "$python is missing; install it: apt install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 ||
    stop "$("$python" -V 2>&1 || true) is too old or does not run; install Python 3.11 or later, or name it: make book PYTHON=python3.11"

# Debian keeps ensurepip in a package of its own. Without it, `python3 -m venv` fails half way and leaves a broken folder.
"$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    stop "$python cannot make virtual environments; install the missing part: apt install python3-venv"

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "Creating the virtual environment $venv with $("$python" -V)"
    rm -rf "$venv"
    if ! problem=$("$python" -m venv "$venv" 2>&1); then
        rm -rf "$venv"
        stop "$python could not create $venv: $(echo "$problem" | tail -n 1)"
    fi
fi

case $requirements in
requirements.txt) size="6 GB on disk, mostly PyTorch; some minutes the first time" ;;
*) size="310 MB on disk; a minute or two the first time" ;;
esac
echo "Installing the packages of $requirements into $venv ($size)"
# pip says nothing but errors here, so a dot every five seconds shows that it is alive.
(while sleep 5 >/dev/null 2>&1; do printf '.'; done) &
dots=$!
trap 'kill $dots 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
pip() {
    "$venv/bin/python" -m pip -qq --disable-pip-version-check --no-input "$@"
}
pip install --requirement "$requirements" ||
    stop "The packages could not be installed (pip's reason stands above). Run the same command again once it is mended."
if [ "$requirements" != requirements.txt ]; then
    kill $dots 2>/dev/null || true
    echo
    exit 0
fi
# The pinned setuptools builds vitedu: nothing more is fetched, and the environment imports the files of this folder.
pip install --no-deps --no-build-isolation --editable . || stop "vitedu could not be installed (pip's reason stands above)."
kill $dots 2>/dev/null || true
echo
echo "Installed: $("$venv/bin/python" -c 'import importlib.metadata as m; print("torch", m.version("torch") + ", vitedu", m.version("vitedu"))')"
