"""Studies behind the documents: modules to run, no commands."""
