"""Build the sample crawl: `python examples/crawl/build.py --out DIR`."""

import argparse
from pathlib import Path

from sample_crawl import build


def main() -> None:
    """Build into `--out` and print the counts by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for *.warc.gz and truth.jsonl")
    summary = build(parser.parse_args().out)
    for path in summary.warc_files:
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(f"{summary.truth_file}  {summary.num_records} records, {summary.num_responses} responses")
    for kind, count in sorted(summary.kinds.items()):
        print(f"  {kind:<16} {count:>4}")


if __name__ == "__main__":
    main()
