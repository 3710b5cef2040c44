"""Hook of mkdocs: shows files that lie outside docs/, and keeps links to them working.

On GitHub a page links to ../benchmarks/RESULTS.md; on the site that file is results.md.
"""

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

SHOWN = {
    "benchmarks/RESULTS.md": "results.md",
    "benchmarks/REFERENCE.md": "reference.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository and the pages that they become."""

LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    root = posixpath.dirname(config.config_file_path)
    for path, page in SHOWN.items():
        files.append(File.generated(config, page, abs_src_path=posixpath.join(root, path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links that lead out of docs/ now lead to the page that shows the file."""
    sources = {shown: path for path, shown in SHOWN.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def lead(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        if target not in SHOWN and here not in sources:
            return match[0]
        inside = SHOWN.get(target, target.removeprefix("docs/"))
        return match[1] + posixpath.relpath(inside, posixpath.dirname(here) or ".")

    return LINK.sub(lead, markdown)
