"""`python -m mairust_cli`, and the entry point of the `mairust` executable."""

from __future__ import annotations

from mairust_cli.app import main

if __name__ == "__main__":
    main()
