"""`python -m refold_async.cli` is the command `refold`."""

from refold_async.cli import main

if __name__ == "__main__":
    main()
