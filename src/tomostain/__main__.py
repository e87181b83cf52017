"""``python -m tomostain``: the command line, for launchers that start a module (``torchrun -m tomostain``)."""

from tomostain.cli import main

if __name__ == "__main__":
    main()
