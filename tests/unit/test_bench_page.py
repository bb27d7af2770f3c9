"""The page of benchmarks: what it counts, and how one part of it is measured anew."""

from __future__ import annotations

from bench import page, report
from bench.report import Row

GOOD = report.table([Row("Quick", 1.0, "s", 2.0, "peer", 1.0), Row("Informs", 3.0, "s")])
BAD = report.table([Row("Slow", 3.0, "s", 2.0, "peer", 1.0)])
FACTS = [("Machine", "two cores"), ("Date", "today")]


def test_a_page_counts_what_was_met_and_names_what_was_missed() -> None:
    text = page.render({"One": GOOD, "Two": BAD}, FACTS)
    assert "**1 of 2 claims met.** Missed: Slow" in text
    assert text.index("| Machine | two cores |") < text.index("## One") < text.index("## Two")


def test_one_part_measured_anew_leaves_the_others_as_they_were() -> None:
    before = page.render({"One": GOOD, "Two": BAD}, FACTS)
    after = page.replaced(before, {"Two": GOOD.replace("Quick", "Mended"), "Three": "news"})
    assert "**2 of 2 claims met.**" in after and "Missed" not in after.split("## One")[0]
    assert "Quick" in after and "Mended" in after and "Slow" not in after
    assert after.count("# Benchmarks") == 1 and after.count("| Machine | two cores |") == 1
    assert after.index("## One") < after.index("## Two") < after.index("## Three")
    assert page.replaced(after, {}) == after
