"""What the command line costs to start: `python tests/speed/startup.py`."""

import subprocess
import sys

from timing import medians, table


def start(*words: str) -> None:
    """Runs a fresh interpreter."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def main() -> None:
    """Prints the table."""
    program = ("-m", "robustvideo.benchmark.cli.main")
    jobs = {
        "import typer, rich": lambda: start("-c", "import typer, rich"),
        "vbench --help": lambda: start(*program, "--help"),
        "vbench list": lambda: start(*program, "list"),
        "vbench show pgd": lambda: start(*program, "show", "pgd"),
    }
    should = {"vbench --help": "should be <= 3", "vbench list": "should be <= 500 ms", "vbench show pgd": "should be <= 500 ms"}
    table("Start of the command line", medians(jobs, 9), "import typer, rich", should)


if __name__ == "__main__":
    main()
