"""Sphinx's configuration: `make docs`. The pages are plain Markdown and read as well without it."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "flowdsl"
author = "the flowdsl authors"
release = version_of("flowdsl")
extensions = ["myst_nb", "sphinxcontrib.mermaid"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # the tests execute what the pages show
html_theme = "furo"
html_title = f"flowdsl {release}"
exclude_patterns = ["_build"]
