"""``python -m trionet``."""

from trionet.cli.main import main

if __name__ == "__main__":
    main()
