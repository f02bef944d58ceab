"""Code that users bring: plugins of installed packages, and Python files."""
