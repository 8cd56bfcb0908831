"""`python -m raypipe` is the command line."""

from raypipe.cli import main

if __name__ == "__main__":
    main()
