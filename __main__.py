"""`python -m radixlang`: the command line."""

from radixlang.cli import main

raise SystemExit(main())
