"""What keeps README and docs true: figures re-run or looked up (`page`, `run`), and the site's own
pages (`site`). Not part of the installed package.
"""
