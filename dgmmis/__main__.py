"""`python -m dgmmis` is the same program as `dgmmis`."""

from dgmmis.cli import main

if __name__ == "__main__":
    main()
