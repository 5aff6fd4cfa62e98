"""Check that a second run does nothing, says so, and is quick."""

import subprocess
import sys
import time

LIMIT_S = 30.0  # ten seconds on an idle machine; a busy one must not fail the build


def main() -> None:
    """Run again and look at what it says."""
    started = time.monotonic()
    done = subprocess.run(["make", "run"], capture_output=True, text=True, check=True)
    seconds = time.monotonic() - started
    print(done.stdout)
    assert "Nothing to be done" in done.stdout, "the second run was no no-op"
    assert seconds < LIMIT_S, f"the no-op took {seconds:.1f} s"
    print(f"no-op in {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
