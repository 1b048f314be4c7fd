"""A small made-up crawl as WARC files, with a truth file that says what each record is.

Everything is written for this project and every byte follows from the files in this folder: no clock, no
random state, no network. Only warcio and PyYAML are needed beside the standard library.
"""

from .articles import Article, load_articles
from .crawl import Summary, build

__all__ = ["Article", "Summary", "build", "load_articles"]
