"""`python -m vitedu.predict`: the command that `use/predict.py` holds."""

from vitedu.use.predict import main

if __name__ == "__main__":
    raise SystemExit(main())
