"""`python -m dcnrun` is the same program as `dcnrun`."""

from dcnrun.cli import main

if __name__ == "__main__":
    main()
