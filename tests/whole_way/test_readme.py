"""The program on the README's first screen runs, and prints what the README says."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_first_program_prints_what_is_written_below_it(engine, capsys):
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.S).group(1)
    opened = 'sgl.set_default_backend(sgl.Engine(model_path="smollm2-135m-instruct"))'
    assert opened in code
    names = {"engine": engine}
    exec(code.replace(opened, "sgl.set_default_backend(engine)"), names)
    printed = capsys.readouterr().out.strip()
    assert isinstance(eval(printed), list)
    assert len(eval(printed)) == 3
