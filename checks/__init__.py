"""What the linters cannot know about this project; `python -m checks` runs all rules, one file each.

A rule is a function `problems(root) -> Iterator[str]`: it reads the project under `root` and yields one
sentence for each violation, naming the file and what to do. Every rule has a test that breaks it on purpose
(`tests/checks/`).
"""
