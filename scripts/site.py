"""Hook of ``make site``: docstrings name things by Sphinx roles, which Markdown does not know."""

import re

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(<code>)~?(?:nibbleforge\.)?")


def on_page_content(html: str, **_: object) -> str:
    """Leave the name of a role; called by mkdocs with every page."""
    return _ROLE.sub(r"\1", html)
