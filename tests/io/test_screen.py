"""What fits on a terminal."""

import os

import pytest

from osm_healthcheck.reports.screen import Screen


def test_a_line_is_cut_at_the_width_and_colours_take_no_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((10, 2)))
    screen = Screen()
    screen.enter()
    capsys.readouterr()
    screen.draw(["\x1b[31mfailure\x1b[0m of a probe", "short", "below the last line"])
    shown = capsys.readouterr().out
    assert "\x1b[31mfailure\x1b[0m of\x1b[K" in shown
    assert "short" in shown
    assert "below" not in shown
    screen.draw(["\x1b[31mfailure\x1b[0m of a probe", "short", "another"])
    assert capsys.readouterr().out == ""  # nothing that is seen has changed
