"""docs/benchmarks.md is what the newest results say; a result is one line and one record."""

import glob
import json
import os

from harness import record, report


def test_the_page_is_written_from_the_newest_results():
    newest = sorted(glob.glob(os.path.join(record.RESULTS, "*.jsonl")))[-1]
    with open(record.TABLE, encoding="utf-8") as page:
        assert page.read() == record.table(newest), "run benchmarks/harness/record.py --table"


def test_a_result_is_a_line_with_name_value_unit_and_host(capsys):
    report.report("speed", 12.3456, "MIPS")
    assert capsys.readouterr().out == f"speed 12.35 MIPS {report.host()}\n"


def test_a_result_says_whether_its_target_is_met(capsys):
    report.report("speed", 5, "MIPS", report.Target(least=4))
    report.report("size", 5, "MiB", report.Target(most=4))
    met, missed = capsys.readouterr().out.splitlines()
    assert met == f"speed 5 MIPS {report.host()}  # target >= 4: met"
    assert missed == f"size 5 MiB {report.host()}  # target <= 4: MISSED"


def test_a_result_is_kept_where_the_environment_says(tmp_path, monkeypatch):
    path = tmp_path / "records"
    monkeypatch.setenv(report.RECORDS, str(path))
    report.report("speed", 5, "MIPS", report.Target(least=4))
    report.report("size", 1 / 3, "MiB")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"name": "speed", "value": 5.0, "unit": "MIPS", "target": ">= 4"},
        {"name": "size", "value": 0.33333, "unit": "MiB"},
    ]


def test_measures_alternate():
    order = []
    found = report.interleaved(
        2, lambda: order.append("a") or len(order), lambda: order.append("b") or len(order)
    )
    assert order == ["a", "b", "a", "b"]
    assert found == [[1, 3], [2, 4]]


def test_a_ratio_is_taken_round_by_round():
    assert report.median_ratio([1, 20, 300], [2, 10, 100]) == 2
