"""Writes the models of the comparison, or with `--tests` the small ones of tests/quantised.

    python onnx_models.py --tests ../../tests/quantised
"""

import argparse
from pathlib import Path

from onnx_tests import write_tests


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=Path, required=True, help="folder for the small models")
    args = parser.parse_args()
    write_tests(args.tests)


if __name__ == "__main__":
    main()
