"""`python -m genway` is `genway`."""

from genway.cli import main

if __name__ == "__main__":
    main()
