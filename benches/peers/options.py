"""The command line of the two peers in Python."""

import argparse


def options():
    parser = argparse.ArgumentParser()
    for name in ("--bootstrap-servers", "--input", "--output", "--group"):
        parser.add_argument(name, required=True)
    parser.add_argument("--commit-interval-ms", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, choices=[1])
    return parser.parse_args()
