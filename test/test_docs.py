"""What the READMEs show is what happens."""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGLISH, VIETNAMESE = ROOT / 'README.md', ROOT / 'README.vi.md'


def blocks(path, language=r'\w+'):
    text = path.read_text(encoding='utf-8')
    return re.findall(rf'^```({language})\n(.*?)^```', text, re.M | re.S)


@pytest.mark.parametrize('code', [code for _, code in blocks(ENGLISH, 'python')],
                         ids=lambda code: re.findall(r'\w+', code)[-1])
def test_a_python_block_prints_what_it_says(mg, code, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, 'README.md', 'exec'), {'__name__': '__main__'})
    said = [line.partition('  # ')[2] for line in code.splitlines() if 'print(' in line]
    assert capfd.readouterr().out.splitlines() == said


def test_the_code_is_the_same_in_both_languages():
    assert blocks(ENGLISH) == blocks(VIETNAMESE)
    assert len(blocks(ENGLISH, 'python')) >= 7


@pytest.mark.parametrize('path', [ENGLISH, VIETNAMESE], ids=lambda path: path.name)
def test_what_it_links_to_is_there(path):
    text = path.read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!https?:)(.*?)\)', text) + re.findall(r'src="(.*?)"', text)
    assert len(links) > 8 and not [link for link in links if not (ROOT / link).exists()]
