import io
import sys

from radixlang.runtime.store.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with Progress("fetching x", 1000) as bar:
        bar.reach(400)
        bar.reach(300)  # never backwards
        bar.reach(5000)
    assert "fetching x" in shown.getvalue()
    assert "100%" in shown.getvalue()


def test_a_failed_fetch_does_not_end_at_100(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    try:
        with Progress("fetching x", 1000) as bar:
            bar.reach(400)
            raise ValueError
    except ValueError:
        pass
    assert "100%" not in shown.getvalue()


def test_elsewhere_one_line_and_silence_when_asked(capsys):
    with Progress("fetching x", 1 << 21) as bar:
        bar.reach(5)
    assert capsys.readouterr().err == "fetching x: 2 MiB\n"
    with Progress("fetching x", 1000, shown=False) as bar:
        bar.reach(5)
    assert capsys.readouterr().err == ""
