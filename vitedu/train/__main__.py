from vitedu.train.cli import main

raise SystemExit(main())
