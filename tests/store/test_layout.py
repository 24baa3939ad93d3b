"""Names in a run directory: what is written is what is found again."""

from __future__ import annotations

import pytest

from batchlab.store.layout import JournalName, Layout, is_run, part_name, part_number, part_numbers


@pytest.mark.parametrize("index", [0, 42, 999_999, 1_000_000])
def test_a_part_and_a_journal_say_which_shards_they_are(index):
    assert part_number(part_name(index)) == index
    for name in (JournalName(index, 3), JournalName(index, 1, "5f0c1e9a", 7)):
        assert JournalName.of(name.file_name) == name


def test_other_files_are_neither_parts_nor_journals():
    names = ["part-000001.parquet", "part-000002.parquet.tmp", "part-x.parquet", "000003.1.log"]
    assert part_numbers(names) == {1}
    for name in ("answers.tmp", "000001.1.log.damaged", "000001.log", "1.1.log", "000001.1.x.2.log"):
        assert JournalName.of(name) is None


def test_journals_are_read_in_the_order_in_which_they_were_written(tmp_path):
    layout = Layout(tmp_path)
    layout.journals.mkdir()
    written = [
        JournalName(7, 2),
        JournalName(7, 9, "aa", 2),
        JournalName(7, 9, "aa", 10),
        JournalName(7, 10),
    ]
    for name in reversed([*written, JournalName(8, 1)]):
        layout.journal(name).touch()

    assert layout.journal_names(7) == written
    assert [path.name for path in layout.journal_files(7)] == [name.file_name for name in written]
    assert layout.with_journals() == {7, 8}


def test_a_directory_is_a_run_once_it_has_a_manifest(tmp_path):
    assert not is_run(tmp_path)
    Layout(tmp_path).manifest.touch()
    assert is_run(tmp_path)
