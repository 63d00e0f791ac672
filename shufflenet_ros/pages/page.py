# SPDX-License-Identifier: Apache-2.0
"""Build a self-contained HTML page from a template in `templates/`.

A page loads nothing from elsewhere: style, scripts and images are inside. Text is escaped, so that a label or
a topic name cannot add markup.
"""

from typing import Any

# In apt as python3-jinja2. The extra `pages` has it, and so has `web`.
from jinja2 import Environment, PackageLoader, StrictUndefined

_TEMPLATES = Environment(loader=PackageLoader('shufflenet_ros.pages'), autoescape=True,
                         undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def render(template: str, **values: Any) -> str:
    """The page as text.

    Args:
        template: a file of `templates/`; it extends base.html, which has the page's frame and style.
        values: what the template shows. `{{ value|tojson }}` embeds data for a script.
    """
    return _TEMPLATES.get_template(template).render(**values)
