"""`python -m echomimic` is the command line."""

from echomimic.apps.cli.main import main

if __name__ == "__main__":
    main()
