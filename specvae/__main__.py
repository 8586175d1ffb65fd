"""``python -m specvae``: the command line, by the interpreter that is named."""

from specvae.cli.main import main

if __name__ == "__main__":
    main()
