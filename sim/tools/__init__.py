"""Outside tools, child processes, the build cache and result folders."""
