"""The command line `bangfu`: one file per command, each thin; `__main__` lists them."""
