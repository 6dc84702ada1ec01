"""Draws `pacing.png` from the file that `cargo run --release -p nym-tests --bin pacing` writes.

    python docs/img/pacing.py pacing.csv docs/img/pacing.png

Needs matplotlib.
"""

import csv
import math
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  the backend is chosen first

# Packets per second of both streams of a client with the default pattern.
RATE = 55.0


def read(path):
    """The gaps in milliseconds, by state, all runs together."""
    gaps = {"idle": [], "busy": []}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            gaps[row["state"]].append(1000 * float(row["gap_secs"]))
    return gaps


def main(source, target):
    gaps = read(source)
    labels = {"idle": "no app sends anything", "busy": "an app sends 10 MB"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))

    for state, style in (("idle", "-"), ("busy", "--")):
        values = sorted(gaps[state])
        steps = [(index + 1) / len(values) for index in range(len(values))]
        label = f"{labels[state]} ({len(values)} gaps)"
        left.plot(values, steps, style, label=label, linewidth=1.4)
    longest = 150
    grid = [longest * step / 300 for step in range(301)]
    expected = [1 - math.exp(-RATE * millis / 1000) for millis in grid]
    left.plot(grid, expected, ":", color="black", linewidth=1, label="Poisson, 55 packets/s")
    left.set_xlim(0, longest)
    left.set_xlabel("gap between packets, ms")
    left.set_ylabel("share of gaps that are shorter")
    left.legend(loc="lower right")
    left.set_title("What an observer of the client's link measures")

    bins = [5 * step for step in range(25)]
    right.hist(
        [gaps["idle"], gaps["busy"]],
        bins=bins,
        density=True,
        label=[labels["idle"], labels["busy"]],
    )
    right.set_xlabel("gap between packets, ms")
    right.set_ylabel("density")
    right.legend()
    right.set_title("The same as a histogram")

    figure.tight_layout()
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
