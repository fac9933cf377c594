"""Folders for the flows that make something of a core: one file a flow."""
