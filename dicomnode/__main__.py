"""``python -m dicomnode``: the command line, nothing else."""

from dicomnode.cli.main import main

if __name__ == "__main__":
    main()
