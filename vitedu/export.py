"""`python -m vitedu.export`: the command that `use/export.py` holds."""

from vitedu.use.export import main

if __name__ == "__main__":
    raise SystemExit(main())
