"""Hooks of mkdocs (mkdocs.yml): the API reference, and links that leave docs/."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[2]
_INDEX = _ROOT / 'docs/en/index.md'
_OUTSIDE = re.compile(r'(?<!!)\[([^\]]+)\]\(((?:\.\./)+)([^)\s]+)\)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page that leads to en/, and for each package a page of its public modules."""
    packages: dict[str, list[str]] = {}
    for path in sorted((_ROOT / 'geo_mm').rglob('*.py')):
        parts = path.relative_to(_ROOT).with_suffix('').parts
        if not any(part.startswith('_') for part in parts):
            package = parts[1] if len(parts) > 2 else 'geo_mm'
            packages.setdefault(package, []).append('.'.join(parts))
    for package, modules in sorted(packages.items(), key=lambda item: item[0] != 'geo_mm'):
        text = '\n\n'.join([f'# {package}', *(f'::: {module}' for module in modules)])
        files.append(File.generated(config, f'api/{package}.md', content=text))
    start = '<meta http-equiv="refresh" content="0; url=en/">\n\n[geo_mm](en/index.md)'
    files.append(File.generated(config, 'index.md', content=start))
    config.nav.insert(-1, {'API': [f'api/{package}.md' for package in packages]})
    return files


def on_page_markdown(markdown: str, page, config: MkDocsConfig, files: Files) -> str:
    """Points to the repository where a page names files outside docs/.

    Without a ``repo_url`` only the text of such a link is left.
    """
    folder = Path(config.docs_dir, page.file.src_uri).parent

    def outside(match: re.Match) -> str:
        text, up, rest = match.groups()
        target = os.path.normpath(folder / up / rest.partition('#')[0])
        if Path(target).is_relative_to(config.docs_dir):
            return match[0]
        if not config.repo_url:
            return text
        return f'[{text}]({config.repo_url}/blob/main/{Path(target).relative_to(_ROOT)})'

    return _OUTSIDE.sub(outside, markdown)


def on_page_content(html: str, page, config: MkDocsConfig, files: Files) -> str:
    """Sphinx' roles of docstrings, such as :class:, are code like any other."""
    return re.sub(r':(?:class|func|meth|mod|data|attr|exc|obj):(?=<code>)', '', html)


def on_post_build(config: MkDocsConfig) -> None:
    """Writes llms.txt (llmstxt.org): the pages and what each is for."""
    rows = re.findall(r'^\| \[(.+?)\]\((\w+)\.md\).*? \| (.+) \|$', _INDEX.read_text(), re.M)
    pages = [f'- [{title}](en/{name}/): {purpose}' for title, name, purpose in rows]
    head = [f'# {config.site_name}', '', f'> {config.site_description}', '', '## Docs', '']
    Path(config.site_dir, 'llms.txt').write_text('\n'.join([*head, *pages]) + '\n')
