"""`python -m medssl` is the same as `medssl`."""

from medssl.cli.main import main

main()
