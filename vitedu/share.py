"""`python -m vitedu.share`: the command that `use/share.py` holds."""

from vitedu.use.share import main

if __name__ == "__main__":
    raise SystemExit(main())
