"""`python -m vitedu.train`: the command that `cli.py` holds."""

from vitedu.train.cli import main

raise SystemExit(main())
