"""The start of the program ``tomostain``, also as ``python -m tomostain`` for launchers (``torchrun -m tomostain``)."""

from tomostain.interrupts import end_at_signals


def main() -> None:
    """Run the command line and exit. From the first import of the command line on, a signal gives one line."""
    end_at_signals()
    from tomostain.cli import main as run_and_exit

    run_and_exit()


if __name__ == "__main__":
    main()
