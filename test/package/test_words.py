# SPDX-License-Identifier: Apache-2.0
"""Code and docs use the words of robotics engineers, in American spelling; names say one thing each."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('shufflenet_ros', 'native', 'demo', 'benchmarks', 'scripts', 'docs', 'docker', 'launch', 'config',
           'interfaces')
PAGES = ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.rst', 'NOTICE', 'models/README.md',
         'setup.py', 'package.xml')
SUFFIXES = {'.py', '.sh', '.md', '.rst', '.c', '.h', '.yaml', '.xml', '.msg', '.srv', '.json', ''}

# What not to write (a regular expression, for whole words of an identifier too) -> what to write instead.
BANNED = {
    'pictures?': 'image',
    '(dis)?proves?|proved|proving|proofs?': 'verify',
    'refusals?': 'error',
    'mends?|mended|mending': 'fix',
    '(each|every|only|one|own|other|same|this) room|rooms': 'package',
    'fates?': 'outcome',
    'makers?': "the maker's name; producer",
    'behind the end': 'past the end',
    'dearest': 'most expensive',
    "frame's way": 'the pipeline of a frame',
    'soft image|softness': 'smooth test image',
    'asked_qos': 'requested_qos',
    'NotTaken': 'UnsupportedGraphError',
    'CannotRunHere': 'VariantUnavailableError',
    'a habit of': 'known behavior',
    'lately': 'recently',
    'told in the log': 'logged',
    'broken_?laws?': 'violated_invariants',
    'labelled|labelling': 'labeled, labeling',
    'colo[u]r(s|ed)?': 'color, in color',
    '(de)?normalis\\w*': 'normalize',
    '(de|re)?quantis\\w*': 'quantize',
    'equalis\\w*': 'equalize',
    'neighbours?': 'neighbor',
    'behaviours?': 'behavior',
    'licences?': 'license',
    'grey(s|scale)?': 'gray',
    'centres?|centred': 'center, centered',
    'catalogues?': 'catalog',
}
# (regular expression for a path, a word, why)
ALLOWED: tuple[tuple[str, str, str], ...] = (
    (r'bundles/cards/.*\.json', 'gr[e]y|maker', "ImageNet's labels, such as espresso maker"),
)


def words_of(line: str) -> str:
    """Return the line, and again with identifiers split into words."""
    return f'{line} {re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", line)}'


def sources() -> list[Path]:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob('*')) if path.is_file()]
    return [path for path in [*files, *(ROOT / page for page in PAGES)]
            if path.suffix in SUFFIXES and '__pycache__' not in path.parts and path.stat().st_size < 200_000]


def better(word: str) -> str:
    return next(instead for banned, instead in BANNED.items() if re.fullmatch(banned, word, re.IGNORECASE))


def allowed(path: str, word: str) -> bool:
    return any(re.search(where, path) and re.fullmatch(what, word, re.IGNORECASE)
               for where, what, _ in ALLOWED)


def test_no_banned_words():
    findings = []
    any_banned = re.compile(rf'\b(?:{"|".join(BANNED)})\b', re.IGNORECASE)
    for source in sources():
        path = source.relative_to(ROOT).as_posix()
        for number, line in enumerate(source.read_text(errors='replace').splitlines(), 1):
            for match in any_banned.finditer(words_of(line)):
                if not allowed(path, match[0]):
                    findings.append(f'{path}:{number}: {match[0]!r}, write {better(match[0])!r}: '
                                    f'{line.strip()[:80]}')
    findings = list(dict.fromkeys(findings))
    assert not findings, f'{len(findings)} findings:\n' + '\n'.join(findings)


@cache
def classes() -> list[tuple[str, ast.ClassDef]]:
    """Return (file:line, definition) of every class in the package."""
    return [(f'{path.relative_to(ROOT)}:{node.lineno}', node)
            for path in sorted((ROOT / 'shufflenet_ros').rglob('*.py'))
            for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]


def test_no_class_name_is_used_twice():
    places = defaultdict(list)
    for place, definition in classes():
        places[definition.name].append(place)
    twice = [f'{name}: {", ".join(found)}' for name, found in sorted(places.items()) if len(found) > 1]
    assert not twice, '\n'.join(twice)


def test_every_exception_is_named_error():
    names = {'Exception', 'BaseException'} | {name for name in dir(builtins) if name.endswith('Error')}
    bases = {definition.name: [ast.unparse(base).split('.')[-1] for base in definition.bases]
             for _, definition in classes()}

    def is_exception(name: str) -> bool:
        return name in names or name.endswith('Error') or any(map(is_exception, bases.get(name, ())))

    wrong = [f'{place}: {definition.name}' for place, definition in classes()
             if any(map(is_exception, bases[definition.name])) and not definition.name.endswith('Error')]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize(('line', 'found'), [
    ('A picture of it', True), ('def soft_picture(x):', True), ('class PictureBox:', True),
    ('x = refusal', True), ('prove_apart()', True), ('requantise(x)', True), ('the only room', True),
    ('a pictured scene', False), ('a list of markers', False), ('improve it', False), ('mushrooms', False),
    ('a proofread page', False), ('make room there', False),
])
def test_words_are_found_in_identifiers_and_not_in_longer_words(line, found):
    assert bool(re.search(rf'\b(?:{"|".join(BANNED)})\b', words_of(line), re.IGNORECASE)) == found
