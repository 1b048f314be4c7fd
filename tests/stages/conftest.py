from __future__ import annotations

from collections.abc import Iterator

import pytest

from corpusmill.core import key_table


@pytest.fixture(scope="session", autouse=True)
def tables_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Tables of block lists are made here, not in the user's cache."""
    folder = str(tmp_path_factory.mktemp("tables"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(key_table.FOLDER_VARIABLE, folder)
        yield folder
